"""Bits become bytes: an ordered masked chain in whole numbers is a code on any machine."""

from nelbo.coding.container import Archive, read, settings, written
from nelbo.coding.masses import TOTAL, masses
from nelbo.coding.ordered import Coded, OrderedCode, Progress
from nelbo.coding.twin import absorbing_chain, require_codable, twin_of

__all__ = [
    "TOTAL",
    "Archive",
    "Coded",
    "OrderedCode",
    "Progress",
    "absorbing_chain",
    "masses",
    "read",
    "require_codable",
    "settings",
    "twin_of",
    "written",
]

"""A file a command; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import (
    card,
    check,
    cite,
    classify,
    compare,
    compress,
    decompress,
    demo,
    derive,
    evaluate,
    improve,
    inspect,
    rank,
    recipes,
    report,
    sample,
    train,
)
from nelbo.cli.app import EVERYWHERE, app

__all__ = [
    "EVERYWHERE",
    "app",
    "card",
    "check",
    "cite",
    "classify",
    "compare",
    "compress",
    "decompress",
    "demo",
    "derive",
    "evaluate",
    "improve",
    "inspect",
    "rank",
    "recipes",
    "report",
    "sample",
    "train",
]

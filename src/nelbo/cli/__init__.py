"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import making, measuring
from nelbo.cli.app import EVERYWHERE, app

__all__ = ["EVERYWHERE", "app", "making", "measuring"]

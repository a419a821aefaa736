"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import making, measuring
from nelbo.cli.app import app

__all__ = ["app", "making", "measuring"]

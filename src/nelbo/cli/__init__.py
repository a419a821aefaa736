"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import demo, making, measuring
from nelbo.cli.app import EVERYWHERE, app

__all__ = ["EVERYWHERE", "app", "demo", "making", "measuring"]

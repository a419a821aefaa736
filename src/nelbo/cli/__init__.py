"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import card, check, coding, demo, making, measuring, recipes
from nelbo.cli.app import EVERYWHERE, app

__all__ = ["EVERYWHERE", "app", "card", "check", "coding", "demo", "making", "measuring", "recipes"]

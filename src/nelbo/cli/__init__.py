"""One command per task; no mathematics, and nothing heavy imported before a command runs."""

from nelbo.cli import card, coding, demo, making, measuring, recipes
from nelbo.cli.app import EVERYWHERE, app

__all__ = ["EVERYWHERE", "app", "card", "coding", "demo", "making", "measuring", "recipes"]

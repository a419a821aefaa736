"""What a command answers when it cannot go on: one line for the user and an exit code."""

__all__ = ["BadInput", "NonFinite"]


class BadInput(ValueError):
    """The user's input breaks a rule; the message names the thing, the rule and the fix. Exit 2."""


class NonFinite(ArithmeticError):
    """A value is NaN or infinite; the message names the quantity, t, images and rank. Exit 3."""

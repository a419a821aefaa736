"""A model of your own network: any (x_t, time) -> tensor, with every convention stated."""

from nelbo.wrapping.categorical import wrap_categorical
from nelbo.wrapping.gaussian import wrap

__all__ = ["wrap", "wrap_categorical"]

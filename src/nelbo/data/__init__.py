"""Data as integers 0..n-1, exactly as stored, or as real numbers where they are declared so.

Nothing here resizes, crops, flips, dequantises or drops a pixel. Which real number a level
stands for is the model's `Grid`; a grid is needed here only to read floats back as levels.
`Images` are levels, `Points` real numbers, such as latents, and `Tokens` text; what is none of
these ends in an error.
"""

from typing import TypeAlias

from nelbo.data.arrays import as_images
from nelbo.data.examples import Examples
from nelbo.data.images import Images
from nelbo.data.points import Points, as_points
from nelbo.data.spec import has_splits, load, load_for
from nelbo.data.tokens import Tokens, as_tokens, sizes_of, windows

__all__ = [
    "Discrete",
    "Examples",
    "Images",
    "Points",
    "Tokens",
    "as_images",
    "as_points",
    "as_tokens",
    "has_splits",
    "load",
    "load_for",
    "sizes_of",
    "windows",
]

Discrete: TypeAlias = Images | Tokens
"""Examples that are integers 0..n-1."""

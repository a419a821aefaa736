"""Data as integers 0..n-1: every source ends in `Images`, exactly as stored, or in an error.

Nothing here resizes, crops, flips, dequantises or drops a pixel. Which real number a level
stands for is the model's `Grid`; a grid is asked for here only to read floats back as levels.
"""

from nelbo.data.arrays import as_images
from nelbo.data.images import Images
from nelbo.data.spec import load

__all__ = ["Images", "as_images", "load"]

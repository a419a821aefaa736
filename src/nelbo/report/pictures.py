"""Images as a picture that a person can look at."""

import math
from io import BytesIO

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

__all__ = ["picture_grid"]


def picture_grid(levels: Int[Tensor, "N C H W"], n: int, scale: int = 1) -> bytes:
    """A PNG of the images in a near-square grid, each pixel drawn as scale x scale pixels.

    levels: 0..n-1, shown from black to white; C is 1 (grey) or 3 (RGB).
    """
    count, channels, height, width = levels.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = 1
    canvas = torch.full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), 128)
    for number, image in enumerate((levels * 255.0 / (n - 1)).round().to(canvas.dtype)):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    pixels = canvas.to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    size = (picture.width * scale, picture.height * scale)
    buffer = BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()

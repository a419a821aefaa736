"""Images as a picture to look at, or as a file."""

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from nelbo.data.symbols import Alphabet
from nelbo.errors import BadInput
from nelbo.sampling.texts import as_text

__all__ = ["encoder", "picture_grid", "picture_sheet"]

MOST = 64  # pixels of an image's side in a sheet


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
    mark = PngInfo()
    mark.add_text("Software", "nelbo")
    large = picture.resize(size, Image.Resampling.NEAREST)
    large.save(buffer, "PNG", optimize=True, pnginfo=mark)
    return buffer.getvalue()


def picture_sheet(levels: Int[Tensor, "N C H W"], n: int, columns: int) -> bytes:
    """A small PNG of the images row by row, a pixel each, with nothing between them.

    Images wider or higher than 64 pixels are averaged over squares, to no more than that.
    """
    levels = _small(levels)
    count, channels, height, width = levels.shape
    rows, gap = math.ceil(count / columns), max(1, width // 8)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap)
    canvas = torch.zeros(channels + 1, *size, dtype=torch.uint8)
    for number, image in enumerate((levels * 255.0 / (n - 1)).round().to(torch.uint8)):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[:channels, top : top + height, left : left + width] = image
        canvas[channels, top : top + height, left : left + width] = 255
    picture = Image.fromarray(canvas.permute(1, 2, 0).numpy(), "LA" if channels == 1 else "RGBA")
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _small(levels: Int[Tensor, "N C H W"]) -> Int[Tensor, "N C h w"]:
    factor = -(-max(levels.shape[-2:]) // MOST)
    if factor == 1:
        return levels
    return torch.nn.functional.avg_pool2d(levels.double(), factor).round().to(levels.dtype)


def encoder(path: Path, alphabet: Alphabet | None = None) -> Callable[[Tensor, int], bytes]:
    """What makes a file's bytes of (levels, n): .png one picture of all, .npy the array of levels.

    alphabet: of the model, for .txt; bytes where it says none.

    Raises:
        BadInput: another suffix, or no such folder.
    """
    encoders = {
        ".png": lambda levels, n: picture_grid(levels, n, scale=_scale(levels)),
        ".npy": _npy,
        ".txt": lambda levels, n: as_text(levels, n, alphabet),
    }
    if path.suffix not in encoders:
        known = ".png, .npy, or .txt of text"
        raise BadInput(f"{path}: samples are written as {known}; got {path.suffix or 'none'}")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path}: its folder does not exist; make it first")
    return encoders[path.suffix]


def _scale(levels: Tensor) -> int:
    """Small images are drawn large enough to look at."""
    return max(1, 64 // levels.shape[-1])


def _npy(levels: Tensor, n: int) -> bytes:
    buffer = BytesIO()
    np.save(buffer, levels.numpy().astype(np.min_scalar_type(n - 1)))
    return buffer.getvalue()

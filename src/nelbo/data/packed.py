"""What general formats make of images without a loss: a yardstick for bits/dim."""

import importlib
import importlib.util
import lzma
import math
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nelbo.data.images import Images

__all__ = ["baselines", "is_picture", "packed", "picture", "saved"]

MOST = 256  # levels, which a byte of a picture has
WEBP = {"lossless": True, "quality": 100, "method": 6}
JPEG_XL = {"lossless": True, "effort": 9}


def packed(images: Images) -> dict[str, int]:
    """The bits of the images by PNG and lossless WebP, a file each, and by one xz of all.

    PNG and WebP only of images with the channels and levels of a picture; headers are counted.
    JPEG XL beside them where imagecodecs is installed.
    """
    sizes = {}
    if is_picture(images.levels[0]) and images.n <= MOST:
        pictures = [picture(levels) for levels in images.levels]
        png = sum(len(saved(x, "PNG", optimize=True)) for x in pictures)
        webp = sum(len(saved(x, "WEBP", **WEBP)) for x in pictures)
        sizes = {"PNG, a file each": png, "WebP lossless, a file each": webp}
        if importlib.util.find_spec("imagecodecs") is not None:
            sizes["JPEG XL lossless, a file each"] = sum(map(_jpeg_xl, pictures))
    whole = lzma.compress(images.levels.numpy().tobytes(), preset=9 | lzma.PRESET_EXTREME)
    sizes["xz -9e, one of all"] = len(whole)
    return {name: 8 * size for name, size in sizes.items()}


def _jpeg_xl(image: Image.Image) -> int:
    codecs = importlib.import_module("imagecodecs")
    return len(codecs.jpegxl_encode(np.asarray(image), **JPEG_XL))


def baselines(images: Images) -> dict[str, float]:
    """Bits/dim of these images by no model: equal chances of all levels, log2 n, and `packed`."""
    cells = len(images) * images.dims
    formats = {name: bits / cells for name, bits in packed(images).items()}
    return {"uniform": math.log2(images.n), **formats}


def is_picture(levels: Tensor) -> bool:
    """Whether an image has the channels of a picture."""
    return levels.shape[0] in (1, 3)


def picture(levels: Tensor) -> Image.Image:
    """An image whose pixels are the levels themselves, not spread over 0..255."""
    pixels = levels.to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of the file."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()

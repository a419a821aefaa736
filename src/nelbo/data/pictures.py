"""A folder of image files as exact pixel values; what cannot be read without change is refused.

Colour profiles and gamma are left alone: a level is the number that the file stores, counted from
black also where a format counts from white (PBM, TIFF).
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features
from PIL import __version__ as pillow

from nelbo.data.images import reason, shown
from nelbo.data.stored import Stored, lossy, narrow, readable, refuse_changed, whole
from nelbo.errors import BadInput

__all__ = ["decoded", "folder", "pixels"]

Array: TypeAlias = NDArray[np.generic]

# Not every format Pillow knows: some run other programs, some drop bits without a word.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
COLOURS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "RGBA": 3}


def folder(root: Path, n: int) -> tuple[Array, tuple[str, ...], str | None]:
    """(N, C, H, W) pixels, the N file names, sorted by path below root, and what decoded them.

    The last is None where each pixel is a number of its file; else the lossy formats and the
    libraries whose pixels these are.

    Files directly in root and in one level of class folders; names that begin with a dot are
    ignored, anything else that is not an image is refused.

    Raises:
        BadInput: no images, images of different shapes, or one that `pixels` refuses.
    """
    paths = _files(root)
    names = tuple(path.relative_to(root).as_posix() for path in paths)
    pictures = ((shown(path), path) for path in paths)
    array, origin = decoded(pictures, len(paths), n, shown(root))
    return array, names, origin


def decoded(
    pictures: Iterable[tuple[str, Stored]], count: int, n: int, where: str
) -> tuple[Array, str | None]:
    """(N, C, H, W) pixels of so many named files or their bytes, and what decoded them.

    Raises:
        BadInput: images of different shapes, more than the memory holds, or one that `pixels`
            refuses.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise BadInput(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, which fills damaged images with grey; "
            "set it to False"
        )
    out, first, forms = np.empty(0, np.uint8), "", set[str]()
    for i, (name, stored) in enumerate(pictures):
        item, form = _picture(name, stored, n)
        forms |= {form} if form else set()
        if i == 0:
            _require_room(item.nbytes * count, where)
            out, first = np.empty((count, *item.shape), item.dtype), name
        if item.shape != out.shape[1:]:
            raise BadInput(
                f"{first}: {_size(out[0])}; {name}: {_size(item)}; all images must "
                "have one size and one number of channels; sort them into folders by size"
            )
        out[i] = item
    return out, _decoders(sorted(forms))


def _require_room(size: int, where: str) -> None:
    if size > psutil.virtual_memory().available:
        raise BadInput(
            f"{where}: its pixels take {size:,} bytes, more than is free of the memory; give fewer "
            "images, or store the pixels as a .npy array, which stays on the disk"
        )


def _decoders(forms: list[str]) -> str | None:
    """Lossy formats, and the versions of what makes pixels of them."""
    if not forms:
        return None
    versions = {"JPEG": ("libjpeg_turbo", "jpg"), "lossy WebP": ("webp",)}
    libraries = [f"Pillow {pillow}"]
    for form in forms:
        name = next((name for name in versions[form] if features.version(name)), None)
        if name:
            libraries.append(f"{name.replace('_', '-')} {features.version(name)}")
    return f"{' and '.join(forms)} by {', '.join(libraries)}"


def pixels(image: Image.Image, n: int, where: str) -> Array:
    """(C, H, W) integers of one picture exactly as stored, C of 1 or 3.

    Grey, RGB and palettes are taken, alpha where it is 255 throughout, 16-bit grey where n > 256;
    grey of 1, 2 or 4 bits where n is 2, 4 or 16.

    Raises:
        BadInput: several frames, an orientation to apply, transparency, a depth or a mode that
            would not survive as stored.
    """
    if getattr(image, "is_animated", False):
        raise BadInput(f"{where}: has more than one frame; save each frame as a file")
    refuse_changed(image, where)
    bits = narrow(image)
    if bits is not None and n != 2**bits:
        raise BadInput(
            f"{where}: stores {bits} bit{'s' * (bits > 1)} per pixel, {2**bits} levels, which a "
            f"reader stretches to 0..255; {n} were declared; declare {2**bits} (--levels "
            f"{2**bits}), or save it with 8 bits"
        )
    turned = _orientation(image)
    image.load()
    # Asked twice: a TIFF is turned while it loads, a PNG may keep its EXIF behind the pixels.
    turned = turned if turned != 1 else _orientation(image)
    if turned != 1:
        raise BadInput(
            f"{where}: has EXIF orientation {turned}, so its pixels are not in the order shown; "
            "apply it and save again (PIL.ImageOps.exif_transpose)"
        )
    if image.mode.startswith("I"):
        return _deep(image, n, where)
    if n > 256:
        raise BadInput(
            f"{where}: mode {image.mode} has 8 bits per channel and {n} levels were declared; "
            "declare 256 (--levels 256)"
        )
    array = _shallow(image, n, where)
    return array if bits is None or bits == 1 else array // (255 // (n - 1))


def _files(root: Path) -> list[Path]:
    try:
        entries: list[Path] = []
        for entry in _visible(root):
            entries += _visible(entry) if entry.is_dir() else [entry]
        strange = next((path for path in sorted(entries) if not path.is_file()), None)
    except OSError as error:
        raise BadInput(f"{shown(root)}: cannot be listed ({reason(error)})") from error
    if strange is not None and strange.is_dir():
        raise BadInput(
            f"{shown(strange)}: is a folder two levels down; images are read from the folder "
            f"itself and from class folders directly in it; give {shown(strange.parent)} as the "
            "data"
        )
    if strange is not None:
        raise BadInput(
            f"{shown(strange)}: is not a regular file; images are read from the folder itself "
            "and from class folders directly in it; move it elsewhere"
        )
    if not entries:
        raise BadInput(f"{shown(root)}: holds no images; give a folder of image files")
    return sorted(entries)


def _visible(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if not path.name.startswith(".")]


def _picture(where: str, stored: Stored, n: int) -> tuple[Array, str | None]:
    """The pixels of a file, and the format whose decoder made them up, where one did."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of bombs, cut EXIF and cut tags, and goes on; here these are errors.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("error", UserWarning)
            with Image.open(readable(stored), formats=FORMATS) as image:
                image.verify()  # PNG checksums, which decoding passes over
            with Image.open(readable(stored), formats=FORMATS) as image:
                array = pixels(image, n, where)
                if not whole(stored, image, FORMATS):
                    raise BadInput(
                        f"{where}: is damaged: its data end early, and a reader fills the "
                        "rest; replace it"
                    )
                return array, lossy(stored, image.format)
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        hide = ", or hide it by a leading dot" if isinstance(stored, Path) else ""
        raise BadInput(
            f"{where}: is not an image ({', '.join(FORMATS)}), or its header is damaged; remove it"
            f"{hide}"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(
            f"{where}: has more pixels than PIL.Image.MAX_IMAGE_PIXELS "
            f"= {Image.MAX_IMAGE_PIXELS}, as a decompression bomb would; cut it into smaller images"
        ) from error
    except Exception as error:  # a decoder raises whatever its parser met
        raise BadInput(
            f"{where}: is damaged or cannot be read ({reason(error)}); replace it"
        ) from error


def _size(item: Array) -> str:
    channels, rows, columns = item.shape
    return f"{columns} x {rows} pixels with {channels} channel{'s' * (channels > 1)}"


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _deep(image: Image.Image, n: int, where: str) -> Array:
    if n <= 256:
        raise BadInput(
            f"{where}: mode {image.mode} has more than 8 bits per pixel and the grid has {n} "
            "levels; declare 65536 levels (--levels 65536)"
        )
    if image.has_transparency_data:
        raise BadInput(f"{where}: declares a transparent grey; save it without")
    return np.asarray(image).astype(np.int32)[None]


def _shallow(image: Image.Image, n: int, where: str) -> Array:
    if image.mode not in (*COLOURS, "P"):
        raise BadInput(
            f"{where}: mode {image.mode} does not map to grey or RGB without loss; convert it "
            "yourself (PIL.Image.convert) and save it as L or RGB"
        )
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if int(alpha.min()) < 255:
            raise BadInput(
                f"{where}: mode {image.mode} with transparent pixels has no RGB value of its own; "
                "flatten it onto a background and save it without alpha"
            )
    if image.mode == "P":
        return _painted(image, where)
    array = np.asarray(image)
    if image.mode == "1":
        array = array.astype(np.uint8)  # n is 2
    array = array.reshape(*array.shape[:2], -1)[..., : COLOURS[image.mode]]
    return np.moveaxis(array, 2, 0)


def _painted(image: Image.Image, where: str) -> Array:
    """Palette entries in place of their indices; one channel where every entry is grey."""
    palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    index = np.asarray(image)
    if int(index.max()) >= len(palette):
        raise BadInput(
            f"{where}: uses colour {int(index.max())} of a palette of {len(palette)}; replace it"
        )
    grey = bool((palette == palette[:, :1]).all())
    return np.moveaxis(palette[index][..., : 1 if grey else 3], 2, 0)

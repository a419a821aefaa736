"""Arrays, tensors and torch datasets as `Images`: integers as they are, floats only on a grid."""

import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import psutil
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from nelbo import arguments
from nelbo.data.examples import with_conditions
from nelbo.data.images import Images, reason, shown
from nelbo.data.rows import Part, joined
from nelbo.data.tensors import tensor
from nelbo.errors import BadInput
from nelbo.files import require_plain
from nelbo.types import Grid

__all__ = ["ARRAYS", "array_file", "as_images", "declared", "mapped", "opened", "stays"]

Array: TypeAlias = NDArray[Any]

BLOCK = 1024  # images checked at a time: float64 copies of a whole set would not fit
LARGE = 2**28  # bytes from which a file's levels stay on the disk until they are used
MAPPED, ARRAYS = (".npy", ".safetensors"), (".npy", ".npz", ".safetensors")
LEVELS_OF = {"bool": 2, "uint8": 256, "uint16": 65536}
LAYOUTS = "(N, H, W), (N, C, H, W) or (N, H, W, C) with C of 1 or 3"


@runtime_checkable
class Indexed(Protocol):
    """What a map-style torch dataset, or a list, offers."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def as_images(
    data: object,
    *,
    n: int | None = None,
    grid: Grid | None = None,
    name: str = "tensor",
    labels: object = None,
    conditions: Mapping[str, object] | None = None,
) -> Images:
    """Images of a tensor, a numpy array, a torch Dataset or a list; `Images` pass through.

    A tensor is (N, C, H, W) or (N, H, W); an array may also be (N, H, W, C) with C of 1 or 3. The
    items of a dataset are tensors (C, H, W) or (H, W), arrays, PIL images, or tuples that begin
    with one of these. Integers are levels; floats are read on `grid`. n is the number of levels;
    where neither it nor a grid is given, uint8 has 256, uint16 65536 and bool 2. labels: the class
    of each image, counted from 0; conditions: other tensors by name, a row for each image.

    Raises:
        BadInput: anything else, a value that is no level or off the grid, or n against grid.
    """
    return with_conditions(_read(data, declared(name, n, grid), grid, name), labels, conditions)


def _read(data: object, n: int | None, grid: Grid | None, name: str) -> Images:
    if isinstance(data, Images):
        if n not in (None, data.n):
            raise BadInput(f"{data.name}: has {data.n} levels; {n} were declared")
        return data
    if isinstance(data, Tensor):
        return _images(_numpy(data), n, grid, name, tensor=True)
    if isinstance(data, np.ndarray):
        return _images(data, n, grid, name)
    if isinstance(data, str | os.PathLike):
        fix = "give nelbo.data.load(spec)"
        raise BadInput(f"{name}: {data!s} is a path or a spec and no images: {fix}")
    if isinstance(data, bytes | dict | set) or not isinstance(data, Indexed):
        raise BadInput(
            f"{name}: a {type(data).__name__} is not images; give a tensor, an array, a Dataset "
            "with a length, or the result of nelbo.data.load(spec)"
        )
    return _images(_stacked(data, n or 256, name), n, grid, name, tensor=True)


def declared(name: str, n: int | None, grid: Grid | None) -> int | None:
    """The declared number of levels, None where nothing declares it.

    Raises:
        BadInput: n < 2, or n and grid differ.
    """
    if grid is not None:
        arguments.instance("grid", grid, Grid)
    n = None if n is None else arguments.whole("the number of levels", n)
    if n is not None and n < 2:
        raise BadInput(f"{name}: data have at least 2 levels; {n} were declared")
    if grid is None:
        return n
    if n not in (None, grid.n):
        raise BadInput(f"{name}: {n} levels and a grid of {grid.n} levels; give one of them")
    return grid.n


def array_file(path: Path, n: int | None, grid: Grid | None, *, labels: bool = False) -> Images:
    """Images of a .npy file, or of a .npz or .safetensors with one array or one named images.

    labels: also those of a .npz or .safetensors, the array of that name, where there is one. The
    bytes of a large file that is not packed are images where they lie, and read when they are used.

    Raises:
        BadInput: damaged, pickled, several arrays, or what `as_images` refuses.
    """
    array = opened(path)
    classes = _labels(path) if labels and path.suffix != ".npy" else None
    if path.suffix in MAPPED and stays(array.dtype, array.nbytes, n):
        return mapped(path.name, None, shown(path), [(array, None)], classes)
    images = _images(array, n, grid, shown(path))
    return Images(path.name, None, images.levels, images.n, labels=classes)


def stays(kind: np.dtype[Any], size: int, n: int | None) -> bool:
    """Whether so many bytes are left on the disk until they are used: all of them are levels."""
    return size >= LARGE and kind == np.uint8 and (n or 256) == 256


def mapped(
    name: str,
    split: str | None,
    where: str,
    blocks: Sequence[tuple[Array, Callable[[Array], None] | None]],
    labels: Tensor | None,
) -> Images:
    """Images of 256 levels as their bytes lie on the disk, in blocks of rows, which may be checked.

    Raises:
        BadInput: axes that are not those of images, or could be in more than one way.
    """
    shape = (sum(len(array) for array, _ in blocks), *blocks[0][0].shape[1:])
    axes, parts = _layout(shape, where, tensor=False), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's, of what must not be written to
        for array, check in blocks:
            laid_out = array[:, None] if axes is None else array.transpose(axes)
            parts.append(Part(torch.from_numpy(laid_out), check))
    return Images(name, split, joined(parts), 256, mapped=True, labels=labels)


def _labels(path: Path) -> Tensor | None:
    """The labels of a .npz or .safetensors that can be opened.

    Raises:
        BadInput: they cannot be read without pickles, or are no integers.
    """
    labels = _guarded(path, lambda: _member(path, _label_names))
    if labels is None or labels.dtype.kind in "iu":
        return None if labels is None else torch.from_numpy(np.array(labels, np.int64))
    raise BadInput(f"{shown(path)}: its labels are {labels.dtype}; a class is an integer from 0")


def opened(path: Path) -> Array:
    """The array of a .npy file, or of a .npz or .safetensors with one array or one named images.

    Raises:
        BadInput: damaged, pickled, several arrays, or two of one name.
    """
    return _guarded(path, lambda: _opened(path))


Read = TypeVar("Read")


def _guarded(path: Path, read: Callable[[], Read]) -> Read:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's, of how old a header is
            return read()
    except BadInput:
        raise
    except Exception as error:  # zip, zlib, header and pickle errors have no common base
        if path.suffix == ".safetensors":
            raise BadInput(
                f"{shown(path)}: cannot be read as a .safetensors file ({reason(error)}); write it "
                "with safetensors"
            ) from error
        raise BadInput(
            f"{shown(path)}: cannot be read as a numpy file without pickles ({reason(error)}); "
            "write it with numpy.save or numpy.savez"
        ) from error


def _opened(path: Path) -> Array:
    require_plain(path)
    if path.suffix == ".npy":
        # Mapped: a header that promises more than the file holds then allocates nothing.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(mapped, NpzFile):
            mapped.close()
            raise BadInput(f"{shown(path)}: is a zip of arrays; rename it to .npz")
        return np.asarray(mapped)
    if path.suffix != ".safetensors":
        _require_room(path)
    images = _member(path, _image_names)
    return np.asarray(images)


def _member(path: Path, choose: Callable[[Path, list[str]], str | None]) -> Array | None:
    """The array whose name is chosen of those there are; None where none is."""
    if path.suffix == ".safetensors":
        return tensor(path, choose)
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, NpzFile):
            raise ValueError("it is one array, so its name must end in .npy")
        twice = [name for name, count in Counter(loaded.files).items() if count > 1]
        if twice:
            raise BadInput(
                f"{shown(path)}: holds {shown(twice[0])} more than once, and readers differ in "
                "which they take; write it again with numpy.savez"
            )
        name = choose(path, loaded.files)
        return None if name is None else np.asarray(loaded[name])


def _label_names(path: Path, names: list[str]) -> str | None:
    return "labels" if "labels" in names else None


def _image_names(path: Path, names: list[str]) -> str:
    if len(names) != 1 and "images" not in names:
        raise BadInput(
            f"{shown(path)}: holds {len(names)} arrays ({shown(', '.join(names[:5]))}) and "
            "none is named images; store the images under that name"
        )
    return "images" if "images" in names else names[0]


def _require_room(path: Path) -> None:
    """Refuses a .npz whose arrays unpack to more than the memory that is free.

    Raises:
        BadInput: they do.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > psutil.virtual_memory().available:
        raise BadInput(f"{shown(path)}: unpacks to {size:,} bytes, more than is free of the memory")


def _numpy(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    narrow = tensor.dtype == torch.bfloat16  # numpy has none; float32 holds it exactly
    array: Array = (tensor.float() if narrow else tensor).numpy()
    return array


def _images(
    array: Array, n: int | None, grid: Grid | None, name: str, *, tensor: bool = False
) -> Images:
    axes = _layout(array.shape, name, tensor=tensor)
    if array.dtype.kind in "iub":
        count = n or LEVELS_OF.get(array.dtype.name)
        if count is None:
            raise BadInput(
                f"{name}: {array.dtype} does not say how many levels there are; declare it, "
                f"for example levels={max(2, int(array.max(initial=0)) + 1)} (--levels)"
            )
        levels = array.astype(array.dtype.newbyteorder("="))  # a copy: the caller keeps the array
    elif array.dtype.kind == "f":
        if grid is None:
            raise BadInput(_undeclared(array, n, name))
        count, levels = grid.n, _on_grid(array, grid, name)
    else:
        raise BadInput(f"{name}: {array.dtype} values are neither integers nor floats")
    levels = levels[:, None] if axes is None else levels.transpose(axes)
    return Images(name, None, torch.from_numpy(levels), count)


def _layout(shape: tuple[int, ...], name: str, *, tensor: bool) -> tuple[int, ...] | None:
    """The permutation to (N, C, H, W), None where the channel axis is missing."""
    if len(shape) == 4:
        before, after = shape[1] in (1, 3), shape[3] in (1, 3)
        if tensor or (before and not after):
            return (0, 1, 2, 3)
        if after and not before:
            return (0, 3, 1, 2)
        problem = "could be (N, C, H, W) or (N, H, W, C)" if before else "has no axis of 1 or 3"
        fix = "give torch.from_numpy(array) as (N, C, H, W)"
    elif len(shape) == 3 and (shape[0] == 3 or shape[2] in (1, 3)):
        problem = f"could be {shape[0]} grey images or one image with its channels"
        fix = "add the missing axis, array[:, None] or array[None]"
    elif len(shape) == 3:
        return None
    else:
        problem, fix = f"has {len(shape)} axes", "reshape it"
    raise BadInput(f"{name}: shape {shape} {problem}; images are {LAYOUTS}; {fix}")


def _undeclared(array: Array, n: int | None, name: str) -> str:
    low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
    hi = 1.0 if high <= 1 else float((n or 256) - 1)
    guess = f"Grid({n or 256}, {-1.0 if low < 0 else 0.0}, {hi})"
    return (
        f"{name}: holds {array.dtype} values from {low:g} to {high:g} and nothing says which "
        f"levels they are; store integers, or declare their grid, for example grid={guess}"
    )


def _on_grid(array: Array, grid: Grid, name: str) -> Array:
    """The level of each value, all of which must be on the grid up to rounding.

    x / 127.5 - 1 or (x / 255 - mean) / std in the array's dtype end within 2 eps max(|lo|, |hi|);
    twice that is allowed. Doubles are often cast singles, so eps is never below float32's; and a
    value nearer to the middle between two levels than to either is never taken, whatever the dtype.
    """
    eps = max(float(np.finfo(array.dtype).eps), float(np.finfo(np.float32).eps))
    allowed = min(4 * eps * max(abs(grid.lo), abs(grid.hi)), grid.spacing / 8)
    out = np.empty(array.shape, np.uint8 if grid.n <= 256 else np.int32)
    for start in range(0, len(array), BLOCK):
        block = torch.from_numpy(np.array(array[start : start + BLOCK], np.float64))
        level = grid.levels(block)
        bad = ~((block - grid.values(level, torch.float64)).abs() <= allowed)  # NaN is bad too
        if bad.any():
            at = tuple(int(i) for i in bad.nonzero()[0])
            value, nearest = float(block[at]), float(grid.values(level[at], torch.float64))
            index = (start + at[0], *at[1:])
            raise BadInput(
                f"{name}: value {value:.9g} at index {index} is not on the grid of {grid.n} "
                f"levels on [{grid.lo:g}, {grid.hi:g}] (nearest: {nearest:.9g}); declare the grid "
                "the values were made on, or store the integers they came from"
            )
        out[start : start + BLOCK] = level.numpy()
    return out


def _stacked(data: Indexed, n: int, name: str) -> Array:
    """All items of a dataset as one array (N, C, H, W)."""
    if len(data) == 0:
        raise BadInput(f"{name}: holds no images")
    first = _item(data[0], n, f"{name}, image 0")
    out = np.empty((len(data), *first.shape), first.dtype)
    for i in range(len(data)):
        item = _item(data[i], n, f"{name}, image {i}")
        if item.shape != first.shape or item.dtype != first.dtype:
            raise BadInput(
                f"{name}: image 0 is {first.shape} {first.dtype} and image {i} is {item.shape} "
                f"{item.dtype}; all must have one shape (channels, rows, columns) and dtype"
            )
        out[i] = item
    return out


def _item(item: object, n: int, where: str) -> Array:
    """One image as (C, H, W)."""
    if isinstance(item, tuple | list) and item:
        item = item[0]  # (image, label)
    if isinstance(item, Tensor):
        array = _numpy(item)
        if array.ndim not in (2, 3):
            raise BadInput(f"{where}: must be (C, H, W) or (H, W); got shape {array.shape}")
        return array[None] if array.ndim == 2 else array
    if isinstance(item, np.ndarray):
        axes = _layout((1, *item.shape), where, tensor=False)
        return item[None] if axes is None else item[None].transpose(axes)[0]
    return _picture(item, n, where)


def _picture(item: object, n: int, where: str) -> Array:
    from PIL import Image  # here, so that arrays cost no import of Pillow

    from nelbo.data.pictures import pixels

    if not isinstance(item, Image.Image):
        raise BadInput(
            f"{where}: a {type(item).__name__} is not an image; items must be tensors, arrays, "
            "PIL images, or tuples that begin with one"
        )
    return pixels(item, n, where)

"""Data sets known by name: the digits of the package, MNIST and CIFAR-10 from their own files."""

import gzip
import math
import struct
import zlib
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from nelbo.data.images import Images, reason, shown
from nelbo.errors import BadInput

__all__ = ["cifar10", "digits", "mnist"]

Array: TypeAlias = NDArray[np.generic]

TRAIN_DIGITS = 1297  # of 1797; the other 500 are the test set
MNIST_FILES = {"train": "train", "test": "t10k"}
IDX_IMAGES = 0x00000803  # magic number: unsigned bytes, three axes
IDX_LABELS = 0x00000801
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
DEFLATED = 1100  # bytes that one of a gz file may unpack to, and a little more
CIFAR10_RECORD = 1 + 3 * 32 * 32  # the class, then red, green and blue, each by rows


def digits(split: str | None) -> Images:
    """1797 handwritten digits, 8 x 8, levels 0..16, or their train (1297) or test (500) part.

    UCI Optical Recognition of Handwritten Digits, CC BY 4.0, in scikit-learn's order; the parts
    follow `numpy.random.default_rng(0).permutation(1797)`.
    """
    with (files("nelbo") / "digits.npz").open("rb") as file, np.load(file) as archive:
        array, labels = archive["images"], archive["labels"].astype(np.int64)
    if split is not None:
        order = np.random.default_rng(0).permutation(len(array))
        kept = order[:TRAIN_DIGITS] if split == "train" else order[TRAIN_DIGITS:]
        array, labels = array[kept], labels[kept]
    levels = torch.from_numpy(array[:, None])
    return Images("digits", split, levels, 17, labels=torch.from_numpy(labels))


def mnist(directory: Path, split: str | None, *, labels: bool = False) -> Images:
    """28 x 28 grey images of the idx files in a folder; train, then test, where no split is named.

    labels: read their files too; they are needed where a model has classes.

    Raises:
        BadInput: the folder or a file is missing, or a file is not whole.
    """
    if not directory.is_dir():
        raise BadInput(f"{shown(directory)}: no such folder; mnist:DIR is the folder of idx files")
    names = [MNIST_FILES[part] for part in ([split] if split else MNIST_FILES)]
    parts = [_idx(_existing(directory, f"{name}-images-idx3-ubyte"), IDX_IMAGES) for name in names]
    if len({part.shape[1:] for part in parts}) > 1:
        raise BadInput(f"{shown(directory)}: train and test images differ in size")
    levels, classes = torch.from_numpy(np.concatenate(parts)[:, None]), None
    if labels:
        counts = zip(names, map(len, parts), strict=True)
        joined = np.concatenate([_labels(directory, name, count) for name, count in counts])
        classes = torch.from_numpy(joined.astype(np.int64))
    return Images("mnist", split, levels, 256, labels=classes)


def _labels(directory: Path, name: str, count: int) -> Array:
    """The label of each of so many images."""
    path = _existing(directory, f"{name}-labels-idx1-ubyte")
    labels = _idx(path, IDX_LABELS)
    if len(labels) != count:
        raise BadInput(
            f"{shown(path)}: holds {len(labels)} labels of {count} images; download both again"
        )
    return labels


def _existing(directory: Path, name: str) -> Path:
    dotted = name.replace("-idx", ".idx")  # as some mirrors have it
    for path in (directory / each for each in (name, f"{name}.gz", dotted, f"{dotted}.gz")):
        if path.is_file():
            return path
    raise BadInput(f"{shown(directory)}: holds neither {name} nor {name}.gz; put one of them there")


def _idx(path: Path, kind: int) -> Array:
    """(N, H, W) bytes of an idx file of images, or (N,) of labels, plain or gz."""
    where, axes = shown(path), kind & 0xFF
    what, cells = ("images", "pixels") if kind == IDX_IMAGES else ("labels", "labels")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"  # whatever the file is called
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(4 + 4 * axes)
            whole = len(head) == 4 + 4 * axes
            magic, *shape = struct.unpack(f">{1 + axes}I", head) if whole else (None,)
            if magic != kind:
                raise BadInput(
                    f"{where}: is not an idx file of {what} (magic {head[:4].hex() or 'missing'}, "
                    f"not {kind:08x}); download it again"
                )
            size = math.prod(shape)
            held = path.stat().st_size * (DEFLATED if packed else 1)
            if size > held:
                raise BadInput(
                    f"{where}: is damaged (promises {size:,} bytes of {cells} and holds less); "
                    "download it again"
                )
            if size > psutil.virtual_memory().available:
                raise BadInput(
                    f"{where}: is damaged (promises {size:,} bytes, more than is free of the "
                    "memory); download it again"
                )
            body = file.read(size + 1)  # one more than promised, to notice what is behind
    except BadInput:
        raise
    except (OSError, EOFError, MemoryError, OverflowError, zlib.error) as error:
        raise BadInput(f"{where}: is damaged ({reason(error)}); download it again") from error
    if len(body) != size:
        amount = "more" if len(body) > size else f"{len(body)} bytes"
        raise BadInput(
            f"{where}: promises {size} bytes of {cells} and holds {amount}; download it again"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def cifar10(directory: Path, split: str | None, *, labels: bool = False) -> Images:
    """32 x 32 colour images of CIFAR-10's binary version; both parts where no split is named.

    labels: keep the class that comes before each image.

    Raises:
        BadInput: the folder or a file is missing, or a file is not whole records.
    """
    if not directory.is_dir():
        raise BadInput(
            f"{shown(directory)}: no such folder; cifar10:DIR is the folder of data_batch_1.bin"
        )
    names = [name for part in ([split] if split else CIFAR10_FILES) for name in CIFAR10_FILES[part]]
    records = np.concatenate([_cifar10_records(directory, name) for name in names])
    pixels = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    classes = torch.from_numpy(records[:, 0].astype(np.int64)) if labels else None
    return Images("cifar10", split, torch.from_numpy(pixels), 256, labels=classes)


def _cifar10_records(directory: Path, name: str) -> Array:
    path = directory / name
    if not path.is_file():
        pickled = (directory / name.removesuffix(".bin")).is_file()
        why = "; it holds the Python version, whose pickles may run code" if pickled else ""
        raise BadInput(
            f"{shown(directory)}: holds no {name}{why}; put the files of CIFAR-10's binary version "
            "there"
        )
    try:
        if (size := path.stat().st_size) > psutil.virtual_memory().available:
            raise BadInput(
                f"{shown(path)}: takes {size:,} bytes to read, more than is free of the memory"
            )
        content = np.fromfile(path, np.uint8)
    except (OSError, MemoryError) as error:
        raise BadInput(f"{shown(path)}: cannot be read ({reason(error)})") from error
    if len(content) == 0 or len(content) % CIFAR10_RECORD:
        raise BadInput(
            f"{shown(path)}: holds {len(content)} bytes, not whole records of {CIFAR10_RECORD}; "
            "download it again"
        )
    return content.reshape(-1, CIFAR10_RECORD)

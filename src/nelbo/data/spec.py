"""One string names a data set, the same everywhere: `load("digits:test")`."""

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import torch

from nelbo import arguments
from nelbo.data.arrays import ARRAYS, array_file, declared, opened
from nelbo.data.arrow_files import ENDING
from nelbo.data.arrow_spec import arrow_table, without_options
from nelbo.data.images import Images, shown
from nelbo.data.named import cifar10, digits, mnist
from nelbo.data.points import Points, as_points
from nelbo.data.symbols import Alphabet
from nelbo.data.text_spec import FORMS as TEXT
from nelbo.data.text_spec import is_text, text
from nelbo.data.tokens import Tokens
from nelbo.errors import BadInput, closest
from nelbo.files import near
from nelbo.types import Grid, Reals, Support

__all__ = ["has_splits", "load", "load_for"]

SPLITS = ("train", "test")
PARTS = (*SPLITS, "training", "testing", "val", "valid", "validation", "dev", "eval")
FORMS = (
    "digits[:train|:test], mnist:DIR[:train|:test], cifar10:DIR[:train|:test], a folder of images "
    "(with train and test in it: FOLDER:train, FOLDER:test), a .npy, .npz, .safetensors or .arrow "
    f"file, a folder of .arrow files; of text: {TEXT}"
)
FOLDERS = {"mnist": (mnist, "its idx files"), "cifar10": (cifar10, "its .bin files")}
NAMES = ("digits", "topics", *FOLDERS)
NOT_YET = ("hf",)
SAVED = "dataset_dict.json"  # beside the folders of the splits, as datasets saves them


def load(
    spec: str | os.PathLike[str],
    *,
    split: str | None = None,
    levels: int | None = None,
    grid: Grid | None = None,
    labels: bool = False,
    context: int | None = None,
    alphabet: Alphabet | None = None,
) -> Images | Tokens:
    """Images of digits, mnist:DIR, cifar10:DIR [:SPLIT], a folder, or a file of an array.

    Such a file is a .npy, .npz, .safetensors or .arrow. A .arrow file, or a folder of them as
    datasets saves one, may have options behind it, where the names of the columns do not say it:
    images.arrow,column=image,labels=fine_label.

    Text of `topics`, or of text:PATH with PATH a file, a folder or JSON lines, as `Tokens`, with
    options behind it (`nelbo.data.windows` says which): text:book.txt,context=128,stride=64.

    A folder that holds folders named train, test or val is a set with these splits, and is read
    with one of them. split says the same as the suffix; levels is by default what the source has,
    256 for a folder; grid, the real numbers that a float array is on, also declares the levels.
    labels: read the class of each image too, where the source is one that may have them. context,
    alphabet: the length of a text's windows and their symbols where the spec does not say them.

    Raises:
        BadInput: nothing there, a split that is not there, or data that break a rule.

    Example:
        >>> load("digits:test").levels.shape
        torch.Size([500, 1, 8, 8])
    """
    spec, split = _text(spec), None if split is None else _split_name(split)
    labels = arguments.flag("labels", labels)
    n = declared(shown(spec), levels, grid)
    body, split = _split(spec, split)
    if is_text(body):
        return text(body, split, n, context, alphabet)
    head, _, place = body.partition(":")
    if not os.path.exists(body) and head in NOT_YET:
        raise BadInput(f"{shown(spec)}: {head}: is not built yet; the known forms are {FORMS}")
    if body == "digits" or head in FOLDERS:
        images = _named(head, place, split, labels)
        if n not in (None, images.n):
            raise BadInput(f"{shown(spec)}: has {images.n} levels; {n} were declared")
        return images
    return _at(spec, body, split, n, grid, labels)


def load_for(
    support: Support,
    spec: str | os.PathLike[str],
    *,
    split: str | None = None,
    labels: bool = False,
    shape: Sequence[int] | None = None,
    alphabet: Alphabet | None = None,
) -> Images | Points | Tokens:
    """`load` for a model of this support: where it has no grid, floats of an array are points.

    Other sources are images all the same, which a model of latents may encode. shape, alphabet: of
    the model, by which text is cut.

    Raises:
        BadInput: as `load` does.
    """
    spec = _text(spec)
    if not isinstance(support, Grid | Reals):
        raise BadInput(f"a support is a Grid or Reals; got {arguments.shown(support)}")
    if isinstance(support, Grid):
        context = shape[0] if shape is not None and len(shape) == 1 else None
        return load(
            spec,
            split=split,
            levels=support.n,
            grid=support,
            labels=labels,
            context=context,
            alphabet=alphabet,
        )
    points = _points(spec, split)
    return load(spec, split=split, labels=labels) if points is None else points


def _points(spec: str, split: str | None) -> Points | None:
    """The floats of an array or of Arrow files; None where the spec names something else."""
    path = Path(os.path.expanduser(spec))
    if path.suffix in ARRAYS and path.is_file():
        array = opened(path)
        if array.dtype.kind != "f":
            return None
        if split is not None:
            raise BadInput(f"{shown(spec)}: has no split {shown(split)}; leave the split out")
        return as_points(array, name=path.name)
    body, part = _split(spec, None if split is None else _split_name(split))
    body, chosen = without_options(body)
    path = Path(os.path.expanduser(body))
    if path.is_file() and (path.suffix != ENDING or part is not None):
        return None  # load says what is wrong with a split
    table = arrow_table(path if part is None else path / part, chosen)
    return None if table is None or not table.is_real else table.points(_name(path), part)


def has_splits(spec: str | os.PathLike[str]) -> bool:
    """Whether the spec names a whole set that has a train and a test split of its own."""
    spec = _text(spec)
    head, colon, place = spec.partition(":")
    if spec == "digits" or head == "topics":
        return _split(spec, None)[1] is None
    if head in FOLDERS and bool(colon) and _split(place, None)[1] is None:
        return True
    body, part = _split(spec, None)
    path = Path(os.path.expanduser(without_options(body)[0]))
    return part is None and path.is_dir() and set(SPLITS) <= set(_splits(path))


def _text(spec: object) -> str:
    """A spec as text: of a path, the path.

    Raises:
        BadInput: it is no text and no path.
    """
    text = os.fspath(spec) if isinstance(spec, str | os.PathLike) else spec
    if not isinstance(text, str):
        raise BadInput(f"a data spec is a text or a path; got {arguments.shown(spec)}")
    return text


def _split_name(split: object) -> str:
    if not isinstance(split, str):
        raise BadInput(f"split is a name, such as train or test; got {arguments.shown(split)}")
    return split


def _splits(path: Path) -> list[str]:
    """The folders in a folder that are named as a split of a set is."""
    inside = sorted(next(os.walk(path, followlinks=True), ("", [], []))[1])
    return [name for name in inside if name.lower() in PARTS]


def _split(spec: str, split: str | None) -> tuple[str, str | None]:
    """The spec without its suffix, and the split that suffix or argument asks for."""
    body, colon, suffix = spec.rpartition(":")
    if not colon or os.path.exists(spec):
        return spec, split
    place = os.path.expanduser(without_options(body)[0])
    own = suffix.lower() in PARTS and Path(place, suffix).is_dir()
    if suffix not in SPLITS and not own:
        return spec, split
    if split not in (None, suffix):
        raise BadInput(
            f"{shown(spec)}: asks for {suffix} and split= for {shown(split)}; give one of them"
        )
    return body, suffix


def _named(head: str, place: str, split: str | None, labels: bool) -> Images:
    if split not in (None, *SPLITS):
        raise BadInput(f"{head}: has no split {shown(split)}; there are {' and '.join(SPLITS)}")
    if head == "digits":
        return digits(split)
    read, content = FOLDERS[head]
    if not place:
        raise BadInput(f"{head}: needs the folder of {content}: {head}:DIR")
    return read(Path(os.path.expanduser(place)), split, labels=labels)


def _at(
    spec: str, body: str, split: str | None, n: int | None, grid: Grid | None, labels: bool
) -> Images:
    """What lies at a path."""
    body, chosen = without_options(body)
    path = Path(os.path.expanduser(body))
    if not body or not os.path.exists(path):
        raise BadInput(_missing(spec))
    if path.is_dir():
        return _folder(path, body, split, n, grid, labels, chosen)
    if split is not None:
        raise BadInput(f"{shown(body)}: has no split {shown(split)}; {_parts(path)}")
    if "-ubyte" in path.name:
        raise BadInput(f"{shown(body)}: is an idx file; give mnist:{shown(path.parent)}")
    if path.suffix == ".parquet":
        raise BadInput(
            f"{shown(body)}: is a Parquet file, which is packed and cannot stay on the disk; save "
            "it as .arrow, by datasets: Dataset.from_parquet(path).save_to_disk(folder)"
        )
    table = arrow_table(path, chosen, labels=labels)
    if table is not None:
        return table.images(path.name, None, n, grid)
    if path.suffix not in ARRAYS:
        raise BadInput(
            f"{shown(body)}: is neither a folder nor a .npy, .npz, .safetensors or .arrow file; "
            f"known: {FORMS}"
        )
    return array_file(path, n, grid, labels=labels)


def _folder(
    path: Path,
    body: str,
    split: str | None,
    n: int | None,
    grid: Grid | None,
    labels: bool,
    chosen: Mapping[str, str],
) -> Images:
    """The images of a folder, or of the one in it that a split names."""
    from nelbo.data.pictures import folder  # here, so that other sources cost no Pillow

    if any(path.glob("*[-.]idx?-ubyte*")):
        raise BadInput(f"{shown(body)}: holds idx files; give mnist:{shown(body)}")
    splits = _splits(path)
    if split is not None and split not in splits:
        raise BadInput(f"{shown(body)}: has no split {shown(split)}; {_parts(path)}")
    if split is None and len(splits) > 1:
        spec = ",".join([body, *(f"{key}={value}" for key, value in chosen.items())])
        raise BadInput(
            f"{shown(body)}: holds {' and '.join(splits)}, which are splits of one set: give one "
            f"of them, as {shown(spec)}:{splits[0]} (--split {splits[0]}), or its path"
        )
    place = path if split is None else path / split
    table = arrow_table(place, chosen, labels=labels)
    if table is not None:
        return table.images(_name(path), split, n, grid)
    if (place / SAVED).is_file():
        raise BadInput(f"{shown(body)}: is a set that datasets saved by splits; {_parts(place)}")
    array, sources, decoded = folder(place, n or 256)
    origin = {} if decoded is None else {"decoded": decoded}
    return Images(_name(path), split, torch.from_numpy(array), n or 256, sources, origin=origin)


def _name(path: Path) -> str:
    """What a file or a folder is called, also where it is given as `.`."""
    return path.name if path.is_file() else path.resolve().name or str(path)


def _parts(path: Path) -> str:
    inside = sorted(next(os.walk(path), ("", [], []))[1])
    if not inside:
        return "it is one set; leave the split out"
    return f"give one of its folders as the data: {', '.join(shown(name) for name in inside[:5])}"


def _missing(spec: str) -> str:
    if not spec:
        return f"the data spec is empty; known: {FORMS}"
    plain = [part for part in Path(spec).parts if not set(part) & set("*?[")]
    if len(plain) < len(Path(spec).parts):
        root = Path(*takewhile(plain.__contains__, Path(spec).parts))
        return f"{shown(spec)}: is a pattern, and no data: give the folder of images, {shown(root)}"
    meant = _meant(spec)
    guess = "" if meant is None else f"; did you mean {shown(meant)}?"
    if os.sep in spec or spec.endswith((*ARRAYS, ENDING)):
        return f"{shown(spec)}: no such file or folder{guess}"
    known = f"{guess} Known: {FORMS}" if guess else f"; known: {FORMS}"
    return f"{shown(spec)}: no such data set, file or folder{known}"


def _meant(spec: str) -> str | None:
    """The name or path that a misspelt spec is like."""
    head, colon, rest = spec.partition(":")
    if head == "digits":
        split = closest(rest, SPLITS)
        return None if split is None else f"digits:{split}"
    name = closest(head, NAMES)
    if name is not None:
        known = rest in SPLITS or name != "digits"
        split, comma, options = rest.partition(",")
        if comma and name == head:  # options stand before the split
            return f"{name},{options}:{split}"
        meant = name + colon + rest if known else name
        return None if meant == spec else meant
    path = near(os.path.expanduser(spec))
    return None if path is None else str(path)

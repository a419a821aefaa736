"""The bound image by image, and the file that holds it."""

import csv
import hashlib
import importlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo import files
from nelbo.data.images import shown
from nelbo.errors import BadInput, NonFinite
from nelbo.results.unit import BITS, NATS, TEXT_KEYS, Unit

__all__ = [
    "COLUMNS",
    "PerImage",
    "check",
    "check_path",
    "content",
    "digest",
    "is_table",
    "read",
    "write",
]

COLUMNS = ("id", "bits_per_dim", "se", "L_T", "L_mid", "L_0")
KEYS = (BITS.key, NATS.key, *TEXT_KEYS)
KINDS = [tuple(key if name == BITS.key else name for name in COLUMNS) for key in KEYS]
FILE = "file"  # the last column, of images that came as files
TABLES = (*KINDS, *((*names, FILE) for names in KINDS))
UNKNOWN = "se"  # the one column that may have holes
TERMS = ("L_T", "L_mid", "L_0")
SAME = 1e-9  # of one sum in another order, both rounded by the unit's division
MOST = 2**31  # bytes of a table: some 20 million images

Columns: TypeAlias = dict[str, list[float | str | None]]


@final
@dataclass(frozen=True, eq=False)
class PerImage:
    """An estimate of the bound and of its three terms for each of N images, in nats.

    se is the standard error of total, the Monte Carlo error of this image alone; NaN where it is
    not known. sources are the file names of images that came as files. dims is the number of
    dimensions of one image; unit is what a file tells them in.

    Raises:
        BadInput: columns of different lengths, or an id twice.
    """

    ids: Int64[Tensor, " N"]
    total: Float64[Tensor, " N"]
    se: Float64[Tensor, " N"]
    L_T: Float64[Tensor, " N"]
    L_mid: Float64[Tensor, " N"]
    L_0: Float64[Tensor, " N"]
    dims: int
    unit: Unit = BITS
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.ids, self.total, self.se, self.L_T, self.L_mid, self.L_0)
        shapes = [tuple(column.shape) for column in columns]
        if any(shape != (len(self.ids),) for shape in shapes):
            raise BadInput(f"a per-image table has one value per image and column; got {shapes}")
        if len(self.sources) not in (0, len(self.ids)):
            raise BadInput(
                f"a per-image table has a file for each image or none; got {len(self.sources)}"
            )
        ids, counts = torch.unique(self.ids, return_counts=True)
        if bool((counts > 1).any()):
            twice = ids[counts > 1].tolist()
            raise BadInput(f"a per-image table has each image once; repeated: {_some(twice)}")

    def columns(self) -> dict[str, Tensor]:
        """What the file holds, by name and in the order of id; all but id are in the unit."""
        order = self.ids.argsort()
        nats = (self.total, self.se, self.L_T, self.L_mid, self.L_0)
        columns = {"id": self.ids[order]}
        names = [self.unit.key if name == BITS.key else name for name in COLUMNS]
        for name, column in zip(names[1:], nats, strict=True):
            columns[name] = column[order].double() / (self.dims * self.unit.nats)
        return columns

    def files(self) -> dict[str, list[str]]:
        """The column of file names, in the order of id; none where the images were no files."""
        order = self.ids.argsort().tolist()
        return {FILE: [shown(self.sources[i]) for i in order]} if self.sources else {}


def digest(columns: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the names and values of `PerImage.columns`, whatever file they come from."""
    result = hashlib.sha256()
    for name, column in columns.items():
        values = column if name == "id" else torch.where(column.isnan(), math.nan, column)
        result.update(f"{name} {len(column)}\n".encode())
        result.update(values.contiguous().numpy().astype(f"<{values.numpy().dtype.str[1:]}").data)
    return result.hexdigest()


def check_path(path: str | Path) -> None:
    """Answers, before the work is done, whether a table could be written there.

    Raises:
        BadInput: a suffix other than .csv and .parquet, no such folder or none that can be
            written to, a folder in the file's place, or .parquet without pyarrow.
    """
    path = Path(path)
    suffix = _suffix(path)
    parent = path.absolute().parent
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a file in it")
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BadInput(f"{path}: its folder does not exist or cannot be written to; make it first")
    if suffix == ".parquet":
        _pyarrow()


def write(table: PerImage, path: str | Path) -> Path:
    """Writes a row per image in the order of id, in the table's unit, as CSV or Parquet by suffix.

    Floats keep every bit; an se that is not known is an empty field or a null. Equal tables give
    equal bytes, and the file is whole or absent.

    Raises:
        BadInput: as check_path does.
        NonFinite: a value is infinite, or NaN elsewhere than in se.
        OSError: the disk refuses.
    """
    check_path(path)
    return files.write(path, content(table, path))


def content(table: PerImage, path: str | Path) -> bytes:
    """What `write` writes into a file of that name.

    Raises:
        BadInput: a suffix other than .csv and .parquet, or .parquet without pyarrow.
        NonFinite: a value is infinite, or NaN elsewhere than in se.
    """
    columns = table.columns()
    for name in tuple(columns)[1:]:
        bad = columns[name].isinf() if name == UNKNOWN else ~columns[name].isfinite()
        if bool(bad.any()):
            raise NonFinite(f"{name} is not finite for images {_some(columns['id'][bad].tolist())}")
    values: Columns = {
        name: [None if x != x else x for x in column.tolist()] for name, column in columns.items()
    }
    values |= {name: list(files) for name, files in table.files().items()}
    return _csv(values) if _suffix(Path(path)) == ".csv" else _parquet(values)


def is_table(path: Path) -> bool:
    """Whether a Parquet file has the columns of a per-image table."""
    arrow, parquet = _pyarrow()
    try:
        names = parquet.read_schema(path).names
    except (arrow.ArrowException, OSError):
        return False
    return _known(names)


def _known(names: Sequence[str]) -> bool:
    """Whether these are the columns of a table, with or without that of the files."""
    return tuple(names) in TABLES


def read(path: str | Path) -> dict[str, Tensor]:
    """The columns of a written table, equal to the last bit to what `PerImage.columns` gave.

    id: int64 (N,); the others float64 (N,), NaN where se is not known, in bits/dim; of a density
    in nats/dim, with nats_per_dim in place of bits_per_dim; of text bits_per_byte, a window's bits
    over the bytes of a mean window. File names are left out.

    Raises:
        BadInput: another suffix, no such file, .parquet without pyarrow, or not such a table.
    """
    path = Path(path)
    suffix = _suffix(path)
    content = files.read(path, MOST, "table")
    values = _from_csv(path, content) if suffix == ".csv" else _from_parquet(path, content)
    columns = {
        name: torch.tensor(column, dtype=torch.int64 if name == "id" else torch.float64)
        for name, column in values.items()
        if name != FILE
    }
    return columns


def check(path: Path, columns: Mapping[str, Tensor]) -> None:
    """Refuses columns that no evaluation gives, as damage or a hand may leave them.

    Raises:
        BadInput: an id twice, a value that is not finite, terms that do not add up.
    """
    ids, counts = torch.unique(columns["id"], return_counts=True)
    if bool((counts > 1).any()):
        twice = _some(ids[counts > 1].tolist())
        raise BadInput(f"{path} is damaged: it holds images twice, with the ids {twice}")
    for name, column in columns.items():
        finite = column.isfinite() & ~(column < 0) if name == UNKNOWN else column.isfinite()
        bad = ~(finite | column.isnan()) if name == UNKNOWN else ~finite
        if bool(bad.any()):
            rows = _some(columns["id"][bad].tolist())
            raise BadInput(f"{path} is damaged: {name} is no number of ours for the images {rows}")
    total = columns[tuple(columns)[1]]
    parts = torch.stack([columns[name] for name in TERMS])
    off = (total - parts.sum(0)).abs() > SAME * (1 + parts.abs().amax(0))
    if bool(off.any()):
        rows = _some(columns["id"][off].tolist())
        raise BadInput(f"{path} is damaged: the terms do not add up to the bound of images {rows}")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        got = path.suffix or "none"
        raise BadInput(f"{path}: a per-image table is written as .csv or .parquet; got {got}")
    return suffix


def _some(ids: list[int]) -> str:
    """Up to five of the ids, and how many more."""
    shown = ", ".join(map(str, ids[:5]))
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5} more"


def _csv(values: Columns) -> bytes:
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(values)
    rows.writerows(zip(*values.values(), strict=True))  # repr for floats, empty for None
    return text.getvalue().encode()


def _from_csv(path: Path, content: bytes) -> Columns:
    rows = csv.reader(StringIO(content.decode(errors="replace"), newline=""))
    names = tuple(next(rows, ()))
    if not _known(names):
        raise BadInput(f"{path}: the first line of a per-image table is {','.join(COLUMNS)}")
    values: Columns = {name: [] for name in names}
    for row in rows:
        try:
            for name, field in zip(names, row, strict=True):
                values[name].append(field if name == FILE else _number(name, field))
        except (ValueError, OverflowError, csv.Error):
            raise BadInput(
                f"{path}, line {rows.line_num}: not an id and {len(names) - 1} numbers"
            ) from None
    return values


def _number(name: str, field: str) -> float:
    if name == "id":
        number = int(field)
        if not -(2**63) <= number < 2**63:
            raise ValueError(field)
        return number
    return math.nan if name == UNKNOWN and not field else float(field)


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise BadInput(
            "a .parquet file needs pyarrow: pip install 'nelbo[parquet]', or write .csv"
        ) from None


def _schema(arrow: ModuleType, names: Iterable[str]) -> object:
    kinds = {"id": arrow.int64(), FILE: arrow.string()}
    return arrow.schema(
        [
            arrow.field(name, kinds.get(name, arrow.float64()), nullable=name == UNKNOWN)
            for name in names
        ]
    )


def _parquet(values: Columns) -> bytes:
    arrow, parquet = _pyarrow()
    buffer = BytesIO()
    table = arrow.table(values, schema=_schema(arrow, values))
    parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def _from_parquet(path: Path, content: bytes) -> Columns:
    arrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(BytesIO(content), page_checksum_verification=True)
    except (arrow.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} is not a Parquet file, or a damaged one: {reason}") from None
    if not any(table.schema.equals(_schema(arrow, names)) for names in TABLES):
        raise BadInput(f"{path}: the columns of a per-image table are {', '.join(COLUMNS)}")
    try:
        table.validate(full=True)
        values: Columns = table.to_pydict()
    except (arrow.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} is not a Parquet file, or a damaged one: {reason}") from None
    if any(x is None for name in values for x in values[name] if name != UNKNOWN):
        raise BadInput(f"{path} is damaged: it has holes in other columns than {UNKNOWN}")
    values[UNKNOWN] = [math.nan if se is None else se for se in values[UNKNOWN]]
    return values

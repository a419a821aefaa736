"""What a command writes: checked before the work, then written, then printed.

An output never replaces what the command does not make: the file that is there is known by its
content, and one of another kind is left as it is unless the user says --force.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import typer

from nelbo import files
from nelbo.cli.terminal import name_made, print_result
from nelbo.errors import BadInput, NonFinite, NotWritten

if TYPE_CHECKING:
    from nelbo.results.saved import Saved

__all__ = [
    "Baselines",
    "Force",
    "Output",
    "PerImage",
    "Plots",
    "check_outputs",
    "deliver",
    "deliver_result",
    "kind_of",
]

Force = Annotated[
    bool, typer.Option("--force", help="Replace whatever file is at an output's path.")
]
PerImage = Annotated[
    Path | None, typer.Option(help="Write each image's bits/dim here: .csv or .parquet.")
]
Plots = Annotated[Path | None, typer.Option(help="Write plots into this folder, .png and .svg.")]
Baselines = Annotated[
    bool,
    typer.Option("--baselines", help="Also what the images cost by PNG, WebP, xz and uniform."),
]
LONGEST = 255  # bytes of a file's name
HEAD = 4096  # bytes by which a file is known
RESULT = re.compile(rb'\{\s*"schema":\s*"nelbo\.(\w+)/\d+"')
TABLES = tuple(
    f"id,{key},se,".encode()
    for key in ("bits_per_dim", "nats_per_dim", "bits_per_byte", "nats_per_token")
)
OF_RESULTS = re.compile(rb"% Made by nelbo|<!-- Made by nelbo -->|model,[\w,]*\bnelbo\n")
PDF_END, PDF_MARK = 2**16, b"/Creator (nelbo)"  # which stands before the list of its parts
MARKS = (
    (b"<!DOCTYPE html", b'<meta name="generator" content="nelbo">', "page"),
    (b"<!DOCTYPE html", b'<meta name="generator" content="nelbo derive">', "derivation page"),
    (b"% Derivation made by nelbo", b"", "derivation text"),
    (b'{\n "metadata": {\n  "made by": "nelbo derive"', b"", "derivation notebook"),
    (b"\x89PNG\r\n", b"Software\x00nelbo plots", "plot"),
    (b"\x89PNG\r\n", b"Software\x00nelbo", "picture"),
    (b"\x8dN", b"", "archive"),
    (b"rank,id,", b"_per_dim,low,high,", "table of ranks"),
    (b"<?xml", b"<dc:title>nelbo</dc:title>", "plot"),
    (b"# samples of nelbo", b"", "text"),
)


@final
@dataclass(frozen=True)
class Output:
    """A file that a command is to write: its option, its path, and which kind it is.

    path: None where it was not asked for; "-" is stdout where `stdout` allows it. suffixes: those
    that are made, any where there are none.
    """

    option: str
    path: str | Path | None
    kind: str
    suffixes: Sequence[str] = ()
    stdout: bool = False

    @property
    def file(self) -> Path | None:
        """The path, where a file is asked for."""
        return None if self.path is None or self._to_stdout else Path(self.path)

    @property
    def _to_stdout(self) -> bool:
        return self.stdout and self.path == "-"

    @property
    def name(self) -> str:
        """As the user typed it."""
        return f"{self.option} {self.path}"


def check_outputs(*outputs: Output, force: bool = False) -> None:
    """Before hours of work: each output can be written, and replaces nothing of another kind.

    Raises:
        BadInput: a folder that is not there or cannot be written to, a folder in a file's place,
            a suffix that is not made, one file for two outputs, a file of another kind, a full
            disk.
    """
    taken: dict[str, str] = {}
    for output in outputs:
        path = output.file
        if path is None:
            continue
        try:
            place = _check_place(output, path)
        except OSError as error:
            raise BadInput(f"{output.name} cannot be written: {error.strerror}") from None
        if place is None:
            continue
        if place in taken:
            raise BadInput(f"{taken[place]} and {output.option} are one file, {path}: name two")
        taken[place] = output.option
        if not force:
            _check_kind(output, path)


def _check_place(output: Output, path: Path) -> str | None:
    """Where it will be, links followed; None for what is written through."""
    if "\0" not in str(path) and path.is_dir() and str(path) != "-":
        raise BadInput(f"{output.name} is a folder: name a file in it")
    _check_name(output, path)
    if files.handle_of(path) is not None:
        return None
    if path.exists() and not path.is_file():
        if stat.S_ISSOCK(path.stat().st_mode) or not os.access(path, os.W_OK):
            raise BadInput(f"{output.name} cannot be written to")
        return None
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise BadInput(f"{output.name} is a link that leads back to itself")
    _check_folder(output, place.parent)
    return str(place)


def _check_name(output: Output, path: Path) -> None:
    if "\0" in str(path) or len(os.fsencode(path.name)) > LONGEST:
        raise BadInput(f"{output.name}: no file can have such a name")
    if str(path) == "-":
        raise BadInput(f"{output.name}: only --json writes to stdout; name a file")
    if output.suffixes and path.suffix.lower() not in output.suffixes:
        made, got = " or ".join(output.suffixes), path.suffix or "none"
        raise BadInput(f"{output.name}: this is written as {made}; got {got}")


def _check_folder(output: Output, folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{output.name}: its folder does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{output.name}: its folder cannot be written to")
    if shutil.disk_usage(folder).free == 0:
        raise BadInput(f"{output.name}: there is no room on its disk")


def _check_kind(output: Output, path: Path) -> None:
    if path.is_file() and kind_of(path) not in ("nothing", output.kind):
        raise BadInput(
            f"{output.name}: the file there is no {output.kind} that nelbo made, and is left as it "
            "is: choose another name, or replace it by --force"
        )


def kind_of(path: Path) -> str:
    """What a file is that one of our commands made: nothing where it is empty, else unknown.

    evaluation, comparison, comparisons, improvement, derivation, inspection, compression,
    image_ranking, classification, ode, order_bounds or plan for what --json writes; part, of an
    evaluation; page, derivation page, derivation text, derivation notebook, table (of single
    images), table of results, table of ranks, plot, picture, text (of samples), archive.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "nothing"
    result = RESULT.match(head)
    if result:
        return result[1].decode()
    if head.startswith(TABLES) or _is_parquet_table(path, head):
        return "table"
    if OF_RESULTS.match(head):
        return "table of results"
    if head.startswith(b"%PDF-") and PDF_MARK in _end(path):
        return "plot"
    for start, mark, kind in MARKS:
        if head[: len(start)].lower() == start.lower() and mark in head:
            return kind
    return "unknown"


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - PDF_END))
        return file.read()


def _is_parquet_table(path: Path, head: bytes) -> bool:
    if not head.startswith(b"PAR1"):
        return False
    from nelbo.results import per_image

    return per_image.is_table(path)


def deliver(
    show: Callable[[], None],
    *made: tuple[str | Path | None, Callable[[], bytes]],
    also: Iterable[str | Path] = (),
    stdout: bool = True,
) -> None:
    """Writes the files, then prints: `| head` closes stdout and loses no file.

    made: (path, what makes its content); nothing is written for None and "-". also: what was
    written before. Both are named at the end. A file that fails takes neither the other files nor
    the printed result with it.

    Raises:
        NotWritten: a file could not be written; the message says which were.
        NonFinite: a content holds what is not finite.
    """
    written: list[str | Path] = []
    failed: Exception | None = None
    for path, content in made:
        if path in (None, "-"):
            continue
        try:
            written.append(files.write(str(path), content()))
        except (OSError, NonFinite) as error:
            failed = failed or error
    try:
        show()
        name_made([*written, *also], stdout=stdout)
    finally:
        if isinstance(failed, OSError):
            others = ", ".join(map(str, [*written, *also])) or "nothing"
            raise NotWritten(
                f"cannot write {failed.filename}: {failed.strerror}; written: {others}"
            ) from failed
        if failed is not None:
            raise failed


def deliver_result(
    result: "Saved",
    json: str | None,
    *others: tuple[str | Path | None, Callable[[], bytes]],
    also: Iterable[str | Path] = (),
    record: Path | None = None,
    lead: str = "",
) -> None:
    """Writes a result's JSON, and others, and prints it: as JSON alone where `json` is "-".

    record: of what was evaluated, which is named at the end as `also` is; lead: a line above what
    is printed; raises as `deliver`.
    """
    deliver(
        lambda: print_result(result, json, lead),
        (json, result.to_json().encode),
        *others,
        also=[*also, *filter(None, [record])],
        stdout=json != "-",
    )

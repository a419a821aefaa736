"""Parts of an evaluation on the command line: --part K/N, and the commands of those missing."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import typer

from nelbo.cli.app import EVERYWHERE
from nelbo.cli.outputs import Output, check_outputs, deliver
from nelbo.cli.terminal import print_result
from nelbo.errors import BadInput

if TYPE_CHECKING:
    from nelbo.data import Examples
    from nelbo.model import Model
    from nelbo.results import Comparison, Evaluation
    from nelbo.results.part import Part

__all__ = ["Merging", "PartOption", "PartOutput", "WrittenPart", "commands_of", "written_part"]

OWN = {"--part", "-o", "--output", "--record"}  # options of one part alone
FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")

PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Evaluate part K of N alone, of --exhaustive (or --order), into the file of -o.",
    ),
]
PartOutput = Annotated[
    Path | None, typer.Option("-o", "--output", help="With --part: the file of this part, .json.")
]


@final
@dataclass(frozen=True)
class Merging:
    """What `nelbo merge` makes of `evaluate` or `compare`: the parts in place of the networks."""

    parts: Sequence["Part"]

    @property
    def name(self) -> str:
        """Of the command that made the parts."""
        return name_of(self.parts[0])

    @property
    def command(self) -> str:
        """What evaluates the whole in one process."""
        return shlex.join(["nelbo", self.name, *self.parts[0].arguments])

    def evaluation(self, model: "Model", images: "Examples", baselines: bool) -> "Evaluation":
        """The whole of parts of one model."""
        from nelbo.tasks.merge import merge

        return merge(self.parts, model, images, baselines=baselines, command=self.command)

    def comparison(self, a: "Model", b: "Model", images: object) -> "Comparison":
        """The whole of parts of two."""
        from nelbo.tasks.merge import merge

        return merge(self.parts, (a, b), images, command=self.command)


@final
@dataclass(frozen=True)
class WrittenPart:
    """A part that is evaluated, its file, and the folder that a kill leaves its batches in."""

    number: int
    of: int
    path: Path
    record: Path
    command: str

    @property
    def pair(self) -> tuple[int, int]:
        """As `nelbo.evaluate` takes it."""
        return self.number, self.of

    def deliver(self, part: "Part", kept: Path | None) -> None:
        """Writes the part; then its batches on disk are of no more use, but where they are kept."""
        content = part.with_arguments(_arguments(self.command, sys.argv[1:])).to_json().encode
        also = [] if kept is None else [kept]
        deliver(lambda: print_result(part, None), (self.path, content), also=also)
        if kept is None:
            shutil.rmtree(self.record)


def written_part(
    part: str | None,
    output: Path | None,
    record: Path | None,
    of_the_whole: bool,
    force: bool,
    command: str = "evaluate",
) -> WrittenPart | None:
    """The part that --part and -o state; None without.

    of_the_whole: whether outputs are wanted that only all parts together have.

    Raises:
        BadInput: one without the other, no K/N, outputs of the whole, or a file that cannot be
            written.
    """
    if part is None:
        if output is not None:
            raise BadInput(
                "-o is the file of a part: give --part K/N too, or --json for the result of all"
            )
        return None
    stated = FORM.fullmatch(part)
    if stated is None or not 1 <= int(stated[1]) <= int(stated[2]):
        raise BadInput(f"--part is K/N with K from 1 to N, as in 3/64; got {part}")
    if output is None:
        raise BadInput(f"--part {part} needs -o: name the file that this part is written to")
    if of_the_whole:
        raise BadInput(
            "--part writes its part alone: leave out --json, --per-image, --plots and --baselines, "
            "and give them to nelbo merge"
        )
    check_outputs(Output("-o", output, "part", (".json",)), force=force)
    own = Path(f"{output}.record") if record is None else record
    return WrittenPart(int(stated[1]), int(stated[2]), output, own, command)


def name_of(part: "Part") -> str:
    """Of the command that made the part."""
    return "compare" if part.of_two else "evaluate"


def commands_of(parts: Sequence["Part"], absent: Sequence[int]) -> list[str]:
    """The commands that evaluate the absent parts, named as the others are."""
    first = parts[0]
    named = _named(Path(first.source), first.number)
    arguments = ["nelbo", name_of(first), *first.arguments]
    return [
        shlex.join([*arguments, "--part", f"{number}/{first.of}", "-o", named(number)])
        for number in absent
    ]


def _named(path: Path, number: int) -> Callable[[int], str]:
    """The file's name with another number, where it has its own in it; else part-K.json."""
    places = [m for m in re.finditer("[0-9]+", path.name) if int(m[0]) == number]
    if not places:
        return lambda other: str(path.with_name(f"part-{other}.json"))
    start, end = places[-1].span()
    width = end - start if path.name[start] == "0" else 0
    head, tail = path.name[:start], path.name[end:]
    return lambda other: str(path.with_name(f"{head}{other:0{width}d}{tail}"))


def _arguments(command: str, typed: Sequence[str]) -> list[str]:
    """What was typed after the command, without what is of this part or of the terminal alone."""
    others = [one for one in typed if one not in (*EVERYWHERE, "--force")]
    kept, skip = [], False
    for one in others[others.index(command) + 1 :]:
        name = one.partition("=")[0]
        if skip or name in OWN:
            skip = not skip and "=" not in one
        elif not (one.startswith("-o") and len(one) > 2):
            kept.append(one)
    return kept

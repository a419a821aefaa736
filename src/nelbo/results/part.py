"""A part of an evaluation as a file: what came back from the network for some of its batches."""

import base64
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, final

import safetensors
import safetensors.torch
from torch import Tensor

from nelbo import arguments, files
from nelbo.errors import BadInput, printable
from nelbo.results.saved import digest_of
from nelbo.typed_json import Json, list_at, number_at, object_at, once, rows_at, text_at, whole_at

__all__ = ["Entry", "Part", "processor"]

SCHEMA = "nelbo.part/1"
MOST = 2**31  # bytes of a file
MALFORMED = (
    *(BadInput, KeyError, TypeError, ValueError, AttributeError, OverflowError),
    safetensors.SafetensorError,
)
CHECKED = ("again", "alone", "limit", "network_evaluations")  # what was seen of the network
NAMED = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)

Entry: TypeAlias = tuple[Tensor, ...]


def processor() -> str:
    """The processor's name, by which parts of several machines are told apart."""
    try:
        named = NAMED.search(Path("/proc/cpuinfo").read_text())
    except OSError:
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()


@final
@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Part `number` of `of`, counted from 1: entries are tensors by (stage, batch).

    plan: what the whole is, equal for all parts of it; evaluations: of this part; check: what was
    seen of the network before, None without; environment: where it was computed; arguments: of the
    command line, without what is of this part alone; source: what messages call it.
    """

    number: int
    of: int
    plan: Mapping[str, Json]
    entries: Mapping[tuple[int, int], Entry]
    evaluations: int
    seconds: float
    check: Mapping[str, Json] | None
    environment: Mapping[str, Json]
    arguments: Sequence[str] = ()
    source: str = "the part"

    def __str__(self) -> str:
        return (
            f"part {self.number} of {self.of}: {self.evaluations:,} network evaluations in "
            f"{self.seconds:.1f} s"
        )

    def __repr__(self) -> str:
        return printable(f"<Part {self.number} of {self.of}, seed {self.plan.get('seed')}>")

    @property
    def of_two(self) -> bool:
        """Whether it is of a comparison of two models."""
        return any(key.startswith("model 2, ") for key in self.plan)

    def with_arguments(self, arguments: Sequence[str]) -> "Part":
        """The same with the command line that it came from."""
        return replace(self, arguments=tuple(arguments))

    def to_json(self) -> str:
        """The JSON object, schema nelbo.part/1, with a digest of all that it holds."""
        tree: dict[str, Json] = {
            "schema": SCHEMA,
            "part": self.number,
            "of": self.of,
            "plan": dict(self.plan),
            "network_evaluations": self.evaluations,
            "seconds": self.seconds,
            "check": None if self.check is None else dict(self.check),
            "environment": dict(self.environment),
            "arguments": list(self.arguments),
            "entries": [
                {"stage": stage, "batch": batch, "values": _packed(entry)}
                for (stage, batch), entry in sorted(self.entries.items())
            ],
        }
        return json.dumps({**tree, "sha256": digest_of(tree)}, indent=1, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Writes the part, whole or not at all; a file that is there is replaced.

        Raises:
            OSError: the disk refuses.
        """
        return files.write(path, self.to_json().encode())

    @classmethod
    def read(cls, path: str | Path) -> "Part":
        """A part that `save` wrote.

        Raises:
            BadInput: no such file, or one that is no part, is damaged or was edited.
        """
        path = arguments.path("part", path)
        tree = _tree(path)
        try:
            return cls._of(tree, str(path))
        except MALFORMED as error:
            raise BadInput(f"{path} does not keep to {SCHEMA}: {error}; compute it again") from None

    @classmethod
    def _of(cls, tree: Mapping[str, Json], source: str) -> "Part":
        number, of = (arguments.whole(name, tree[name]) for name in ("part", "of"))
        if not 1 <= number <= of or not math.isfinite(seconds := number_at(tree, "seconds")):
            raise ValueError(f"part {number} of {of}")
        plan = object_at(tree, "plan")
        for name, least in (("seed", None), ("batch_size", 1)):
            arguments.whole(name, plan[name], least)
        arguments.flag("distortion", plan["distortion"])
        check = None if tree["check"] is None else object_at(tree, "check")
        for name in () if check is None else CHECKED:
            number_at(check, name)
        return cls(
            number=number,
            of=of,
            plan=plan,
            entries={
                (whole_at(e, "stage"), whole_at(e, "batch")): _unpacked(text_at(e, "values"))
                for e in rows_at(tree, "entries")
            },
            evaluations=arguments.whole("evaluations", tree["network_evaluations"]),
            seconds=float(seconds),
            check=check,
            environment=object_at(tree, "environment"),
            arguments=tuple(map(str, list_at(tree, "arguments"))),
            source=source,
        )


def _tree(path: str | Path) -> Mapping[str, Json]:
    """The JSON object in the file, whose digest is that of its content."""
    content = files.read(path, MOST, "part")
    try:
        tree = json.loads(content.decode("utf-8"), object_pairs_hook=once)
    except (RecursionError, ValueError) as error:
        raise BadInput(f"{path} is no part of an evaluation: it is no JSON ({error})") from None
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise BadInput(
            f"{path} is no part of an evaluation: its schema is not {SCHEMA}; "
            "nelbo evaluate MODEL --part K/N -o FILE writes one"
        )
    digest = tree.pop("sha256", None)
    if digest != digest_of(tree):
        raise BadInput(f"{path} is damaged or was edited: compute this part again")
    return tree


def _packed(entry: Entry) -> str:
    content = safetensors.torch.save({str(i): x.contiguous() for i, x in enumerate(entry)})
    return base64.b64encode(content).decode()


def _unpacked(text: str) -> Entry:
    tensors = safetensors.torch.load(base64.b64decode(text, validate=True))
    return tuple(tensors[str(i)] for i in range(len(tensors)))

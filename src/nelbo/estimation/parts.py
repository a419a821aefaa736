"""An evaluation in parts: the batches of one of N, and a record that the parts of all make."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import final

import torch
from torch import Tensor

from nelbo import arguments
from nelbo.errors import BadInput
from nelbo.results.part import Entry, Part, processor
from nelbo.typed_json import Json, number_at

__all__ = ["Replay", "Share", "missing", "one_of_each"]

LISTED = 100  # numbers of missing parts


@final
class Share:
    """The batches of part `number` of `of`: the batches of all calls, dealt in turn.

    Nothing but their order decides whose a batch is, so that all parts have the same plan.
    """

    def __init__(self, number: int, of: int) -> None:
        self.number = number
        self.of = of
        self.entries: dict[tuple[int, int], Entry] = {}
        self._dealt = 0  # batches of the calls before

    @classmethod
    def stated(cls, part: object) -> "Share":
        """Of (number, of).

        Raises:
            BadInput: no pair of whole numbers with 1 <= number <= of.
        """
        if not isinstance(part, tuple | list) or len(part) != 2:
            raise BadInput(f"part is (number, of), as in (3, 64); got {arguments.shown(part)}")
        number, of = (arguments.whole("part", x) for x in part)
        if not 1 <= number <= of:
            raise BadInput(f"parts of {of} are counted from 1 to {of}; got {number}")
        return cls(number, of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(
        self,
        plan: Mapping[str, Json],
        evaluations: int,
        seconds: float,
        check: Mapping[str, Json] | None,
        environment: Mapping[str, Json],
    ) -> Part:
        """What there is of the network when all of its calls were shared out."""
        return Part(
            number=self.number,
            of=self.of,
            plan=json.loads(json.dumps(plan)),
            entries=self.entries,
            evaluations=evaluations,
            seconds=seconds,
            check=check,
            environment={**environment, "processor": processor()},
            source=f"part {self}",
        )

    def own(self, count: int) -> list[int]:
        """Of the next so many batches, those of this part."""
        before, self._dealt = self._dealt, self._dealt + count
        return [b for b in range(count) if (before + b) % self.of == self.number - 1]

    def filled(
        self,
        stage: int,
        kept: Mapping[int, Entry],
        sizes: Sequence[int],
        like: Callable[[], Sequence[Tensor]],
    ) -> dict[int, Entry]:
        """Keeps what this part has; zeros, which decide nothing, stand for the batches of others.

        sizes: rows of each batch; like: what a batch holds, where this part has none.
        """
        self.entries |= {(stage, b): entry for b, entry in kept.items()}
        if len(kept) == len(sizes):
            return dict(kept)
        columns = next(iter(kept.values()), None) or tuple(like())
        return {
            b: kept[b] if b in kept else tuple(x.new_zeros(size, *x.shape[1:]) for x in columns)
            for b, size in enumerate(sizes)
        }


@final
class Replay:
    """All parts of one evaluation as its record, which evaluates nothing."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = one_of_each(parts)
        self._entries = {key: entry for part in self.parts for key, entry in part.entries.items()}

    @property
    def plan(self) -> Mapping[str, Json]:
        """What was evaluated, and how."""
        return self.parts[0].plan

    @property
    def seconds(self) -> float:
        """Of all parts together."""
        return sum(part.seconds for part in self.parts)

    @property
    def check(self) -> dict[str, Json] | None:
        """The worst that a part saw of the network; None where one did not look."""
        seen = [part.check for part in self.parts if part.check is not None]
        if len(seen) < len(self.parts):
            return None
        return {key: max(number_at(one, key) for one in seen) for key in seen[0]}

    @property
    def machines(self) -> list[dict[str, Json]]:
        """Where the parts were computed: each environment once, with the numbers of its parts."""
        each: dict[str, tuple[Mapping[str, Json], list[int]]] = {}
        for part in self.parts:
            key = json.dumps(part.environment, sort_keys=True)
            each.setdefault(key, (part.environment, []))[1].append(part.number)
        return [{**about, "numbers": numbers} for about, numbers in each.values()]

    def agree(self, plan: Mapping[str, Json]) -> None:
        """Goes on only where model, data and settings are those of the parts.

        Raises:
            BadInput: they are not.
        """
        key = _difference(self.plan, json.loads(json.dumps(plan)))
        if key is not None:
            raise BadInput(
                f"{self.parts[0].source} was computed with another {key}: {self.plan.get(key)}, "
                f"and it is {plan.get(key)} here; merge with the model and data of the parts"
            )

    def get(self, stage: int, batch: int) -> Entry:
        """What the part that has this batch holds of it.

        Raises:
            BadInput: none has.
        """
        entry = self._entries.get((stage, batch))
        if entry is None:
            raise BadInput(
                f"no part holds batch {batch} of stage {stage}, which one of them should: they are "
                "of another version; compute them again"
            )
        return entry

    def put(self, stage: int, batch: int, entry: Sequence[Tensor]) -> None:
        """Nothing: all that there is was there."""

    def close(self) -> None:
        """Nothing: no file is open."""


def one_of_each(parts: Sequence[Part]) -> list[Part]:
    """The parts in order, each once; all are there.

    Raises:
        BadInput: none, one of another evaluation, two that contradict each other, or some that are
            missing; the message names them.
    """
    if not parts:
        raise BadInput("there is no part to merge: give the files of all")
    each: dict[int, Part] = {}
    for part in parts:
        _require_same(parts[0], part)
        known = each.setdefault(part.number, part)
        if not _same(known.entries, part.entries):
            where = [str(one.environment.get("processor")) for one in (known, part)]
            raise BadInput(
                f"{known.source} and {part.source} are both part {part.number} and hold different "
                f"values, of {where[0]} and {where[1]}: give one of them"
            )
    count, absent = missing(parts)
    if count:
        raise BadInput(
            f"{count} of {parts[0].of} parts are missing: {_some(absent, count)}; evaluate them, "
            "then merge all"
        )
    return [each[number] for number in sorted(each)]


def missing(parts: Sequence[Part]) -> tuple[int, list[int]]:
    """How many parts are not there, and the first hundred of their numbers."""
    there = {part.number for part in parts}
    absent = (number for number in range(1, parts[0].of + 1) if number not in there)
    return parts[0].of - len(there), list(islice(absent, LISTED))


def _require_same(first: Part, other: Part) -> None:
    """Refuses a part of another evaluation."""
    if first.of != other.of:
        raise BadInput(
            f"{other.source} is one of {other.of} parts and {first.source} one of {first.of}: "
            "merge the parts of one evaluation"
        )
    key = _difference(first.plan, other.plan)
    if key is not None:
        raise BadInput(
            f"{other.source} is a part of another evaluation than {first.source}: its {key} is "
            f"{other.plan.get(key)}, and there it is {first.plan.get(key)}; leave it out"
        )


def _difference(a: Mapping[str, Json], b: Mapping[str, Json]) -> str | None:
    """The first key in which two plans differ."""
    return next((key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)), None)


def _same(a: Mapping[tuple[int, int], Entry], b: Mapping[tuple[int, int], Entry]) -> bool:
    """Bit for bit; a NaN, of what a model has not, is itself."""
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key])
        and all(_bytes(x) == _bytes(y) for x, y in zip(a[key], b[key], strict=True))
        for key in a
    )


def _bytes(x: Tensor) -> tuple[str, bytes]:
    return f"{x.dtype} {tuple(x.shape)}", x.contiguous().view(-1).view(
        torch.uint8
    ).numpy().tobytes()


def _some(numbers: Sequence[int], count: int) -> str:
    """The first ten of so many."""
    shown = ", ".join(map(str, numbers[:10]))
    return shown if count <= 10 else f"{shown} and {count - 10} more"

"""An evaluation as its JSON object tells it, read back and checked."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, final

from nelbo.errors import BadInput, printable
from nelbo.files import read as read_file
from nelbo.results.evaluation import SCHEMA, figures_digest
from nelbo.results.saved import DIGEST as CONTENT
from nelbo.results.saved import Saved, intact
from nelbo.results.unit import BITS, NATS, Unit, unit_of_text
from nelbo.typed_json import (
    Json,
    known_at,
    known_of,
    list_at,
    number_at,
    number_of,
    object_at,
    once,
    rows_at,
    text_at,
    whole_at,
)

__all__ = [
    "Point",
    "Result",
    "Term",
    "checked",
    "ends_of",
    "half_of",
    "load",
    "parse",
    "read",
    "unit_of",
]

DIGEST = "figures_sha256"
MOST = 2**28  # bytes
SAME = 1e-9  # relative, of one figure in another order of sums
WRITTEN_BY = "nelbo evaluate MODEL --json FILE writes one"

Say = Callable[[str], None]


@final
@dataclass(frozen=True)
class Term:
    """One of the three terms, per dimension; half of its 95 % interval (sampling of images)."""

    name: str
    value: float
    half: float | None


@final
@dataclass(frozen=True)
class Point:
    """A point of the rate curve: the rate per dimension, and the error where it is known."""

    t: int
    rate: float
    rmse: float | None


@final
@dataclass(frozen=True)
class Look:
    """The estimate after so many evaluations, with half of its Monte Carlo interval."""

    evaluations: int
    value: float
    half: float | None


@final
@dataclass(frozen=True)
class Step:
    """The term of t with its standard error; log SNR where it is recorded and finite."""

    t: int
    value: float
    se: float | None
    log_snr: float | None


@final
@dataclass(frozen=True, repr=False)
class Result(Saved):
    """What an evaluation found, every figure per dimension in `unit`; `tree` is all that it says.

    half is of the sampling of images, half_monte_carlo of Monte Carlo.
    """

    tree: Mapping[str, Json]
    unit: Unit
    value: float
    half: float | None
    half_monte_carlo: float | None
    terms: Sequence[Term]
    steps: Sequence[Step]
    has_log_snr: bool
    rate: Sequence[Point]
    looks: Sequence[Look]

    def __repr__(self) -> str:
        figure = f"{self.value:.4f} {self.unit}"
        return printable(f"<Result: {figure}, {self.model['name']} on {self.data['name']}>")

    def to_dict(self) -> dict[str, Json]:
        """The JSON object, as it was read."""
        return dict(self.tree)

    @property
    def model(self) -> Mapping[str, Json]:
        """What changes the bound."""
        return object_at(self.tree, "model")

    @property
    def data(self) -> Mapping[str, Json]:
        """What was measured on."""
        return object_at(self.tree, "data")

    @property
    def estimator(self) -> Mapping[str, Json]:
        """How it was estimated."""
        return object_at(self.tree, "estimator")

    @property
    def environment(self) -> Mapping[str, Json]:
        """Where."""
        return object_at(self.tree, "environment")

    @property
    def images(self) -> int:
        """How many."""
        return whole_at(self.tree, "images")

    @property
    def levels(self) -> int | None:
        """Of the data; None for real numbers."""
        return None if self.data.get("levels") is None else whole_at(self.data, "levels")


def read(path: str | Path, say: Say = lambda text: None) -> Result:
    """The result in a file that `nelbo evaluate --json` wrote.

    say: called with what should be known of the file: an older nelbo wrote no digests.

    Raises:
        BadInput: no such file, no JSON, another schema, a part that is missing or of another kind,
            or figures that contradict each other.
    """
    return checked(load(path), path, say)


def checked(tree: object, path: str | Path, say: Say) -> Result:
    """As `read`, of what the file holds."""
    result = parse(tree, str(path))
    wrong = next(_contradictions(result), None)
    if not intact(result.tree):
        wrong = wrong or "it is not what it was written as"
    if result.tree.get(DIGEST, figures := figures_digest(result.tree)) != figures:
        wrong = "its figures are not those that it was written with"
    if wrong is not None:
        raise BadInput(f"{path} is damaged or was edited: {wrong}; {WRITTEN_BY}")
    if CONTENT not in result.tree:
        what = "its figures" if DIGEST not in result.tree else "what it holds"
        say(f"{path}: the result is of an older nelbo and has no digest of {what}")
    return result


def load(path: str | Path) -> Json:
    """What a JSON file of at most 256 MiB holds, without NaN, infinities and broken characters.

    Raises:
        BadInput: no such file, no plain file, no text, no JSON, or too deep.
    """
    content = read_file(path, MOST, "result")
    try:
        tree: Json = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=once
        )
        json.dumps(tree, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply for a result; {WRITTEN_BY}") from None
    except ValueError as error:
        raise BadInput(f"{path} is no JSON ({error}); {WRITTEN_BY}") from None
    return tree


def parse(tree: object, source: str = "the result") -> Result:
    """The result that a JSON object tells, which messages call `source`.

    Raises:
        BadInput: as `read`.
    """
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or schema is None:
        raise BadInput(f"{source} is no result of nelbo: it names no schema; {WRITTEN_BY}")
    if schema != SCHEMA:
        raise BadInput(f"{source} is of schema {schema}, a page is made of {SCHEMA}; {WRITTEN_BY}")
    try:
        return _parsed(tree)
    except KeyError as error:
        raise BadInput(f"{source} lacks {error} of {SCHEMA}; {WRITTEN_BY}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{source} does not keep to {SCHEMA}: {error}; {WRITTEN_BY}") from None


def _contradictions(result: Result) -> Iterator[str]:
    """What the result says against itself."""
    tree, value, key = result.tree, result.value, result.unit.key
    if result.images < 1 or result.images != tree["images"] or number_at(tree, "dims") < 1:
        yield "images and dims are whole numbers from 1"
    if not _same(value, sum(term.value for term in result.terms), *result.terms):
        yield f"its terms do not add up to {key}"
    nats = value * number_at(tree, "dims") * result.unit.nats
    if not _same(tree.get("nats_per_image", nats), nats):
        yield f"nats_per_image and {key} contradict each other"
    for name in ("ci95", "ci95_monte_carlo"):
        ends = ends_of(tree[name])
        if ends is not None and not _same(value, sum(ends) / 2, *ends):
            yield f"{name} is not round {key}"
    if any(half is not None and half < 0 for half in _halves(result)):
        yield "an error is negative"
    if result.data.get("images", result.images) != result.images:
        yield "images and data.images contradict each other"


def _halves(result: Result) -> Iterator[float | None]:
    yield from (result.half, result.half_monte_carlo)
    yield from (term.half for term in result.terms)
    yield from (step.se for step in result.steps)
    yield from (look.half for look in result.looks)


def _same(a: object, b: float, *sizes: "float | Term") -> bool:
    """Up to rounding, whose size is that of what was added up."""
    if not isinstance(a, int | float):
        return False
    others = [abs(x.value if isinstance(x, Term) else x) for x in sizes]
    return abs(a - b) <= SAME * max(1e-3, abs(a), abs(b), *others)


def _parsed(tree: Mapping[str, Json]) -> Result:
    unit = unit_of(tree)
    key, value = unit.key, number_at(tree, unit.key)
    for part in ("model", "data", "estimator", "environment"):
        object_at(tree, part)
    for part in ("model", "data", "estimator"):
        text_at(tree, part, "name")
    warnings = tree.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(x, str) and x for x in warnings):
        raise ValueError("warnings are no list of texts")
    images = whole_at(tree, "images")
    for name in ("dims", "network_evaluations", "seconds"):
        number_at(tree, name)
    steps = [
        Step(whole_at(s, "t"), number_at(s, key), known_at(s, "se"), known_of(s.get("log_snr")))
        for s in rows_at(tree, "per_step")
    ]
    return Result(
        tree=tree,
        unit=unit,
        value=value,
        half=half_of(tree["ci95"]),
        half_monte_carlo=half_of(tree["ci95_monte_carlo"]),
        terms=[
            _term(name, object_at(tree, "terms", name), key, images)
            for name in ("L_T", "L_mid", "L_0")
        ],
        steps=steps,
        has_log_snr=sum(step.log_snr is not None for step in steps) > 1,
        rate=[
            Point(whole_at(p, "t"), number_at(p, key), known_at(p, "rmse"))
            for p in rows_at(tree.get("rate_distortion") or ())
        ],
        looks=[
            Look(
                whole_at(look, "network_evaluations"),
                number_at(look, key),
                half_of(look["ci95_monte_carlo"]),
            )
            for look in rows_at(tree.get("looks", ()))
        ],
    )


def unit_of(tree: Mapping[str, Json]) -> Unit:
    """Bits, or the nats of the density that the tree names; ValueError where it names none.

    Of text, bits per byte or nats per token.
    """
    if tree[BITS.key] is not None:
        return BITS
    if "text" in object_at(tree, "data"):
        positions = whole_at(tree, "images") * whole_at(tree, "dims")
        unit = unit_of_text(object_at(tree, "data", "text"), positions)
        if unit.name != tree["unit"]:
            raise ValueError(f"unit {tree['unit']!r} is not that of its text, {unit.name}")
        return unit
    name, _, subject = str(tree["unit"]).partition(", density of ")
    if name != NATS.name or not subject:
        raise ValueError(f"unit {tree['unit']!r} is none")
    return replace(NATS, density_of=subject)


def _term(name: str, stated: Mapping[str, Json], key: str, images: int) -> Term:
    """Half of Student's interval over the images, as the command line has it."""
    se = known_at(stated, "se")
    from scipy.special import stdtrit

    half = None if se is None else float(stdtrit(images - 1, 0.975)) * se
    return Term(name, number_at(stated, key), half)


def ends_of(interval: Json) -> tuple[float, float] | None:
    """Its two numbers, None of null; ValueError where it is none."""
    if interval is None:
        return None
    low, high = map(number_of, list_at(interval))
    return low, high


def half_of(interval: Json) -> float | None:
    """Half of the width; ValueError where it is none."""
    ends = ends_of(interval)
    return None if ends is None else (ends[1] - ends[0]) / 2


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in JSON")

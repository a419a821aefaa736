"""An evaluation from its file, held against itself."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from nelbo.errors import BadInput
from nelbo.files import read as read_file
from nelbo.results.evaluation import SCHEMA, WRITTEN_BY, Evaluation, figures_digest
from nelbo.results.evaluation_parts import Term
from nelbo.results.saved import DIGEST as CONTENT
from nelbo.results.saved import intact
from nelbo.results.stored import ends_of, keeping_to
from nelbo.typed_json import Json, number_at, once

__all__ = ["checked", "read", "read_tree"]

DIGEST = "figures_sha256"
MOST = 2**28  # bytes
SAME = 1e-9  # relative, of one figure in another order of sums

Say = Callable[[str], None]


def read(path: str | Path, say: Say = lambda text: None) -> Evaluation:
    """The result in a file that `nelbo evaluate --json` wrote.

    say: called with what should be known of the file: an older nelbo wrote no digests.

    Raises:
        BadInput: no such file, no JSON, another schema, a part that is missing or of another kind,
            or figures that contradict each other.
    """
    return checked(read_tree(path), path, say)


def checked(tree: object, path: str | Path, say: Say) -> Evaluation:
    """As `read`, of what the file holds."""
    result = Evaluation.from_dict(tree, str(path))
    with keeping_to(SCHEMA, str(path), WRITTEN_BY):
        str(result)  # what it is measured by has to say all that is printed
        list(result.rate)
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


def read_tree(path: str | Path) -> Json:
    """What a JSON file of at most 256 MiB holds, without NaN, infinities and broken characters.

    Raises:
        BadInput: no such file, no plain file, no text, no JSON, or too deep.
    """
    content = read_file(path, MOST, "result")
    try:
        tree: Json = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=once
        )
        # half of a surrogate pair is no character, and 1e999 no number
        json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply for a result; {WRITTEN_BY}") from None
    except ValueError as error:
        raise BadInput(f"{path} is no JSON ({error}); {WRITTEN_BY}") from None
    return tree


def _contradictions(result: Evaluation) -> Iterator[str]:
    """What the result says against itself."""
    tree, value, key = result.tree, result.per_dim, result.unit.key
    if not _same(value, sum(term.value for term in result.figures), *result.figures):
        yield f"its terms do not add up to {key}"
    if not _same(value, number_at(tree, key)):
        yield f"nats_per_image and {key} contradict each other"
    for name in ("ci95", "ci95_monte_carlo"):
        ends = ends_of(tree[name])
        if ends is not None and not _same(value, sum(ends) / 2, *ends):
            yield f"{name} is not round {key}"
    if any(half is not None and half < 0 for half in _halves(result)):
        yield "an error is negative"
    if result.data.get("images", result.images) != result.images:
        yield "images and data.images contradict each other"


def _halves(result: Evaluation) -> Iterator[float | None]:
    yield from (result.half, result.half_monte_carlo)
    yield from (term.half for term in result.figures)
    yield from (step.se for step in result.per_step)
    yield from (look.mean.se for look in result.looks)


def _same(a: float, b: float, *sizes: "float | Term") -> bool:
    """Up to rounding, whose size is that of what was added up."""
    others = [abs(x.value if isinstance(x, Term) else x) for x in sizes]
    return abs(a - b) <= SAME * max(1e-3, abs(a), abs(b), *others)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in JSON")

"""A result of any kind from its file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from nelbo.errors import BadInput
from nelbo.results import (
    classification,
    comparison,
    comparisons,
    compression,
    evaluation,
    order_bounds,
    plan,
)
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.evaluation import Evaluation
from nelbo.results.neighbours import parse_neighbours
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.plan import PlanEntry, PlanResults, status_of
from nelbo.results.read_compression import parse_compression
from nelbo.results.read_ode import ODE, OdeRead, parse_ode
from nelbo.results.read_ranking import IMAGE_RANKING, RankedImages, parse_image_ranking
from nelbo.results.reading import checked, read_tree
from nelbo.results.saved import DIGEST, require_intact
from nelbo.results.stored import Other, keeping_to
from nelbo.typed_json import Json, object_at, rows_at, text_at

__all__ = ["AnyResult", "as_read", "load"]

AnyResult: TypeAlias = (
    Evaluation
    | Comparison
    | Comparisons
    | OdeRead
    | OrderBounds
    | Classification
    | RankedImages
    | PlanResults
    | Compression
    | Other
)
OTHERS = ("ranking", "improvement", "check", "derivation", "inspection")
WRITTEN_BY = "nelbo evaluate --plan FILE.toml --json FILE writes one"


def load(path: str | Path, say: Callable[[str], None] = lambda text: None) -> AnyResult:
    """The result in a file that `--json` or `save` wrote, whatever kind it is of.

    An evaluation is an `Evaluation`, but for its table of images, which is a file of its own; a
    comparison is a `Comparison`, several are `Comparisons`; a likelihood by the ODE is an
    `OdeRead`, both sides of any order `OrderBounds`, a classification is one, images in their
    order `RankedImages`, a plan `PlanResults`, the bill of a compression a `Compression`; others
    are kept as they are, in `tree`. Saved again, each is the same object.

    say: called with what should be known of the file.

    Raises:
        BadInput: no such file, no JSON, no schema of nelbo, a part that is missing, of another
            kind or contradicts another, or anything else than what was written.
    """
    tree = read_tree(path)
    if not isinstance(tree, Mapping) or tree.get("schema") in (None, evaluation.SCHEMA):
        return checked(tree, path, say)
    result = as_read(tree, str(path))
    with keeping_to(str(tree["schema"]), str(path), "make it again"):
        str(result)  # what it is measured by has to say all that is printed
    require_intact(tree, path)
    if DIGEST not in tree:
        say(f"{path}: the result is of an older nelbo and has no digest of what it holds")
    return result


def as_read(tree: Mapping[str, Json], source: str) -> AnyResult:
    """The result that a JSON object of another schema than an evaluation's tells.

    Raises:
        BadInput: as `load`.
    """
    reader = READERS.get(str(tree["schema"]))
    if reader is None:
        known = ", ".join([evaluation.SCHEMA, *READERS])
        raise BadInput(f"{source} is of schema {tree['schema']}; this version reads {known}")
    return reader(tree, source)


def _plan(tree: Mapping[str, Json], source: str) -> PlanResults:
    with keeping_to(plan.SCHEMA, source, WRITTEN_BY):
        entries = [_entry(row, source) for row in rows_at(tree, "entries")]
        units = {(e.model, e.data): e.result.unit for e in entries if e.result is not None}
        links = [
            parse_neighbours(link, units[text_at(link, "a"), text_at(link, "data")])
            for link in rows_at(tree.get("neighbours", ()))
        ]
        settings, command = object_at(tree, "settings"), text_at(tree, "command")
        return PlanResults(entries, settings, command, links)


def _entry(row: Mapping[str, Json], source: str) -> PlanEntry:
    """One pair of a plan; ValueError where it is neither a result nor an error."""
    known = row["result"]
    result = None if known is None else checked(known, source, lambda text: None)
    status = status_of(row["status"])
    if (status == "failed") != (result is None):
        raise ValueError(f"status {status} contradicts its result")
    return PlanEntry(
        text_at(row, "model"),
        text_at(row, "data"),
        status,
        Path(text_at(row, "file")),
        result,
        text_at(row, "error") if result is None else None,
    )


def _other(tree: Mapping[str, Json], source: str) -> Other:
    return Other(tree)


READERS: Mapping[str, Callable[[Mapping[str, Json], str], AnyResult]] = {
    comparison.SCHEMA: Comparison.from_dict,
    comparisons.SCHEMA: Comparisons.from_dict,
    ODE: parse_ode,
    order_bounds.SCHEMA: OrderBounds.from_dict,
    classification.SCHEMA: Classification.from_dict,
    IMAGE_RANKING: parse_image_ranking,
    plan.SCHEMA: _plan,
    compression.SCHEMA: parse_compression,
    **{f"nelbo.{name}/1": _other for name in OTHERS},
}

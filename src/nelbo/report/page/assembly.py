"""A result as one self-contained HTML page."""

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.report.derivation_page import typeset
from nelbo.report.evaluation_plots import plots_of
from nelbo.report.page import figures
from nelbo.report.page.checks import checks
from nelbo.report.page.headline import data_name, parts, plus_minus, sentence
from nelbo.report.page.pictures import Pictures
from nelbo.report.page.provenance import settings
from nelbo.report.page.training import training
from nelbo.results.evaluation import Evaluation
from nelbo.results.saved import DIGEST, Saved
from nelbo.typed_json import Json, number_of

__all__ = ["Reported", "environment", "page", "stated"]

MOST_IMAGES = 10_000  # whose table is in a page, at some 90 bytes each


@final
@dataclass(frozen=True)
class Reported:
    """What a page is made of; what is not there is reported as missing.

    images: the columns of the per-image table; log: the training log's entries; table: rows of
    (what, bits/dim), the first one the heading; why_not: by section, why it is not there.
    """

    result: Evaluation
    images: Mapping[str, Tensor] | None = None
    log: Sequence[Mapping[str, Json]] = ()
    pictures: Pictures = field(default_factory=Pictures)
    recipe: Mapping[str, Json] | None = None
    table: Sequence[Sequence[str]] = ()
    why_not: Mapping[str, str] = field(default_factory=dict)


def environment() -> Environment:
    """The templates: everything is escaped, a name that is not there is an error."""
    result = Environment(
        loader=PackageLoader("nelbo.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters["typeset"] = lambda text: Markup(typeset(text))  # escapes it first
    return result


def attached(tree: Mapping[str, Json]) -> dict[str, str]:
    """The whole result as a page carries it: for its scripts, and packed for a reader to save."""
    whole = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(whole.encode(), mtime=0)).decode()
    return {
        "json": whole.replace("<", "\\u003c"),
        "packed": f"data:application/gzip;base64,{packed}",
    }


@contextmanager
def stated(result: Saved) -> Iterator[None]:
    """Makes one line of what a result lacks that a page shows, where nothing vouches for the file.

    Raises:
        BadInput: it lacks a part, or has one of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, UndefinedError) as error:
        if DIGEST in result.to_dict():
            raise
        raise BadInput(
            f"the result has no digest, and lacks what its page shows ({error}): it is of an older "
            "nelbo or was edited; measure again"
        ) from None


def page(reported: Reported) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself.

    Raises:
        BadInput: as `stated`.
    """
    with stated(reported.result):
        return _page(reported)


def _page(reported: Reported) -> str:
    result = reported.result
    plots = plots_of(result, reported.images)
    unit = plots.unit
    long = reported.images is not None and len(reported.images["id"]) > MOST_IMAGES
    return (
        environment()
        .get_template("report.html")
        .render(
            result=result,
            headline=f"{result.per_dim:.4f}",
            plus_minus=plus_minus,
            data_name=data_name(result),
            sentence=sentence(result),
            parts=parts(result),
            checks=checks(result),
            table=reported.table or _baselines(result),
            bits=figures.bits(plots),
            rate=figures.rate(plots.rate, unit) if plots.rate else None,
            distortion=figures.distortion(plots.rate_distortion, unit)
            if plots.rate_distortion
            else None,
            histogram=figures.histogram(plots.per_image_histogram, unit)
            if plots.per_image_histogram
            else None,
            running=figures.running(plots.running_estimate, unit)
            if plots.running_estimate
            else None,
            training=training(reported.log),
            pictures=reported.pictures,
            why_not=defaultdict(lambda: "It was not given.", reported.why_not),
            settings=settings(result, reported.recipe),
            csv=None if long or reported.images is None else _csv(reported.images),
            long=long,
            **attached(result.tree),
        )
    )


def _baselines(result: Evaluation) -> list[tuple[str, str]]:
    """What the same images cost by no model and by this one, the most first; none if not known."""
    baselines = result.tree.get("baselines")
    if not isinstance(baselines, Mapping):
        return []
    values = {str(name): number_of(bits) for name, bits in baselines.items()}
    values[str(result.model["name"])] = result.per_dim
    ordered = sorted(values.items(), key=lambda row: -row[1])
    return [("code", result.unit.name), *((name, f"{bits:.4f}") for name, bits in ordered)]


def _csv(columns: Mapping[str, Tensor]) -> str:
    """A link to what `nelbo evaluate --per-image` writes."""
    text = StringIO()
    print(",".join(columns), file=text)
    lists = [column.tolist() for column in columns.values()]
    for row in zip(*lists, strict=True):
        print(",".join("" if x != x else repr(x) for x in row), file=text)
    return f"data:text/csv,{quote(text.getvalue(), ',')}"

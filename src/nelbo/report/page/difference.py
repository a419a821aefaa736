"""What `nelbo compare` measured, as one self-contained HTML page: which is better, how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from nelbo.report.page.assembly import attached, environment, stated
from nelbo.report.page.provenance import rows
from nelbo.results.comparison import Bound, Comparison
from nelbo.results.rounding import plain_number, with_half
from nelbo.typed_json import Json, list_at

__all__ = ["difference_page"]

ABSENT = "—"
ELSEWHERE = ("sources", "options", "name")  # shown by the rows themselves, or in the heading


@final
@dataclass(frozen=True)
class Interval:
    """A line of the picture: its name and numbers, where it begins, its width, its middle, in %."""

    name: str
    says: str
    value: str
    strip: tuple[float, float, float]


def difference_page(compared: Comparison) -> str:
    """The page; equal inputs give equal bytes. It refers to nothing outside itself.

    Raises:
        BadInput: as `nelbo.report.page.assembly.stated`.
    """
    with stated(compared):
        return _page(compared)


def _page(compared: Comparison) -> str:
    tree, (a, b) = compared.tree, compared.bounds
    of_difference, zero = _intervals(compared)
    differing, alike = _settings(a.model, b.model)
    return (
        environment()
        .get_template("difference.html")
        .render(
            unit=compared.unit,
            verdict=compared.verdict_of(a.name, b.name).text,
            headline=plain_number(abs(compared.per_dim), compared.half or 0.0),
            a=a,
            b=b,
            data_name=_data_name(compared.data),
            images=f"{compared.images:,}",
            evaluations=f"{compared.network_evaluations:,}",
            paired=[str(what) for what in list_at(compared.estimator.get("paired", ()))],
            saved=_saved(tree.get("variance_saved")),
            warnings=compared.warnings,
            intervals=of_difference,
            zero=zero,
            bounds=_bounds((a, b)),
            differing=differing,
            alike=alike,
            command=compared.command,
            **attached(tree),
        )
    )


def _data_name(data: Mapping[str, Json]) -> str:
    split = data.get("split")
    return f"{data['name']}:{split}" if split else str(data["name"])


def _saved(share: object) -> str | None:
    """How many times as much work two separate measurements would have been."""
    if not isinstance(share, int | float) or not 0 < share < 1:
        return None
    return f"{1 / (1 - share):,.0f}"


def _intervals(compared: Comparison) -> tuple[list[Interval], float]:
    """(both intervals of the difference on one scale with 0 in it, where 0 is)."""
    value, examples = compared.per_dim, compared.unit.examples
    halves = (
        (f"new {examples} of this kind", f"sampling of {examples}", compared.half),
        ("this test set", "Monte Carlo", compared.half_monte_carlo),
    )
    scale = _scale([value, 0.0], [half for _, _, half in halves])
    lines = [
        Interval(
            name,
            says,
            with_half(value, half, "+"),
            _strip(value, half, *scale),
        )
        for name, says, half in halves
    ]
    return lines, _strip(0.0, None, *scale)[2]


def _bounds(bounds: Sequence[Bound]) -> list[Interval]:
    scale = _scale([bound.value for bound in bounds], [bound.half for bound in bounds])
    return [
        Interval(
            bound.name,
            letter,
            with_half(bound.value, bound.half),
            _strip(bound.value, bound.half, *scale),
        )
        for letter, bound in zip("AB", bounds, strict=True)
    ]


def _scale(values: Sequence[float], halves: Sequence[float | None]) -> tuple[float, float]:
    """From the lowest end of value ± the widest half to the highest."""
    wide = max(half or 0.0 for half in halves)
    return min(values) - wide, max(values) + wide


def _strip(value: float, half: float | None, low: float, high: float) -> tuple[float, float, float]:
    percent, wide = 100 / ((high - low) or 1.0), half or 0.0
    return percent * (value - wide - low), percent * 2 * wide, percent * (value - low)


def _settings(
    a: Mapping[str, Json], b: Mapping[str, Json]
) -> tuple[list[tuple[str, str, str]], int]:
    """((setting, of A, of B) of what differs, how many do not)."""
    settings = [
        {
            name: text
            for name, text, _ in rows({k: v for k, v in model.items() if k not in ELSEWHERE}, "")
        }
        for model in (a, b)
    ]
    names = dict.fromkeys([*settings[0], *settings[1]])
    pairs = [(name, settings[0].get(name, ABSENT), settings[1].get(name, ABSENT)) for name in names]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    return differing, len(pairs) - len(differing)

"""Curves of any kind of result: bounds, differences, sides, a bill, solver steps, ranks."""

from collections.abc import Sequence

import numpy as np

from nelbo.report.ranking_plots import Curve, Curves
from nelbo.results.classification import Classification
from nelbo.results.comparison import Comparison
from nelbo.results.comparisons import Comparisons
from nelbo.results.compression import Compression
from nelbo.results.order_bounds import OrderBounds
from nelbo.results.ranking import Entry
from nelbo.results.read_ode import OdeRead
from nelbo.results.read_ranking import RankedImages
from nelbo.typed_json import number_at

__all__ = ["bill", "bounds", "calibration", "differences", "ranks", "sides", "solver_steps"]

INTERVALS = ["sampling of images", "Monte Carlo"]


def bounds(entries: Sequence[Entry]) -> tuple[Curves, list[str]]:
    """(the bound of each with both intervals, the names of the intervals)."""
    results = [entry.result for entry in entries]
    halves = [[r.half for r in results], [r.half_monte_carlo for r in results]]
    values = [result.per_dim for result in results]
    places = [entry.name for entry in entries]
    return _intervals("The bounds", results[0].unit.name, places, values, halves), INTERVALS


def differences(result: Comparison | Comparisons) -> tuple[Curves, list[str]]:
    """(each model minus the first, of two A minus B, with both intervals; the intervals' names)."""
    if isinstance(result, Comparison):
        a, b = result.bounds
        first, named = b.name, [(a.name, result)]
    else:
        first, named = result.names[0], list(zip(result.names[1:], result.comparisons, strict=True))
    pairs = [pair for _, pair in named]
    curves = _intervals(
        "Differences of bounds",
        f"minus {first}, {result.unit.name}",
        [name for name, _ in named],
        [pair.per_dim for pair in pairs],
        [[pair.half for pair in pairs], [pair.half_monte_carlo for pair in pairs]],
        zero=True,
    )
    return curves, INTERVALS


def sides(result: OrderBounds) -> tuple[Curves, list[str]]:
    """(the bound of single orders and what bounds -log p from both sides, the intervals' names)."""
    figures = dict(zip(("one order", "from above", "from below"), result.sides, strict=True))
    known = {name: own for name, own in figures.items() if own is not None}
    curves = _intervals(
        "Both sides",
        result.unit.name,
        list(known),
        [own.value for own in known.values()],
        [
            [own.half for own in known.values()],
            [own.half_monte_carlo for own in known.values()],
        ],
    )
    return curves, INTERVALS


def _intervals(
    title: str,
    y: str,
    places: Sequence[str],
    values: Sequence[float],
    halves: Sequence[Sequence[float | None]],
    *,
    zero: bool = False,
) -> Curves:
    """A line for each place; halves: of each kind of interval, NaN where it is not known."""
    curves = [
        Curve(
            number,
            np.arange(len(values), dtype=np.float64),
            np.array(values, np.float64),
            np.array([np.nan if half is None else half for half in own], np.float64),
            places,
        )
        for number, own in enumerate(halves)
    ]
    return Curves(title, "", "", y, curves, (), places=places, zero=zero)


def bill(result: Compression) -> tuple[Curves, list[str]]:
    """(bits/dim by each way to count, as bars; the name of what is counted)."""
    counted = {what: bits / result.images / result.dims for _, what, bits in result.rows()}
    values = np.array(list(counted.values()), np.float64)
    places = list(counted)
    curve = Curve(0, np.arange(len(values), dtype=np.float64), values, None, places)
    laid = Curves(
        title="What the images cost",
        meaning="",
        x="",
        y="bits/dim",
        curves=[curve],
        absent=(),
        places=places,
        filled=True,
    )
    return laid, ["bits/dim"]


def solver_steps(result: OdeRead) -> tuple[Curves, list[str]] | None:
    """(how far few steps of the solver are off, the names of the curves); None of fewer than two.

    Beside it the bound minus the ODE, paired image by image, which is what such an error is to be
    held against.
    """
    if len(result.by_steps) < 2:
        return None
    steps = np.array([count for count, _ in result.by_steps], np.float64)
    values = np.array([value for _, value in result.by_steps], np.float64)
    most = int(steps[-1])
    labels = [str(int(count)) for count in steps]
    difference = result.difference
    half = difference.half_monte_carlo
    curves = [
        Curve(0, steps, values - values[-1], None, labels),
        Curve(
            1,
            steps,
            np.full(len(steps), -difference.value),
            None if half is None else np.full(len(steps), half),
            labels,
        ),
    ]
    laid = Curves(
        title="Steps of the solver",
        meaning=f"How far the figure by few steps is from that by {most}, on the images where "
        "these were compared, beside how far the bound is from the ODE. Where the first is as "
        "large as the second, an ODE of so few steps says nothing about the bound.",
        x="steps of the solver",
        y=f"{result.unit.name}, difference",
        curves=curves,
        absent=(),
        notes=[
            f"Line: the figure minus that by {most} steps. Dashed: the bound minus the ODE, with "
            "its 95 % Monte Carlo interval."
        ],
    )
    return laid, [f"minus by {most} steps", "the bound minus the ODE"]


def calibration(result: Classification) -> tuple[Curves, list[str]] | None:
    """(the share that is right against the mean confidence, names); None without labels."""
    if not result.reliability:
        return None
    x = np.array([bin.confidence for bin in result.reliability], np.float64)
    y = np.array([bin.accuracy for bin in result.reliability], np.float64)
    labels = [f"{bin.low:.1f} to {bin.high:.1f}" for bin in result.reliability]
    ends = np.array([0.0, 1.0])
    laid = Curves(
        title="Confidence and accuracy",
        meaning="A posterior is calibrated where the share of images that are right is its "
        "confidence: on the dashed line. Below it the model is too sure.",
        x="confidence, mean of a range",
        y="share that is right",
        curves=[Curve(0, x, y, None, labels), Curve(1, ends, ends, None, ["", ""])],
        absent=(),
    )
    return laid, ["this model", "calibrated"]


def ranks(result: RankedImages) -> tuple[Curves, list[str]]:
    """(the bound of each image by its rank, with its interval; the name)."""
    key = result.unit.key
    values = np.array([number_at(row, key) for row in result.rows], np.float64)
    low, high = (
        np.array([number_at(row, end) for row in result.rows], np.float64)
        for end in ("low", "high")
    )
    rank = np.arange(1, len(values) + 1, dtype=np.float64)
    laid = Curves(
        title="The images in their order",
        meaning="The bound of each image, from the easiest to the hardest, with its 95 % Monte "
        "Carlo interval. Where the bands of neighbours overlap, their order is not known.",
        x="rank",
        y=f"{result.unit.name} of an image",
        curves=[Curve(0, rank, values, (high - low) / 2, [str(row["id"]) for row in result.rows])],
        absent=(),
    )
    return laid, ["bound"]

"""Several results in one picture: bits per step, how fast, and how two differ by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nelbo.errors import printable
from nelbo.report.evaluation_plots import plots_of
from nelbo.report.plots import (
    BLUE,
    BROWN,
    DECADES,
    GREEN,
    INK,
    NORMAL,
    ORANGE,
    PURPLE,
    histogram_edges,
    house_style,
    plain_figure,
    power,
    whole_ticks,
)
from nelbo.report.plotted import Values
from nelbo.results.ranking import Difference, Entry, Ranking
from nelbo.typed_json import whole_at

__all__ = [
    "MARKS",
    "Curve",
    "Curves",
    "Mark",
    "bits",
    "distortion",
    "draw",
    "lay",
    "paired",
    "plain",
    "rate",
    "read_out",
]

APART = 0.24  # of the distance of two places
LENGTHS = (
    "The chains differ in length, so each term is taken T times, for heights to compare: the mean "
    "of a curve over t/T is the sum of its steps."
)


@final
@dataclass(frozen=True)
class Mark:
    """What is one model's in every picture: a colour, a shape and a dash, each enough alone."""

    colour: str
    shape: str
    dash: tuple[int, tuple[int, ...]]


MARKS = [
    Mark(colour, shape, (0, dash))
    for colour, shape, dash in (
        (BLUE, "o", ()),
        (ORANGE, "s", (6, 2)),
        (GREEN, "^", (2, 2)),
        (PURPLE, "D", (6, 2, 1, 2)),
        (BROWN, "v", (10, 3)),
        (INK, "P", (1, 2)),
    )
]
"""In the order of the ranking; a seventh model begins again."""


@final
@dataclass(frozen=True)
class Curve:
    """One model's: places, values, half of each 95 % interval where there is one, and what t."""

    entry: int
    x: Values
    y: Values
    half: Values | None
    t: Sequence[str]


@final
@dataclass(frozen=True)
class Curves:
    """Curves of several models over one axis; absent names those that have none.

    places: names of x = 0, 1, ...: these are listed down the axis, the first at the top, and values
    lie across; filled: as bars from 0. zero: 0 is marked.
    """

    title: str
    meaning: str
    x: str
    y: str
    curves: Sequence[Curve]
    absent: Sequence[str]
    log_x: bool = False
    log_y: bool = False
    notes: Sequence[str] = ()
    places: Sequence[str] = ()
    filled: bool = False
    zero: bool = False


def bits(ranking: Ranking, over: Literal["t", "log t"]) -> Curves:
    """The later terms over t; over t/T, and each T times, where chains differ in length.

    So heights compare whatever the number of steps. L_0 is another kind of term, and not here.
    """
    one = _one_length(ranking.entries)
    curves, absent = [], []
    for number, entry in enumerate(ranking.entries):
        steps = plots_of(entry.result).bits_per_step
        points = None if steps is None else steps.grouped(over)
        later = () if points is None else points.first > 1
        if points is None or not np.any(later):
            absent.append(entry.name)
            continue
        scale = 1 if one else _length(entry)
        labels = [
            f"{a}" if a == b else f"{a}–{b}"
            for a, b in zip(points.first[later], points.last[later], strict=True)
        ]
        curves.append(
            Curve(
                number,
                points.x[later] / scale,
                points.bits[later] * scale,
                NORMAL * points.se[later] * scale,
                labels,
            )
        )
    unit = ranking.unit.name
    return Curves(
        title="The term of each step",
        meaning="What the steps of each chain add to its bound. "
        + ("The lower curve is the better one there." if one else LENGTHS),
        x="t" if one else "t/T",
        y=f"{unit} per step" if one else f"T × {unit} per step",
        curves=curves,
        absent=absent,
        log_x=over == "log t",
        log_y=any((curve.y > 0).any() for curve in curves),
        notes=["Bands: 95 %, for each model alone. L₀ is not here, it is among the terms."],
    )


def rate(ranking: Ranking) -> Curves:
    """The bits before x_t is known, over t or t/T."""
    one = _one_length(ranking.entries)
    curves, absent = [], []
    for number, entry in enumerate(ranking.entries):
        points = entry.result.rate
        if not points:
            absent.append(entry.name)
            continue
        L_T, L_mid, _ = entry.result.figures  # all bits before x_1 is known
        knots = [(1, L_T.value + L_mid.value), *((point.t, point.rate) for point in points)]
        t, cumulative = np.array(knots, np.float64).T
        labels = [str(time) for time, _ in knots]
        curves.append(Curve(number, t / (1 if one else _length(entry)), cumulative, None, labels))
    return Curves(
        title="Cumulative rate when x_t is known",
        meaning="Each chain starts at the right, where nothing is known of an image; at the left "
        "it holds the whole bound but for L₀.",
        x="t" if one else "t/T",
        y=f"rate: {ranking.unit.name} so far",
        curves=curves,
        absent=absent,
        notes=["Read from right to left, as the chains are run back."],
    )


def distortion(ranking: Ranking) -> Curves:
    """How far off the best guess is at this rate; the one picture free of t."""
    curves, absent = [], []
    for number, entry in enumerate(ranking.entries):
        points = entry.result.rate
        errors = [point.rmse for point in points if point.rmse is not None]
        if not points or len(errors) < len(points):
            absent.append(entry.name)
            continue
        cumulative = np.array([point.rate for point in points], np.float64)
        labels = [str(point.t) for point in points]
        curves.append(Curve(number, cumulative, np.array(errors, np.float64), None, labels))
    levels = ranking.best.result.levels
    return Curves(
        title="Rate and distortion",
        meaning="How far off the best guess of an image is at this rate. The lower "
        "curve would be the better lossy coder; chains of any length compare here.",
        x=f"rate: {ranking.unit.name} so far",
        y="RMSE" if levels is None else f"RMSE, levels of 0..{levels - 1}",
        curves=curves,
        absent=absent,
    )


@house_style()
def draw(curves: Curves, names: Sequence[str]) -> Figure:
    """The curves, each with its mark at about a dozen of its points."""
    figure, axes = plain_figure(curves.title, curves.x, curves.y)
    lay(axes, curves)
    figure.supxlabel(" ".join(curves.notes))  # which a page shows as text
    figure.set_label(read_out(curves, names))
    return figure


def lay(axes: Axes, curves: Curves, names: Sequence[str] = ()) -> None:
    """Draws the curves on the axes; names, by entry, for a legend."""
    if curves.places:
        _lay_across(axes, curves, names)
        return
    if curves.log_x:
        axes.set_xscale("log")
        axes.xaxis.set(major_formatter="{x:g}", minor_formatter="")
    elif curves.x == "t":
        axes.xaxis.set_major_locator(whole_ticks())
    floor = -np.inf
    if curves.log_y:
        floor = _log_axis(axes, curves.curves)
    for curve in curves.curves:
        mark = MARKS[curve.entry % len(MARKS)]
        if curve.half is not None:
            low = np.maximum(curve.y - curve.half, floor)
            high, known = curve.y + curve.half, ~np.isnan(curve.half)
            axes.fill_between(curve.x, low, high, where=known, color=mark.colour, alpha=0.2, lw=0)
        axes.plot(
            curve.x,
            curve.y,
            color=mark.colour,
            ls=mark.dash,
            marker=mark.shape,
            markevery=max(1, len(curve.x) // 12),
            label=names[curve.entry] if names else None,
        )


def _lay_across(axes: Axes, curves: Curves, names: Sequence[str]) -> None:
    """A line of the axis for each place; those of several curves stand closely below each other."""
    count = len(curves.curves)
    axes.set_yticks(range(len(curves.places)), [plain(place) for place in curves.places])
    axes.set_ylim(len(curves.places) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    if curves.zero:
        axes.axvline(0, color=INK, lw=0.8)
    for number, curve in enumerate(curves.curves):
        mark = MARKS[curve.entry % len(MARKS)]
        label = names[curve.entry] if names else None
        down = curve.x + APART * (number - (count - 1) / 2)
        if curves.filled:
            axes.bar_label(axes.barh(down, curve.y, 0.6, color=mark.colour), fmt=" {:.3f}")
            axes.margins(x=0.2)
            continue
        axes.errorbar(
            curve.y, down, xerr=curve.half, color=mark.colour, fmt=mark.shape, lw=1.1, label=label
        )


def plain(name: str) -> str:
    """The name as matplotlib draws it: a dollar is no formula, what is not visible is \\x1b."""
    return printable(name).replace("$", r"\$")


def _log_axis(axes: Axes, curves: Sequence[Curve]) -> float:
    """Sets it to what is worth seeing; where it begins."""
    values = np.concatenate([curve.y for curve in curves])
    floor = max(values[values > 0].min() / 3, values.max() / DECADES)
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set(major_formatter=power, minor_formatter="")
    axes.set_ylim(floor, values.max() * 3)
    return float(floor)


def read_out(curves: Curves, names: Sequence[str]) -> str:
    """What the picture says to who cannot see it."""
    if curves.places:
        texts = [
            f"{curves.places[int(x)]} {y:.4g}"
            for curve in curves.curves[:1]
            for x, y in zip(curve.x, curve.y, strict=True)
        ]
        return f"{curves.title}, {curves.y}: {'; '.join(texts)}."
    texts = [
        f"{names[curve.entry]} from {curve.y[0]:.3g} at {curve.x[0]:.3g} to {curve.y[-1]:.3g} "
        f"at {curve.x[-1]:.3g}"
        for curve in curves.curves
    ]
    return f"{curves.title}, {curves.y} over {curves.x}: {'; '.join(texts)}."


@house_style()
def paired(difference: Difference, unit: str) -> Figure:
    """How many images have which difference, with 0 and the mean in it."""
    assert difference.values is not None
    values = difference.values.numpy()
    title = f"{difference.a} minus {difference.b}, image by image"
    figure, axes = plain_figure(title, f"difference, {unit} of an image", "images")
    axes.hist(values, histogram_edges(values).tolist(), color=BLUE, ec="white", lw=0.5)
    axes.axvline(0, color=INK, lw=1.2)
    axes.axvline(difference.mean.mean, color=ORANGE, lw=1.5, ls="--")
    better = int((values < 0).sum())
    figure.set_label(
        f"Histogram of the differences of {len(values)} images between {difference.a} and "
        f"{difference.b}: {difference.a} is lower for {better} of them, by "
        f"{-difference.mean.mean:.3g} {unit} in the mean."
    )
    return figure


def _one_length(entries: Sequence[Entry]) -> bool:
    return len({_length(entry) for entry in entries}) == 1


def _length(entry: Entry) -> int:
    """Of the chain; of one in continuous time, that of the grid that it was evaluated on."""
    model = entry.result.model
    return (
        whole_at(model, "steps")
        if model.get("steps")
        else max((step.t for step in entry.result.per_step), default=1)
    )

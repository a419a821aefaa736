"""Results as a figure of a paper: one picture of one or several, at the width that it will have.

No title is drawn, since a paper has captions; letters are 8 points high and are embedded.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.report import ranking_plots
from nelbo.report.kind_curves import bounds
from nelbo.report.plots import INK, ORANGE, STYLE, file_of, histogram_edges, whole_ticks
from nelbo.report.ranking_plots import MARKS, Curve, Curves, plain
from nelbo.results.ranking import Entry, Ranking, difference
from nelbo.typed_json import Json, known_at, number_at

__all__ = ["COLUMN", "FIGURES", "Log", "draw", "figure", "file", "inches", "of_curves", "training"]

OF_RESULTS = ("steps", "rate", "distortion", "histogram", "difference", "bounds")
FIGURES = (*OF_RESULTS, "training", "solver", "calibration", "ranks", "bill")
"""What `nelbo report --figure` takes; the last are of other results, `training` is of logs."""

Log: TypeAlias = Sequence[Mapping[str, Json]]
COLUMN = 3.35  # inches: a column of most two-column papers
HEIGHT = 0.68  # of the width
LINE, AROUND = 0.3, 0.75  # inches: of each place that is listed, and of the axis and its legend
DPI = 300  # of a png
NARROWEST, WIDEST = 1.0, 40.0  # inches
INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4}
PAPER: dict[str, object] = {
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "pdf.fonttype": 42,  # TrueType, which journals take; 3 is refused by many
    "svg.fonttype": "path",
    "text.parse_math": True,  # since names are escaped, as on axes of the user's own
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Ours on top of matplotlib's own, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE, PAPER]):
        yield


def inches(width: str) -> float:
    """A width with its unit, such as 8.5cm, 85mm or 3.35in, in inches.

    Raises:
        BadInput: no number with a unit, or less than 1 or more than 40 inches.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(in|cm|mm)\s*", width)
    if match is None:
        raise BadInput(f"a width is a number with in, cm or mm, as in 8.5cm; got {width}")
    wide = float(match[1]) * INCHES[match[2]]
    if not NARROWEST <= wide <= WIDEST:
        raise BadInput(f"a figure is 1 to 40 inches wide, 2.54 to 101.6 cm; got {width}")
    return wide


@paper_style()
def figure(kind: str, entries: Sequence[Entry], width: float = COLUMN) -> Figure:
    """The figure, `width` inches wide; its label is its alternative text.

    Raises:
        BadInput: as `draw`.
    """
    made, axes = _empty(width, len(entries) if kind == "bounds" else 0)
    made.set_label(draw(axes, kind, entries))
    return made


@paper_style()
def of_curves(curves: Curves, names: Sequence[str], width: float = COLUMN) -> Figure:
    """The figure of curves, `width` inches wide; names: of them, by entry."""
    made, axes = _empty(width, len(curves.places))
    made.set_label(_lay(axes, curves, names))
    return made


def training(logs: Mapping[str, Log], width: float = COLUMN) -> Figure:
    """The held-out bound over steps where each of the logs has one, else the smoothed loss.

    logs: by the name of the run.

    Raises:
        BadInput: a log without either, or logs in different units.
    """
    return of_curves(_trained(logs), list(logs), width)


@paper_style()
def file(figure: Figure, suffix: str) -> bytes:
    """The bytes of a .pdf, .svg or .png; equal figures give equal bytes."""
    return file_of(figure, suffix.removeprefix("."), DPI)


def draw(axes: Axes, kind: str, entries: Sequence[Entry]) -> str:
    """Draws the results on the axes in the style that is in force; what it says, as a text.

    steps: the later terms over t, over t/T and T times each where chains differ in length. rate:
    what is known of an image before x_t, over t. distortion: the error of x0-hat against the rate.
    histogram: the bound of each image. difference: that of two, image by image. bounds: of each,
    with both intervals.

    Raises:
        BadInput: no such figure, a result without what it shows, or results in different units.
    """
    if kind not in OF_RESULTS:
        raise BadInput(f"a figure is one of {', '.join(OF_RESULTS)}; got {kind}")
    units = dict.fromkeys(str(entry.result.unit) for entry in entries)
    if len(units) > 1:
        raise BadInput(f"results in {' and in '.join(units)} fit on no one axis: draw two figures")
    _grid(axes)
    if kind == "histogram":
        return _histogram(axes, entries)
    if kind == "difference":
        return _difference(axes, entries)
    if kind == "bounds":
        return _lay(axes, *bounds(entries))
    together = Ranking(entries, [], [])
    curves = {
        "steps": lambda: ranking_plots.bits(together, "t"),
        "rate": lambda: ranking_plots.rate(together),
        "distortion": lambda: ranking_plots.distortion(together),
    }[kind]()
    if curves.absent:
        raise BadInput(
            f"{' and '.join(curves.absent)}: the result holds nothing to draw as {kind}; "
            "nelbo evaluate --json FILE writes what there is"
        )
    return _lay(axes, curves, [entry.name for entry in entries])


def _empty(width: float, places: int = 0) -> tuple[Figure, Axes]:
    """places: how many are listed, which decides the height."""
    made = Figure(figsize=(width, AROUND + LINE * places if places else HEIGHT * width))
    axes = made.subplots()
    _grid(axes)
    return made, axes


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.25, lw=0.4)
    axes.set_axisbelow(True)


def _lay(axes: Axes, curves: Curves, names: Sequence[str]) -> str:
    across = {"xlabel": curves.y} if curves.places else {"xlabel": curves.x, "ylabel": curves.y}
    axes.set(**across)
    several = len(names) > 1
    ranking_plots.lay(axes, curves, [plain(name) for name in names] if several else ())
    if several and curves.places:  # above, since intervals may lie anywhere
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    elif several:
        axes.legend()
    return ranking_plots.read_out(curves, names)


def _histogram(axes: Axes, entries: Sequence[Entry]) -> str:
    """How many images have how much, one outline a result, and a line at each mean."""
    unit = entries[0].result.unit
    values = [_of_images(entry)[unit.key].numpy() for entry in entries]
    bar = min(float(np.diff(histogram_edges(own)[:2])[0]) for own in values)
    ranges = []
    for number, (entry, own) in enumerate(zip(entries, values, strict=True)):
        mark = MARKS[number % len(MARKS)]
        label = plain(entry.name) if len(entries) > 1 else None
        edges = own.min() + bar * np.arange(int(np.ptp(own) / bar) + 2)
        axes.stairs(np.histogram(own, edges)[0], edges, color=mark.colour, ls=mark.dash, lw=1.1)
        axes.axvline(entry.result.per_dim, color=mark.colour, ls=mark.dash, lw=0.8, label=label)
        ranges.append(f"{entry.name} {own.min():.3g} to {own.max():.3g}, mean {own.mean():.4f}")
    axes.set(xlabel=f"{unit.name} of an image", ylabel="images")
    axes.yaxis.set_major_locator(whole_ticks())
    if len(entries) > 1:
        axes.legend()
    return f"Histogram of {unit.name} of single images: {'; '.join(ranges)}."


def _of_images(entry: Entry) -> Mapping[str, Tensor]:
    if entry.images is None:
        raise BadInput(
            f"{entry.name} has no table of single images beside its result: "
            "nelbo evaluate MODEL --json r.json --per-image r.csv writes both"
        )
    return entry.images


def _difference(axes: Axes, entries: Sequence[Entry]) -> str:
    """How many images have which difference, the first result minus the second."""
    if len(entries) != 2:
        raise BadInput(f"a difference is of two results; got {len(entries)}")
    a, b = entries
    for entry in entries:
        _of_images(entry)
    change = difference(a, b)
    if change.values is None:
        raise BadInput(f"{a.name} and {b.name} have no difference image by image: {change.why_not}")
    values, unit = change.values.numpy(), a.result.unit.name
    edges = histogram_edges(values)
    axes.stairs(np.histogram(values, edges)[0], edges, fill=True, color=MARKS[0].colour)
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvline(change.mean.mean, color=ORANGE, lw=1.1, ls="--")
    names = f"{plain(a.name)} − {plain(b.name)}"
    axes.set(xlabel=f"{names}, {unit} of an image", ylabel="images")
    axes.yaxis.set_major_locator(whole_ticks())
    return (
        f"Histogram of {a.name} minus {b.name} of {len(values)} images: the mean is "
        f"{change.mean.mean:+.4f} {unit}, {a.name} is lower for {int((values < 0).sum())} of them."
    )


def _trained(logs: Mapping[str, Log]) -> Curves:
    held_out = all(any("held_out" in entry for entry in log) for log in logs.values())
    key = "held_out" if held_out else "loss"
    curves, units = [], {}
    for number, (name, log) in enumerate(logs.items()):
        entries = [entry for entry in log if key in entry]
        if not entries:
            raise BadInput(f"{name} has no log of a training: this figure is of run folders")
        units[str(entries[0]["unit"])] = name
        x, y = (np.array([number_at(e, of) for e in entries], np.float64) for of in ("step", key))
        half = (
            np.array([known_at(e, "ci95_half") for e in entries], np.float64) if held_out else None
        )
        curves.append(Curve(number, x, y, half, [str(entry["step"]) for entry in entries]))
    if len(units) > 1:
        raise BadInput(f"logs in {' and in '.join(units)} fit on no one axis: draw two figures")
    return Curves(
        title="Training",
        meaning="",
        x="training step",
        y=f"held-out bound, {next(iter(units))}" if held_out else f"loss, {next(iter(units))}",
        curves=curves,
        absent=(),
    )

"""What an evaluation found, as pictures: where the bits are, rate and distortion, the images.

A figure's label is its alternative text, which `write_plots` puts into the files.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.special import ndtri

from nelbo import files
from nelbo.errors import BadInput
from nelbo.report.plotted import (
    Axis,
    BitsPerImage,
    BitsPerStep,
    Plots,
    Rate,
    RateDistortion,
    RunningEstimate,
    Values,
)
from nelbo.results.unit import BITS

__all__ = [
    "BitsPerImage",
    "BitsPerStep",
    "Plots",
    "Rate",
    "RateDistortion",
    "RunningEstimate",
    "band",
    "bits_per_step",
    "cumulative_rate",
    "drawn",
    "file_of",
    "histogram_edges",
    "house_style",
    "make_folder",
    "per_image_histogram",
    "plain_figure",
    "power",
    "rate_distortion",
    "running_estimate",
    "write_plots",
]

# Okabe and Ito: told apart without colour vision
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BROWN = "#8C6D1F"  # ours, for a fifth
INK, PALE = "#333333", "#666666"
SIZE, DPI = (6.4, 4.0), 150  # inches
MOST_BARS, FEWEST_BARS = 60, 5
SAME = 1e-12  # of the largest: a spread that rounding makes, of no bars
DECADES = 1e7  # of bits per step that are shown: what is less adds up to nothing
NORMAL = float(ndtri(0.975))
STYLE: dict[str, object] = {
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "nelbo",
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollars is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}


def write_plots(plots: Plots, folder: str | Path, *, over: Axis = "t") -> list[Path]:
    """Writes NAME.png (150 dpi) and NAME.svg of each plot that is there; their paths.

    NAME is the plot's name in `Plots`. The folder is made if need be, files of those names are
    replaced, each whole or not at all; equal plots give equal bytes.

    Raises:
        BadInput: the folder cannot be made.
        OSError: the disk refuses.
    """
    made = make_folder(folder)
    return [files.write(made / name, content) for name, content in drawn(plots, over=over)]


def make_folder(folder: str | Path) -> Path:
    """The folder of plots, made if need be.

    Raises:
        BadInput: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror}") from None
    return Path(folder)


def drawn(plots: Plots, *, over: Axis = "t") -> Iterator[tuple[str, bytes]]:
    """(file name, content) of each plot that is there, NAME.png and NAME.svg."""
    figures: dict[str, Figure] = {}
    unit = plots.unit
    if plots.bits_per_step is not None:
        figures["bits_per_step"] = bits_per_step(plots.bits_per_step, unit, over=over)
    if plots.rate is not None:
        figures["cumulative_rate"] = cumulative_rate(plots.rate, unit)
    if plots.rate_distortion is not None:
        figures["rate_distortion"] = rate_distortion(plots.rate_distortion, unit)
    if plots.per_image_histogram is not None:
        figures["per_image_histogram"] = per_image_histogram(plots.per_image_histogram, unit)
    if plots.running_estimate is not None:
        figures["running_estimate"] = running_estimate(plots.running_estimate, unit)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            with house_style():
                yield f"{name}.{kind}", file_of(figure, kind, DPI)


@contextmanager
def house_style() -> Iterator[None]:
    """Ours on top of matplotlib's own, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


@house_style()
def bits_per_step(steps: BitsPerStep, unit: str = BITS.name, *, over: Axis = "t") -> Figure:
    """The term of each t with a 95 % band, as `steps.grouped(over)` has it.

    Over log SNR, which falls to the right as along the chain, it starts at 0, so that what is high
    costs much; over t it is on a log axis.
    """
    points = steps.grouped(over)
    x, bits, half = points.x, points.bits, NORMAL * points.se
    title = f"Where the {_measure(unit)} are: the term of each step"
    place: str = "t" if over == "log t" else over
    if steps.hidden:
        title, place = f"Where the {_measure(unit)} are: by positions hidden", "k, positions hidden"
    figure, axes = plain_figure(title, place, f"{unit} per step")
    _axis_of_steps(axes, over)
    positive, floor = bits > 0, -np.inf
    if over == "log SNR" and (bits >= 0).all():
        others = slice(int(points.first[0] == 1 and len(bits) > 1), None)  # L_0 may be far above
        axes.set_ylim(0, 1.05 * float(np.nanmax([bits, bits + half], axis=0)[others].max()) or 1)
    elif over != "log SNR" and positive.any():
        floor = max(bits[positive].min() / 3, bits.max() / DECADES)
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set(major_formatter=power, minor_formatter="")
        axes.set_ylim(floor, np.nanmax([bits, bits + half]) * 2)
    first = int(points.first[0] == 1)
    if first:
        band(axes, x[:1], bits[:1], half[:1], floor, ORANGE)
        _remark(axes, "◆ L₀ at t = 1")
    band(axes, x[first:], bits[first:], half[first:], floor)
    notes = ["Band and bars: 95 %."] if (~np.isnan(half)).any() else []
    if points.count.max() > 1:
        notes.append(f"Each point is the mean of up to {points.count.max()} neighbouring t.")
    if (below := bits < floor).any():
        notes.append(f"Below the axis and not shown: {below.sum()} of {len(x)} points.")
    if over == "log SNR" and bits[0] > axes.get_ylim()[1]:
        notes.append(f"L₀ is above the axis: {bits[0]:.3g}.")
    _caption(figure, notes)
    largest = bits.argmax()
    figure.set_label(
        f"{_measure(unit).capitalize()} per dimension of the term of each step over "
        f"t = {steps.t[0]} to {steps.t[-1]}; the largest point is {bits.max():.3g} "
        f"at t = {(points.first[largest] + points.last[largest]) / 2:.0f}."
    )
    return figure


def _axis_of_steps(axes: Axes, over: Axis) -> None:
    if over == "log t":
        axes.set_xscale("log")
        axes.xaxis.set(major_formatter="{x:,.0f}", minor_formatter="")
    else:
        axes.xaxis.set_major_locator(whole_ticks())
    if over == "log SNR":
        axes.invert_xaxis()


def power(value: float, position: int | None = None) -> str:
    """10⁻⁵, and what is no longer than that as it is."""
    exponent = round(np.log10(value))
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:g}" if -3 <= exponent <= 3 else f"10{digits}"


@house_style()
def cumulative_rate(rate: Rate, unit: str = BITS.name) -> Figure:
    """The bits before x_t was known, over t; it falls from the bound to L_T."""
    t, bits = np.asarray(rate.t, np.float64), np.asarray(rate.rate, np.float64)
    figure, axes = plain_figure("Cumulative rate when x_t is known", "t", f"rate: {unit} so far")
    axes.xaxis.set_major_locator(whole_ticks())
    axes.axhline(rate.bound, color=ORANGE, lw=1, ls="--", zorder=1)
    axes.plot(t, bits, "o-", color=BLUE, markersize=3.5, lw=1.2)
    _remark(axes, f"the whole bound {rate.bound:.4f}")
    _caption(figure, ["Read from right to left, as the chain is run back."])
    figure.set_label(
        f"Rate over t: {bits[-1]:.3g} {unit} before x at t = {rate.t[-1]} is known, {bits[0]:.3g} "
        f"at t = {rate.t[0]}, of {rate.bound:.4f} in all."
    )
    return figure


@house_style()
def rate_distortion(curve: RateDistortion, unit: str = BITS.name) -> Figure:
    """The error of x0-hat, in levels where the data have them, against the rate so far."""
    rate, rmse = np.asarray(curve.rate, np.float64), np.asarray(curve.rmse, np.float64)
    levels = curve.levels
    scale = "in the data's unit" if levels is None else f"levels, 0 to {levels - 1}"
    figure, axes = plain_figure(
        "Rate and distortion along the reverse chain",
        f"rate: {unit} so far",
        f"RMSE of x̂₀ ({scale})",
    )
    axes.plot(rate, rmse, "o-", color=BLUE, markersize=3.5, linewidth=1.5)
    axes.set_ylim(0, max(rmse.max() * 1.08, 1e-3))
    axes.set_xlim(min(0.0, rate.min()), None)
    _caption(figure, ["Lower is better. Not yet counted at the right end: the last terms and L₀."])
    figure.set_label(
        f"Root mean squared error of the reconstruction against the rate: {rmse[0]:.3g}"
        f"{'' if levels is None else ' levels'} at {rate[0]:.3g} {unit}, {rmse[-1]:.3g} at "
        f"{rate[-1]:.3g}."
    )
    return figure


@house_style()
def per_image_histogram(images: BitsPerImage, unit: str = BITS.name) -> Figure:
    """How many images have how much per dimension, with the mean and its 95 % interval marked."""
    bits = np.asarray(images.bits, np.float64)
    se = np.array([x for x in images.se if x is not None and x == x], np.float64)
    one = "an image" if images.examples == "images" else "a window"
    title = "Image by image" if images.examples == "images" else "Window by window"
    figure, axes = plain_figure(title, f"{unit} of {one}", images.examples)
    axes.hist(bits, histogram_edges(bits).tolist(), color=BLUE, ec="white", lw=0.5)
    half = np.nan if images.half_width is None else images.half_width
    if half == half:
        axes.axvspan(images.mean - half, images.mean + half, color=ORANGE, alpha=0.3, lw=0)
    label = f"mean {_plus_minus(images.mean, half)} (95 %, sampling of {images.examples})"
    axes.axvline(images.mean, color=ORANGE, lw=2)
    axes.yaxis.set_major_locator(whole_ticks())
    _remark(axes, label)
    notes = [f"{images.examples.capitalize()}: {len(bits):,}."]
    if len(se):
        noise = np.sqrt(np.mean(se**2))
        notes.append(f"Each value is an estimate: its own standard error is {noise:.2g} {unit}.")
    _caption(figure, notes)
    figure.set_label(
        f"Histogram of the {_measure(unit)} of {images.examples} ({len(bits):,}), "
        f"{bits.min():.3g} to {bits.max():.3g}; {label}."
    )
    return figure


def histogram_edges(bits: Values) -> Values:
    """Where the bars begin and end (Freedman and Diaconis 1981), 5 to 60 of them."""
    if np.ptp(bits) <= SAME * np.abs(bits).max():
        return np.histogram_bin_edges(bits[:1], FEWEST_BARS)
    bars = len(np.histogram_bin_edges(bits, "fd")) - 1
    return np.histogram_bin_edges(bits, int(np.clip(bars, FEWEST_BARS, MOST_BARS)))


@house_style()
def running_estimate(looks: RunningEstimate, unit: str = BITS.name) -> Figure:
    """The estimate with its 95 % Monte Carlo band against network evaluations, on a log axis."""
    evaluations, bits = (np.asarray(x, np.float64) for x in (looks.evaluations, looks.bits))
    half = np.asarray(looks.half_width, np.float64)
    figure, axes = plain_figure("The estimate by evaluations", "network evaluations", unit)
    axes.set_xscale("log")
    # Within a decade 1, 2, 5 may leave one tick, for which matplotlib takes crowded even ones.
    subs = (1, 2, 5) if evaluations[-1] > 10 * evaluations[0] else (1, 2, 3, 5)
    axes.xaxis.set(major_locator=LogLocator(subs=subs), major_formatter="{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(evaluations[0] / 1.2, evaluations[-1] * 1.2)
    axes.axhline(bits[-1], color=ORANGE, lw=1, ls="--", zorder=1)
    band(axes, evaluations, bits, half)
    # The first looks know little of their own error: their bands would flatten all the others.
    usual = half <= 10 * np.nanmin(half, initial=np.inf)
    ends = np.concatenate([bits, (bits - half)[usual], (bits + half)[usual]])
    if np.ptp(ends) > 0:
        axes.set_ylim(ends.min() - 0.05 * np.ptp(ends), ends.max() + 0.05 * np.ptp(ends))
    at_last = f"{_plus_minus(bits[-1], half[-1])} for {looks.evaluations[-1]:,} evaluations"
    _remark(axes, at_last)
    _caption(figure, ["Band: 95 %, Monte Carlo."])
    figure.set_label(f"Estimate of the bound against network evaluations: {at_last}.")
    return figure


def _measure(unit: str) -> str:
    """bits or nats."""
    return unit.partition("/")[0]


def band(
    axes: Axes, x: Values, y: Values, half: Values, floor: float = -np.inf, colour: str = BLUE
) -> None:
    """The curve and its band y ± half; a bar where no neighbour knows its half either."""
    known = np.pad(~np.isnan(half), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    lower, upper = np.maximum(y - half, floor), y + half
    axes.fill_between(x, lower, upper, where=known[1:-1], color=colour, alpha=0.2, lw=0)
    axes.vlines(x[alone], lower[alone], upper[alone], color=colour, lw=1.2)
    axes.plot(x, y, "D-" if colour == ORANGE else "o-", color=colour, markersize=3.5, lw=1.2)


def whole_ticks() -> MaxNLocator:
    """At most eight, at whole numbers."""
    return MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10])


def plain_figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure with room for a remark under its title."""
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set_title(title, pad=20)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _remark(axes: Axes, text: str) -> None:
    """A line under the title in the colour of what it speaks of."""
    axes.annotate(
        text,
        (0, 1),
        (0, 6),
        color=ORANGE,
        fontsize=9,
        xycoords="axes fraction",
        textcoords="offset points",
    )


def _plus_minus(mean: float, half: float) -> str:
    return f"{mean:.4f} ± " + (f"{half:.2g}" if half == half else "unknown")


def _caption(figure: Figure, notes: Sequence[str]) -> None:
    figure.supxlabel(textwrap.fill(" ".join(notes), 105), x=0.01, ha="left", fontsize=8, color=PALE)


def file_of(figure: Figure, kind: str, dpi: float) -> bytes:
    """The file's bytes, png, svg or pdf, in the style that is in force.

    In it are the alternative text as its title, and who made it; no date and no version, so that
    equal figures give equal bytes.
    """
    made: Mapping[str, Mapping[str, str | None]] = {
        "png": {"Software": "nelbo plots"},
        "svg": {"Creator": "nelbo", "Date": None},
        "pdf": {"Creator": "nelbo", "CreationDate": None, "Producer": None},
    }
    metadata = {"Title": figure.get_label(), **made[kind]}
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()

"""What an evaluation found, as pictures: where the bits are, rate and distortion, the images.

Everything here is in bits per dimension already. A figure's label is its alternative text, which
`write_plots` puts into the files.
"""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.special import ndtri

from nelbo import files
from nelbo.errors import BadInput, NonFinite

__all__ = [
    "BitsPerImage",
    "BitsPerStep",
    "Plots",
    "RateDistortion",
    "RunningEstimate",
    "bits_per_step",
    "per_image_histogram",
    "rate_distortion",
    "running_estimate",
    "write_plots",
]

Values = NDArray[np.float64]

# Okabe and Ito: told apart without colour vision
BLUE, ORANGE = "#0072B2", "#D55E00"
INK, PALE = "#333333", "#666666"
SIZE, DPI = (6.4, 4.0), 150  # inches
MOST_POINTS = 60  # of a curve over t: more are noise to the eye
MOST_BARS, FEWEST_BARS = 60, 5
DECADES = 1e7  # of bits per step that are shown: what is less adds up to nothing
NORMAL = float(ndtri(0.975))
WHOLE: dict[str, Any] = {"nbins": 8, "integer": True, "steps": [1, 2, 5, 10]}
STYLE: dict[str, Any] = {
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "nelbo",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@final
@dataclass(frozen=True)
class BitsPerStep:
    """The mean term of each t that was asked, with its standard error: L_0 at t = 1, L_{t-1} after.

    t ascends; bits and se are bits/dim, se None or NaN where it is not known. same_images says
    that every t was asked of the same images, so that errors of different t go together; else
    they are taken to be independent.

    Raises:
        BadInput: no t, t that do not ascend from 1 or more, columns of different lengths.
        NonFinite: a term is NaN or infinite, or an se infinite.
    """

    t: Sequence[int]
    bits: Sequence[float]
    se: Sequence[float | None]
    same_images: bool

    def __post_init__(self) -> None:
        _check("bits per step", t=self.t, bits=self.bits, se=self.se)
        _ascending("t", self.t)


@final
@dataclass(frozen=True)
class RateDistortion:
    """What was paid before x_t was known, and how far x0-hat(x_t) then is from x_0, along t.

    rate: bits/dim; rmse: root mean squared error in levels of data that have 0..levels-1.

    Raises:
        BadInput: no point, columns of different lengths, fewer than two levels.
        NonFinite: a value is NaN or infinite.
    """

    rate: Sequence[float]
    rmse: Sequence[float]
    levels: int

    def __post_init__(self) -> None:
        _check("rate and distortion", rate=self.rate, rmse=self.rmse)
        if self.levels < 2:
            raise BadInput(f"data have at least two levels; got {self.levels}")


@final
@dataclass(frozen=True)
class BitsPerImage:
    """An estimate for each image, in bits/dim, and their mean with half of its 95 % interval.

    se: each estimate's own standard error, None or NaN where it is not known; half_width is for
    images like these, None where it is not known.

    Raises:
        BadInput: no image, columns of different lengths.
        NonFinite: a value is NaN or infinite, or an se or the half-width infinite.
    """

    bits: Sequence[float]
    se: Sequence[float | None]
    mean: float
    half_width: float | None

    def __post_init__(self) -> None:
        _check("bits per image", bits=self.bits, se=self.se)
        _check("the mean over images", mean=[self.mean], half_width=[self.half_width])


@final
@dataclass(frozen=True)
class RunningEstimate:
    """The estimate after so many network evaluations, with half of its 95 % Monte Carlo interval.

    evaluations ascend; bits and half_width are bits/dim, half_width None or NaN where it is not
    known.

    Raises:
        BadInput: no look, evaluations that do not ascend from 1 or more, columns of different
            lengths.
        NonFinite: an estimate is NaN or infinite, or a half-width infinite.
    """

    evaluations: Sequence[int]
    bits: Sequence[float]
    half_width: Sequence[float | None]

    def __post_init__(self) -> None:
        _check("looks", evaluations=self.evaluations, bits=self.bits, half_width=self.half_width)
        _ascending("evaluations", self.evaluations)


@final
@dataclass(frozen=True)
class Plots:
    """What there is to plot of an evaluation; what is None is not plotted."""

    bits_per_step: BitsPerStep | None = None
    rate_distortion: RateDistortion | None = None
    per_image_histogram: BitsPerImage | None = None
    running_estimate: RunningEstimate | None = None


def write_plots(plots: Plots, folder: str | Path, *, log_t: bool = False) -> list[Path]:
    """Writes NAME.png (150 dpi) and NAME.svg of each plot that is there; their paths.

    NAME is the plot's name in `Plots`. The folder is made if need be, files of those names are
    replaced, each whole or not at all; equal plots give equal bytes.

    Raises:
        BadInput: the folder cannot be made.
        OSError: the disk refuses.
    """
    folder = Path(folder)
    figures: dict[str, Figure] = {}
    if plots.bits_per_step is not None:
        figures["bits_per_step"] = bits_per_step(plots.bits_per_step, log_t=log_t)
    if plots.rate_distortion is not None:
        figures["rate_distortion"] = rate_distortion(plots.rate_distortion)
    if plots.per_image_histogram is not None:
        figures["per_image_histogram"] = per_image_histogram(plots.per_image_histogram)
    if plots.running_estimate is not None:
        figures["running_estimate"] = running_estimate(plots.running_estimate)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror}") from None
    return [
        files.write(folder / f"{name}.{kind}", _drawn(figure, kind))
        for name, figure in figures.items()
        for kind in ("png", "svg")
    ]


@contextmanager
def _style() -> Iterator[None]:
    """Ours on top of matplotlib's own, whatever the user's matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


@_style()
def bits_per_step(steps: BitsPerStep, *, log_t: bool = False) -> Figure:
    """Bits/dim of each t on a log axis with a 95 % band; at most 60 points, of neighbouring t.

    A point of several t is their mean. With the same images at every t its error is the mean of
    theirs, an upper bound. Else it is the root of their sum of squares over their number, or,
    where one is not known, what the scatter of the terms tells, their slope counted as noise.
    """
    t, bits, se, count = _grouped(steps, log_t)
    figure, axes = _figure("Where the bits are: the term of each step", "t", "bits/dim per step")
    if log_t:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(**WHOLE))
    positive, floor, half = bits > 0, -np.inf, NORMAL * se
    if positive.any():
        floor = max(bits[positive].min() / 3, bits.max() / DECADES)
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(floor, np.nanmax([bits, bits + half]) * 2)
    first = int(t[0] == 1)
    if first:
        _band(axes, t[:1], bits[:1], half[:1], floor, ORANGE)
        _remark(axes, "◆ L₀ at t = 1")
    _band(axes, t[first:], bits[first:], half[first:], floor)
    notes = ["Band and bars: 95 %."] if (~np.isnan(se)).any() else []
    if count.max() > 1:
        notes.append(f"Each point is the mean of up to {count.max()} neighbouring t.")
    if (below := bits < floor).any():
        notes.append(f"Below the axis and not shown: {below.sum()} of {len(t)} points.")
    _caption(figure, notes)
    figure.set_label(
        f"Bits per dimension of the term of each step over t = {steps.t[0]} to {steps.t[-1]}; the "
        f"largest point is {bits.max():.3g} at t = {t[bits.argmax()]:.0f}."
    )
    return figure


@_style()
def rate_distortion(curve: RateDistortion) -> Figure:
    """The error of x0-hat, in levels, against the bits/dim paid so far."""
    rate, rmse = np.asarray(curve.rate, np.float64), np.asarray(curve.rmse, np.float64)
    figure, axes = _figure(
        "Rate and distortion along the reverse chain",
        "rate: bits/dim paid so far",
        f"RMSE of x̂₀ (levels, 0 to {curve.levels - 1})",
    )
    axes.plot(rate, rmse, "o-", color=BLUE, markersize=3.5, linewidth=1.5)
    axes.set_ylim(0, max(rmse.max() * 1.08, 1e-3))
    axes.set_xlim(min(0.0, rate.min()), None)
    _caption(figure, ["Lower is better. Not yet paid at the right end: the last terms and L₀."])
    figure.set_label(
        f"Root mean squared error of the reconstruction against the rate: {rmse[0]:.3g} levels at "
        f"{rate[0]:.3g} bits/dim, {rmse[-1]:.3g} at {rate[-1]:.3g}."
    )
    return figure


@_style()
def per_image_histogram(images: BitsPerImage) -> Figure:
    """How many images have how many bits/dim, with the mean and its 95 % interval marked."""
    bits = np.asarray(images.bits, np.float64)
    se = np.array([x for x in images.se if x is not None and x == x], np.float64)
    figure, axes = _figure("Image by image", "bits/dim of an image", "images")
    bars = len(np.histogram_bin_edges(bits, "fd")) - 1 if np.ptp(bits) > 0 else 1
    axes.hist(bits, int(np.clip(bars, FEWEST_BARS, MOST_BARS)), color=BLUE, ec="white", lw=0.5)
    half = np.nan if images.half_width is None else images.half_width
    if half == half:
        axes.axvspan(images.mean - half, images.mean + half, color=ORANGE, alpha=0.3, lw=0)
    label = f"mean {_plus_minus(images.mean, half)} (95 %, images like these)"
    axes.axvline(images.mean, color=ORANGE, lw=2)
    axes.yaxis.set_major_locator(MaxNLocator(**WHOLE))
    _remark(axes, label)
    notes = [f"Images: {len(bits):,}."]
    if len(se):
        noise = np.sqrt(np.mean(se**2))
        notes.append(f"Each value is an estimate: its own standard error is {noise:.2g} bits/dim.")
    _caption(figure, notes)
    figure.set_label(
        f"Histogram of the bits per dimension of images ({len(bits):,}), {bits.min():.3g} to "
        f"{bits.max():.3g}; {label}."
    )
    return figure


@_style()
def running_estimate(looks: RunningEstimate) -> Figure:
    """The estimate with its 95 % Monte Carlo band against network evaluations, on a log axis."""
    evaluations, bits = (np.asarray(x, np.float64) for x in (looks.evaluations, looks.bits))
    half = np.asarray(looks.half_width, np.float64)
    figure, axes = _figure("The estimate as it was paid for", "network evaluations", "bits/dim")
    axes.set_xscale("log")
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(evaluations[0] / 1.2, evaluations[-1] * 1.2)
    axes.axhline(bits[-1], color=ORANGE, lw=1, ls="--", zorder=1)
    _band(axes, evaluations, bits, half)
    # The first looks know little of their own error: their bands would flatten all the others.
    usual = half <= 10 * np.nanmin(half, initial=np.inf)
    ends = np.concatenate([bits, (bits - half)[usual], (bits + half)[usual]])
    if np.ptp(ends) > 0:
        axes.set_ylim(ends.min() - 0.05 * np.ptp(ends), ends.max() + 0.05 * np.ptp(ends))
    at_last = f"{_plus_minus(bits[-1], half[-1])} for {looks.evaluations[-1]:,} evaluations"
    _remark(axes, at_last)
    _caption(figure, ["Band: 95 %, Monte Carlo, for exactly these images."])
    figure.set_label(f"Estimate of the bound against network evaluations: {at_last}.")
    return figure


def _grouped(steps: BitsPerStep, log_t: bool) -> tuple[Values, Values, Values, NDArray[np.int64]]:
    """(t, bits, se, how many t) of each point; t = 1 is another kind of term and stands alone."""
    t = np.asarray(steps.t, np.float64)
    bits, se = np.asarray(steps.bits, np.float64), np.asarray(steps.se, np.float64)
    if len(t) <= MOST_POINTS:
        return t, bits, se, np.ones(len(t), np.int64)
    first = int(t[0] == 1)
    place = np.log(t) if log_t else t
    # negative at t = 1, which so falls before the first group
    share = (place - place[first]) / (place[-1] - place[first])
    group = 1 + np.minimum(np.floor(share * (MOST_POINTS - first)), MOST_POINTS - first - 1)
    _, members, count = np.unique(group, return_inverse=True, return_counts=True)

    def mean(values: Values) -> Values:
        return np.bincount(members, values) / count

    centre = mean(bits)
    if steps.same_images:
        return mean(t), centre, mean(se), count
    scatter = np.sqrt(mean((bits - centre[members]) ** 2) / np.where(count > 1, count - 1, np.nan))
    error = np.sqrt(mean(se**2) / count)
    return mean(t), centre, np.where(np.isnan(error), scatter, error), count


def _band(
    axes: Axes, x: Values, y: Values, half: Values, floor: float = -np.inf, colour: str = BLUE
) -> None:
    """The curve and its band y ± half; a bar where no neighbour knows its half either."""
    known = np.pad(~np.isnan(half), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    lower, upper = np.maximum(y - half, floor), y + half
    axes.fill_between(x, lower, upper, where=known[1:-1], color=colour, alpha=0.2, lw=0)
    axes.vlines(x[alone], lower[alone], upper[alone], color=colour, lw=1.2)
    axes.plot(x, y, "D-" if colour == ORANGE else "o-", color=colour, markersize=3.5, lw=1.2)


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set_title(title, pad=20)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _remark(axes: Axes, text: str) -> None:
    """A line under the title in the colour of what it speaks of."""
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(text, (0, 1), (0, 6), color=ORANGE, fontsize=9, **place)


def _plus_minus(mean: float, half: float) -> str:
    return f"{mean:.4f} ± " + (f"{half:.2g}" if half == half else "unknown")


def _caption(figure: Figure, notes: Sequence[str]) -> None:
    figure.supxlabel(textwrap.fill(" ".join(notes), 105), x=0.01, ha="left", fontsize=8, color=PALE)


@_style()
def _drawn(figure: Figure, kind: str) -> bytes:
    """The file's bytes: no date, no version, the alternative text as its title."""
    dropped = {"svg": ("Date", "Creator"), "png": ("Software",)}[kind]
    metadata = {"Title": figure.get_label(), **dict.fromkeys(dropped)}
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def _check(name: str, **columns: Sequence[float | None]) -> None:
    """Columns of one length, not empty, finite; NaN or None only in those of errors."""
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise BadInput(f"{name}: columns need the same number of values, 1 or more; {lengths}")
    for column, values in columns.items():
        array = np.asarray(values, np.float64)
        error = column in ("se", "half_width")
        if np.isinf(array).any() or (np.isnan(array).any() and not error):
            raise NonFinite(f"{name}: {column} is not finite and cannot be plotted")


def _ascending(name: str, values: Sequence[int]) -> None:
    if values[0] < 1 or any(b <= a for a, b in itertools.pairwise(values)):
        raise BadInput(f"{name} must ascend from 1 or more")

"""What there is to plot of an evaluation: its numbers, checked.

Each is per dimension: bits, or the nats of a density, as `Plots.unit` says.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nelbo.errors import BadInput, NonFinite
from nelbo.results.unit import BITS

__all__ = [
    "Axis",
    "BitsPerImage",
    "BitsPerStep",
    "Grouped",
    "Plots",
    "Rate",
    "RateDistortion",
    "RunningEstimate",
    "Values",
]

Values: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Axis = Literal["t", "log t", "log SNR"]
"""What bits per step are drawn over."""

MOST_POINTS = 60  # of a curve over t: more are noise to the eye


@final
@dataclass(frozen=True)
class Grouped:
    """Points of a curve over t, each the mean of `count` terms, of t = first..last."""

    x: Values
    bits: Values
    se: Values
    count: Counts
    first: Counts
    last: Counts


@final
@dataclass(frozen=True)
class BitsPerStep:
    """The mean term of each evaluated t, with its standard error: L_0 at t = 1, L_{t-1} after.

    t ascends; bits and se are per dimension, se None or NaN where it is not known. same_images says
    that every t was evaluated on the same images, so that errors of different t go together; else
    they are taken to be independent. log_snr is that of each t, None where it is infinite, and
    None in all where the chain has none. hidden: t is also how many positions x_t hides, as in a
    masked chain of one position a step; then a term is what one hidden position costs on average.

    Raises:
        BadInput: no t, t that do not ascend from 1 or more, columns of different lengths.
        NonFinite: a term is NaN or infinite, or an se infinite.
    """

    t: Sequence[int]
    bits: Sequence[float]
    se: Sequence[float | None]
    same_images: bool
    log_snr: Sequence[float | None] | None = None
    hidden: bool = False

    def __post_init__(self) -> None:
        _check("bits per step", t=self.t, bits=self.bits, se=self.se)
        _ascending("t", self.t)
        if self.log_snr is not None and len(self.log_snr) != len(self.t):
            raise BadInput(f"{len(self.t)} steps need as many log SNR; got {len(self.log_snr)}")

    def grouped(self, over: Axis = "t") -> Grouped:
        """At most 60 points, of neighbouring t; t = 1 is another kind of term and stands alone.

        With the same images at every t the error of a point is the mean of theirs, an upper bound.
        Else it is the root of their sum of squares over their number, or, where one is not known,
        what the scatter of the terms tells, their slope counted as noise. Over log SNR, what has
        none that is finite is left out.

        Raises:
            BadInput: over log SNR, which the chain has not.
        """
        t = np.asarray(self.t, np.int64)
        bits, se = np.asarray(self.bits, np.float64), np.asarray(self.se, np.float64)
        x, place = self._places(over)
        kept = np.isfinite(place)
        t, bits, se, x, place = t[kept], bits[kept], se[kept], x[kept], place[kept]
        if len(t) <= MOST_POINTS:
            return Grouped(x, bits, se, np.ones(len(t), np.int64), t, t)
        start = int(t[0] == 1)
        # negative at t = 1, which so falls before the first group
        share = (place - place[start]) / (place[-1] - place[start])
        number = 1 + np.minimum(np.floor(share * (MOST_POINTS - start)), MOST_POINTS - start - 1)
        number[:start] = 0
        _, begin, members, count = np.unique(
            number, return_index=True, return_inverse=True, return_counts=True
        )

        def mean(values: Values) -> Values:
            return np.bincount(members, values) / count

        centre, end = mean(bits), begin + count - 1
        if self.same_images:
            return Grouped(mean(x), centre, mean(se), count, t[begin], t[end])
        freedom = np.where(count > 1, count - 1, np.nan)
        scatter = np.sqrt(mean((bits - centre[members]) ** 2) / freedom)
        error = np.sqrt(mean(se**2) / count)
        error = np.where(np.isnan(error), scatter, error)
        return Grouped(mean(x), centre, error, count, t[begin], t[end])

    def _places(self, over: Axis) -> tuple[Values, Values]:
        """(what is on the axis, what ascends with t and is grouped evenly)."""
        t = np.asarray(self.t, np.float64)
        if over == "log SNR":
            if self.log_snr is None:
                raise BadInput("the chain has no log SNR")
            log_snr = np.asarray(self.log_snr, np.float64)
            return log_snr, -log_snr
        return t, np.log(t) if over == "log t" else t


@final
@dataclass(frozen=True)
class Rate:
    """The bits before x_t is known, per dimension, along t, and the bound in the end.

    Raises:
        BadInput: no point, t that do not ascend from 1 or more, columns of different lengths.
        NonFinite: a value is NaN or infinite.
    """

    t: Sequence[int]
    rate: Sequence[float]
    bound: float

    def __post_init__(self) -> None:
        _check("rate", t=self.t, rate=self.rate)
        _check("the bound", bound=[self.bound])
        _ascending("t", self.t)


@final
@dataclass(frozen=True)
class RateDistortion:
    """The rate, the bits before x_t is known, and how far x0-hat(x_t) then is from x_0.

    rate: per dimension; rmse: root mean squared error in levels of data that have 0..levels-1, in
    the data's own unit where levels is None.

    Raises:
        BadInput: no point, columns of different lengths, fewer than two levels.
        NonFinite: a value is NaN or infinite.
    """

    rate: Sequence[float]
    rmse: Sequence[float]
    levels: int | None

    def __post_init__(self) -> None:
        _check("rate and distortion", rate=self.rate, rmse=self.rmse)
        if self.levels is not None and self.levels < 2:
            raise BadInput(f"data have at least two levels; got {self.levels}")


@final
@dataclass(frozen=True)
class BitsPerImage:
    """An estimate for each image, per dimension, and their mean with half of its 95 % interval.

    se: each estimate's own standard error, None or NaN where it is not known; half_width is for
    sampling of images, None where it is not known; examples: images, or windows of text.

    Raises:
        BadInput: no image, columns of different lengths.
        NonFinite: a value is NaN or infinite, or an se or the half-width infinite.
    """

    bits: Sequence[float]
    se: Sequence[float | None]
    mean: float
    half_width: float | None
    examples: str = "images"

    def __post_init__(self) -> None:
        _check("bits per image", bits=self.bits, se=self.se)
        _check("the mean over images", mean=[self.mean], half_width=[self.half_width])


@final
@dataclass(frozen=True)
class RunningEstimate:
    """The estimate after so many network evaluations, with half of its 95 % Monte Carlo interval.

    evaluations ascend; bits and half_width are per dimension, half_width None or NaN where it is
    not known.

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
    """What there is to plot of an evaluation, in this unit; what is None is not plotted."""

    bits_per_step: BitsPerStep | None = None
    rate: Rate | None = None
    rate_distortion: RateDistortion | None = None
    per_image_histogram: BitsPerImage | None = None
    running_estimate: RunningEstimate | None = None
    unit: str = BITS.name


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

"""What there is to plot of an evaluation: its numbers, checked.

Each is per dimension: bits, or the nats of a density, as `Plots.unit` says.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nelbo.errors import BadInput, NonFinite
from nelbo.report.unit import BITS

__all__ = ["BitsPerImage", "BitsPerStep", "Plots", "RateDistortion", "RunningEstimate"]


@final
@dataclass(frozen=True)
class BitsPerStep:
    """The mean term of each t that was asked, with its standard error: L_0 at t = 1, L_{t-1} after.

    t ascends; bits and se are per dimension, se None or NaN where it is not known. same_images says
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

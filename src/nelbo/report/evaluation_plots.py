"""What an evaluation's plots show: its numbers in bits per dimension and levels."""

import math

from nelbo.bound.statistics import Mean
from nelbo.report.evaluation import Curve, Evaluation, bits_per_dim
from nelbo.report.plots import BitsPerImage, BitsPerStep, Plots, RateDistortion, RunningEstimate

__all__ = ["plots_of"]


def plots_of(result: Evaluation) -> Plots:
    """Bits per t, rate against distortion, bits per image, and the running estimate."""
    steps, dims = result.per_step, result.dims
    table = result.per_image
    exhaustive = result.estimator["name"] == "exhaustive"
    return Plots(
        bits_per_step=BitsPerStep(
            t=[step.t for step in steps],
            bits=[bits_per_dim(step.mean, dims) for step in steps],
            se=[None if step.se is None else bits_per_dim(step.se, dims) for step in steps],
            same_images=exhaustive,
        ),
        rate_distortion=None if result.distortion is None else _curve(result, result.distortion),
        per_image_histogram=BitsPerImage(
            bits=[bits_per_dim(x, dims) for x in table.total.tolist()],
            se=[bits_per_dim(x, dims) for x in table.se.tolist()],
            mean=result.bits_per_dim,
            half_width=result.half_width(result.total),
        ),
        running_estimate=RunningEstimate(
            evaluations=[look.evaluations for look in result.looks],
            bits=[bits_per_dim(look.mean.mean, dims) for look in result.looks],
            half_width=[_half(look.mean, dims) for look in result.looks],
        ),
    )


def _half(mean: Mean, dims: int) -> float | None:
    half = mean.half_width()
    return None if half is None else bits_per_dim(half, dims)


def _curve(result: Evaluation, curve: Curve) -> RateDistortion:
    """Reconstruction errors in levels: the grid's width over n - 1 is one level."""
    lo, hi = result.data["grid"]
    level = (hi - lo) / (result.data["levels"] - 1)
    return RateDistortion(
        rate=[bits_per_dim(rate, result.dims) for rate in curve.rate.tolist()],
        rmse=[math.sqrt(x / result.dims) / level for x in curve.squared_error.tolist()],
        levels=result.data["levels"],
    )

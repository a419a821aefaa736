"""What an evaluation's plots show: its numbers in its unit, and levels."""

import math

from nelbo.report.evaluation import Curve, Evaluation
from nelbo.report.plots import BitsPerImage, BitsPerStep, Plots, RateDistortion, RunningEstimate

__all__ = ["plots_of"]


def plots_of(result: Evaluation) -> Plots:
    """Bits per t, rate against distortion, bits per image, and the running estimate."""
    steps = result.per_step
    table = result.per_image
    exhaustive = result.estimator["name"] == "exhaustive"
    return Plots(
        bits_per_step=BitsPerStep(
            t=[step.t for step in steps],
            bits=[_per_dim(result, step.mean) for step in steps],
            se=[None if step.se is None else _per_dim(result, step.se) for step in steps],
            same_images=exhaustive,
        ),
        rate_distortion=None if result.distortion is None else _curve(result, result.distortion),
        per_image_histogram=BitsPerImage(
            bits=[_per_dim(result, x) for x in table.total.tolist()],
            se=[_per_dim(result, x) for x in table.se.tolist()],
            mean=result.per_dim,
            half_width=result.half_width(result.total),
        ),
        running_estimate=RunningEstimate(
            evaluations=[look.evaluations for look in result.looks],
            bits=[_per_dim(result, look.mean.mean) for look in result.looks],
            half_width=[result.half_width(look.mean) for look in result.looks],
        ),
        unit=result.unit.name,
    )


def _per_dim(result: Evaluation, nats: float) -> float:
    return result.unit.per_dim(nats, result.dims)


def _curve(result: Evaluation, curve: Curve) -> RateDistortion:
    """Reconstruction errors in levels, the grid's width over n - 1; in their own unit without."""
    levels, level = result.data["levels"], 1.0
    if levels is not None:
        lo, hi = result.data["grid"]
        level = (hi - lo) / (levels - 1)
    return RateDistortion(
        rate=[_per_dim(result, rate) for rate in curve.rate.tolist()],
        rmse=[math.sqrt(x / result.dims) / level for x in curve.squared_error.tolist()],
        levels=levels,
    )

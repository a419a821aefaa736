"""What an evaluation's plots show, of its JSON object and its table of images."""

from collections.abc import Mapping

from torch import Tensor

from nelbo.report.plotted import (
    BitsPerImage,
    BitsPerStep,
    Plots,
    Rate,
    RateDistortion,
    RunningEstimate,
)
from nelbo.results.evaluation import Evaluation

__all__ = ["plots_of"]


def plots_of(result: Evaluation, images: Mapping[str, Tensor] | None = None) -> Plots:
    """Bits per t, the rate over t and against distortion, bits per image, the running estimate.

    images: the columns of a per-image table, where there is one.
    """
    points, looks = result.rate, result.looks
    errors = [point.rmse for point in points if point.rmse is not None]
    whole = bool(points) and len(errors) == len(points)
    rate = [point.rate for point in points]
    return Plots(
        bits_per_step=_steps(result) if result.per_step else None,
        rate=_rate(result) if points else None,
        rate_distortion=RateDistortion(rate, errors, result.levels) if whole else None,
        per_image_histogram=None if images is None else _images(result, images),
        running_estimate=RunningEstimate(
            evaluations=[look.evaluations for look in looks],
            bits=[result.unit.per_dim(look.mean.mean, result.dims) for look in looks],
            half_width=[result.half_width(look.mean) for look in looks],
        )
        if looks
        else None,
        unit=result.unit.name,
    )


def _rate(result: Evaluation) -> Rate:
    """With its end, t = 1, where all but L_0 is counted."""
    L_T, later, _ = result.figures
    end = [(1, L_T.value + later.value)] if result.rate[0].t > 1 else []
    t, rate = zip(*end, *((point.t, point.rate) for point in result.rate), strict=True)
    return Rate(t, rate, result.per_dim)


def _steps(result: Evaluation) -> BitsPerStep:
    steps, image = result.per_step, result.unit.of_image(result.dims)
    log_snr = [result.log_snr_at(step.t) for step in steps]
    known = sum(value is not None for value in log_snr)
    return BitsPerStep(
        t=[step.t for step in steps],
        bits=[step.mean / image for step in steps],
        se=[None if step.se is None else step.se / image for step in steps],
        same_images=result.estimator["name"] == "exhaustive",
        log_snr=log_snr if known > 1 else None,
        hidden=_one_by_one(result),
    )


def _one_by_one(result: Evaluation) -> bool:
    """Whether a masked chain reveals one position a step: x_t then hides t of them."""
    order = result.model.get("order")
    calls = order["calls"] if isinstance(order, Mapping) else result.model.get("calls")
    return bool(calls == result.dims)


def _images(result: Evaluation, columns: Mapping[str, Tensor]) -> BitsPerImage:
    return BitsPerImage(
        bits=columns[result.unit.key].tolist(),
        se=columns["se"].tolist(),
        mean=result.per_dim,
        half_width=result.half,
        examples=result.unit.examples,
    )

"""Images by their bound: all of them roughly, then the ends of the order again and well."""

import time
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo import arguments
from nelbo.estimation import Progress
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results import Evaluation
from nelbo.results.image_ranking import ImageBounds, ImageRanking
from nelbo.tasks.evaluate import evaluate
from nelbo.typed_json import list_at, number_at, number_of

__all__ = ["rank"]

FIRST, AGAIN = 32, 128  # evaluations of an image in the first look, and in the second
LEAST = 8  # of a look, below which the error of one image is not known
SECOND = 2**62  # what the seed of the second look is apart from that of the first


def rank(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    count: int = 8,
    first: int = FIRST,
    again: int = AGAIN,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> ImageRanking:
    """The images by their bound, with intervals: the easiest, the hardest, those unlike the rest.

    Two looks: `first` network evaluations of every image choose the `count` that are listed of
    each end, at most half of the images; then `again` evaluations of each of these, with fresh
    noise, are its figure alone, so that no image owes its figure to the chance that chose it. An
    image is unlike the rest where its whole interval lies outside of what images of a normal law,
    of the same median and spread, would keep to. model, data, batch_size, check: as for
    `evaluate`. A model of one order is exact, and is looked at once.

    Raises:
        BadInput: a count below 1, a look of fewer than 8 evaluations (`again` may be 0: no second
            look), and as `evaluate`.
        NonFinite: a term is NaN or infinite.
    """
    count = arguments.whole("count", count, 1)
    first = arguments.whole("first", first, LEAST)
    if again := arguments.whole("again", again, 0):
        again = arguments.whole("again", again, LEAST)
    started, model = time.perf_counter(), as_model(model)
    seed = arguments.seed_of(seed)
    examples = examples_of(model, data, seed)
    measured = partial(evaluate, model, batch_size=batch_size, progress=progress)
    of_all = measured(examples, budget=first * len(examples), seed=seed, check=check)
    bounds, evaluations = _bounds(of_all), of_all.network_evaluations
    order = bounds.values.argsort(stable=True)
    count = min(count, max(1, len(examples) // 2))
    easiest, hardest = order[:count], order[-count:]
    again = 0 if model.exact else again
    if again:
        some = torch.cat([easiest, hardest]).unique()
        chosen, budget = examples.subset(some), again * len(some)
        second = measured(chosen, budget=budget, seed=seed ^ SECOND, check=False)
        bounds = _replaced(bounds, some, _bounds(second))
        evaluations += second.network_evaluations
    return ImageRanking(
        bounds=bounds,
        easiest=easiest,
        hardest=hardest,
        total=of_all.total,
        monte_carlo=of_all.monte_carlo,
        dims=of_all.dims,
        network_evaluations=evaluations,
        seconds=time.perf_counter() - started,
        estimator={
            "name": of_all.estimator["name"],
            "seed": of_all.estimator["seed"],
            "first": first,
            "again": again,
            "check": of_all.estimator["check"],
        },
        model=of_all.model,
        data=of_all.data,
        environment=of_all.environment,
        command=command,
        unit=of_all.unit,
        warnings=of_all.warnings,
    )


def _bounds(evaluation: Evaluation) -> ImageBounds:
    table = evaluation.per_image
    return ImageBounds(
        ids=table.ids,
        values=table.total,
        se=table.se,
        dof=torch.full_like(table.total, _dof(evaluation)),
        again=torch.zeros(len(table.ids), dtype=torch.bool),
        sources=table.sources,
    )


def _dof(evaluation: Evaluation) -> float:
    """Degrees of freedom behind the error of one image, by Welch and Satterthwaite.

    L_0 has draws - 1, the later terms half of their rows, whose neighbours are compared. How the
    evaluations are shared out is how the standard deviations are (Neyman), so the shares of the
    variance are those of the evaluations.
    """
    if "phases" not in evaluation.estimator:
        return float("inf")
    draws = number_at(evaluation.estimator, "L_0_draws")
    rows = sum(number_of(phase) for phase in list_at(evaluation.estimator, "phases"))
    of_first = (draws / (draws + rows)) ** 2 / (draws - 1)
    of_later = (rows / (draws + rows)) ** 2 * 2 / max(rows, 1)
    return float(1 / (of_first + of_later))


def _replaced(first: ImageBounds, some: Int64[Tensor, " some"], second: ImageBounds) -> ImageBounds:
    """The bounds of the first look, but for some images those of the second."""
    values, se, dof = (
        getattr(first, name).index_copy(0, some, getattr(second, name))
        for name in ("values", "se", "dof")
    )
    again = first.again.index_fill(0, some, True)
    return ImageBounds(first.ids, values, se, dof, again, first.sources)

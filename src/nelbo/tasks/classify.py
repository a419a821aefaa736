"""p(class | x) of images by a model of p(x | class), from bounds that stop when they tell."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo import arguments
from nelbo.data import Examples
from nelbo.data.examples import for_each_class
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, Progress, examine, measuring
from nelbo.estimation.race import Allocation, Race, looks_of
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results.classification import Classification
from nelbo.results.context import environment
from nelbo.typed_json import Json

__all__ = ["classify"]

TOGETHER = 2**17  # images times classes that are classified at once
MOST = 128  # rows of an image and class


def classify(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    prior: Sequence[float] | None = None,
    error: float = 0.05,
    most: int = MOST,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Classification:
    """p(class | x) in proportion to prior(class) exp(-bound of -log p(x | class)).

    The classes of an image share t and noise, so that most of what makes a bound vary cancels in
    their differences. Evaluations come in looks of 8, 4, 6, 8, 12, ... for each class still in the
    race; classes drop out whose bounds are above the lowest: that the class of the lowest exact
    bound is one of them has, given all evaluations, at most the chance `error` in each image, where
    differences are normal and each size of them is as likely beforehand. An image ends with one
    class left, or after `most` evaluations of each that is. prior:
    a frequency for each class, uniform where none is given; 0 rules a class out. data: as for
    `evaluate`; where it has labels, they are not used but to say how many are right. check: as for
    `evaluate`. The posterior treats a bound as log p(x | class); how far one lies above the other
    may differ between classes.

    Raises:
        BadInput: a model without classes, a prior that is not a frequency for each, an error
            outside (0, 1), fewer than 2 evaluations; data as `evaluate` refuses them.
        NonFinite: a term is NaN or infinite.
    """
    started, model = time.perf_counter(), as_model(model)
    if model.classes is None:
        raise BadInput(
            f"{model.name} is a model of p(x): to classify takes one of p(x | class), such as the "
            "recipe digits-classes, or nelbo.wrap with classes="
        )
    shares, error = _prior(prior, model.classes), arguments.number("error", error)
    if not 0 < error < 1:
        raise BadInput(f"error is a chance between 0 and 1; got {error:g}")
    looks, seed = looks_of(arguments.whole("most", most, 2)), arguments.seed_of(seed)
    examples = examples_of(model, data, seed, labelled=False)
    races: list[Race] = []
    allocation, done = Allocation(model.importance), 0
    with measuring([model]):
        for part in torch.arange(len(examples)).split(max(1, TOGETHER // model.classes)):
            some = for_each_class(examples.subset(part), model.classes)
            evaluator = Evaluator(
                [model], some, seed, batch_size, progress=_after(progress, done, len(examples))
            )
            if not races:
                batch, checked = evaluator.batch, examine([model], some, Processes(), check)
            races.append(Race(evaluator, shares.log(), allocation, looks, error))
            done += evaluator.done
    odds, errors = (torch.cat(x) for x in zip(*(race.log_odds() for race in races), strict=True))
    behind, runner_up = _behind(odds)
    return Classification(
        ids=examples.ids,
        posterior=torch.softmax(odds, 1),
        behind=behind,
        se=errors.gather(1, runner_up)[:, 0],
        decided=torch.cat([race.alive.sum(1) == 1 for race in races]),
        evaluations=torch.cat([race.evaluations for race in races]),
        labels=examples.labels,
        sources=examples.sources,
        prior=shares.tolist(),
        error=error,
        network_evaluations=done,
        seconds=time.perf_counter() - started,
        estimator={
            "name": "paired race",
            "seed": seed,
            "looks": looks,
            "batch_size": batch,
            "check": checked,
        },
        model=model.described(),
        data=_described(examples),
        environment=environment(model.device, model.dtype),
        command=command,
    )


def _after(progress: Progress, before: int, images: int) -> Progress:
    """Progress that counts on from those that were classified before."""
    return lambda done, _, text: progress(before + done, None, f"{images:,} images {text}".strip())


def _behind(log_odds: Float64[Tensor, "N K"]) -> tuple[Float64[Tensor, " N"], Tensor]:
    """(nats that the runner-up is behind the first, its class); infinite where there is one."""
    if log_odds.shape[1] == 1:
        return torch.full((len(log_odds),), math.inf), torch.zeros(
            len(log_odds), 1, dtype=torch.int64
        )
    best = log_odds.topk(2, dim=1)
    return best.values[:, 0] - best.values[:, 1], best.indices[:, 1:]


def _prior(prior: object, classes: int) -> Float64[Tensor, " K"]:
    """Frequencies as shares of 1.

    Raises:
        BadInput: not a frequency, finite and not negative, for each class, or all are 0.
    """
    if prior is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    try:
        if isinstance(prior, str | bytes):
            raise TypeError
        weights = np.array([arguments.scalar(x) for x in prior], dtype=np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise BadInput(f"prior is a number for each class; got {arguments.shown(prior)}") from None
    good = len(weights) == classes and np.isfinite(weights).all() and (weights >= 0).all()
    if not good or not weights.sum() > 0:
        raise BadInput(
            f"prior is a frequency, 0 or more, for each of {classes} classes, not all 0; got "
            f"{len(weights)} numbers, {weights.tolist()[:8]}"
        )
    return torch.from_numpy(weights / weights.sum())


def _described(examples: Examples) -> dict[str, Json]:
    return {
        "name": examples.name,
        "sha256": examples.sha256,
        "split": examples.split,
        **examples.origin,
        "images": len(examples),
        "labels": examples.labels_sha256,
    }

"""A better bound from the same weights: optimal variances, decoder and sub-chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.arguments import flag, seed_of, whole
from nelbo.data import Examples, Images
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, Progress, examine, measuring
from nelbo.estimation.errors import Errors, gaussian_reverse, measured_errors
from nelbo.formats import Pipeline, as_model, keep_improved
from nelbo.gaussian.optimal_subchain import expected_prior_kl, optimal_jumps, optimal_subchains
from nelbo.gaussian.optimal_variance import optimal, shrunk
from nelbo.model import Model, evenly_in, examples_of, improved
from nelbo.results import Unit
from nelbo.typed_json import Json

__all__ = ["Improvement", "held_out", "improve", "optimal_steps", "save"]

CANDIDATES = 250  # steps of the chain among which a sub-chain may choose
IMAGES = 300  # of the training data that the errors are measured on


@final
@dataclass(frozen=True)
class Improvement:
    """The improved model, what a checkpoint keeps of it, and the bound that was predicted for it.

    predicted is in bits/dim, of a density in nats/dim, on the images that it was fitted to: too
    good on average, so measure the model on others.
    """

    model: Model
    plan: Mapping[str, Json]
    table: Float64[Tensor, "steps *dims"]
    predicted: float
    network_evaluations: int


def improve(
    model: Model | str | Path | Pipeline,
    images: object,
    *,
    steps: int | None = None,
    per_dimension: bool = True,
    candidates: int = CANDIDATES,
    seed: int = 0,
    check: bool = True,
    progress: Progress = lambda done, expected, text: None,
) -> Improvement:
    """The best sub-chain of so many steps, with the variances and V_1 that are best for it.

    images: training data as for `evaluate`, of which the seed draws 300. steps: None for the number
    whose bound is predicted to be least. per_dimension: a variance for each t and dimension, not
    for each t. check: as for `evaluate`; the plan says where it was not made.

    Raises:
        BadInput: no Gaussian chain, too few images or candidates, steps outside what was measured;
            a network that fails, or that the check refuses.
        NonFinite: the network gave NaN or infinity; the message names t and the images.
    """
    model, seed, check = as_model(model), seed_of(seed), flag("check", check)
    steps = None if steps is None else whole("steps", steps)
    per_dimension = flag("per_dimension", per_dimension)
    candidates = whole("candidates", candidates, 1)
    gaussian_reverse(model)  # refused before data are read
    _require_measured(steps, min(candidates, model.T))
    some = _some(examples_of(model, images, seed), seed)
    with measuring([model]):
        examine([model], some, Processes(), check)
    errors, evaluator = _measure(model, some, candidates, seed, progress)
    kept, nats = _plan(model, some, errors, steps)
    schedule = gaussian_reverse(model).q.schedule.subchain(kept)
    error = errors.whole if per_dimension else errors.whole.per_time
    own = error.subchain(kept)
    if per_dimension and schedule.T > 1:
        own = shrunk(schedule, [fold.subchain(kept) for fold in errors.folds])
    V_1 = float(errors.V_1[errors.folds[0].t == kept[0]])
    variance = optimal(schedule, own, "beta_1" if V_1 != V_1 else V_1)
    plan: dict[str, Json] = {
        "steps": gaussian_reverse(model).q.schedule.kept[torch.tensor(kept) - 1].tolist(),
        "variance": variance.name,
        "weights": model.weights,
        "images": len(some),
        "data": some.name,
        **({} if check else {"check": "none"}),
    }
    return Improvement(
        improved(model, plan, variance.table),
        plan,
        variance.table,
        Unit.of(model.support).per_dim(nats, model.dims),
        evaluator.done,
    )


def save(path: str | Path, improvement: Improvement, folder: str | Path) -> Path:
    """A folder of the model at the path with the improvement in it; a model like any other.

    A run's is a checkpoint; a diffusers folder's is a diffusers folder, with one file more.

    Raises:
        BadInput: the folder exists, or the path holds another model.
    """
    return keep_improved(path, improvement.model, improvement.plan, improvement.table, folder)


def held_out(images: Images, share: float, seed: int = 0) -> tuple[Images, Images]:
    """(the rest, this share of the images), drawn by the seed, each in the order they were in.

    Raises:
        BadInput: a share that leaves no image on one side.
    """
    count = round(share * len(images))
    if not 0 < count < len(images):
        raise BadInput(
            f"holding out {share:g} of {len(images)} images leaves none on one side: give another "
            "share (--held-out), more images, or others to measure on (--test)"
        )
    mixed = _mixed(len(images), seed)
    return images.subset(mixed[count:].sort().values), images.subset(mixed[:count].sort().values)


def _mixed(count: int, seed: int) -> Int64[Tensor, " N"]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _some(images: Examples, seed: int) -> Examples:
    """At most 300 of them from anywhere: a folder may be sorted by class."""
    return images.subset(_mixed(len(images), seed)[:IMAGES].sort().values)


def optimal_steps(
    model: Model,
    images: Examples,
    steps: int,
    *,
    seed: int = 0,
    progress: Progress = lambda done, expected, text: None,
) -> list[int]:
    """The t of the sub-chain whose bound is least, each jump at its best variance.

    Raises:
        BadInput: as `improve`.
    """
    _require_measured(steps, model.T)
    images = _some(images, seed)
    errors, _ = _measure(model, images, max(CANDIDATES, steps), seed, progress)
    return _plan(model, images, errors, steps)[0]


def _measure(
    model: Model, images: Examples, candidates: int, seed: int, progress: Progress
) -> tuple[Errors, Evaluator]:
    schedule = gaussian_reverse(model).q.schedule
    count = min(candidates, model.T)
    chosen = torch.tensor(evenly_in(schedule.log_snr[1:], count))
    with measuring([model]):
        evaluator = Evaluator([model], images, seed, progress=progress)
        return measured_errors(evaluator, chosen), evaluator


def _require_measured(steps: int | None, most: int) -> None:
    """Refuses more steps than will be measured, before anything is."""
    if steps is not None and not 1 <= steps <= most:
        raise BadInput(f"steps must lie in 1..{most}, those that are measured; got {steps}")


def _plan(
    model: Model, images: Examples, errors: Errors, steps: int | None
) -> tuple[list[int], float]:
    """The t to keep, and the bound predicted for them in nats per image."""
    schedule, error = gaussian_reverse(model).q.schedule, errors.whole.per_time
    mean_square = float(model.x_0(images.values, torch.float64).square().mean())
    prior = expected_prior_kl(schedule, mean_square, model.dims)[error.t - 1]
    most = len(error.t)
    subchains = optimal_subchains(
        error.t, optimal_jumps(schedule, error), errors.decoder, prior, longest=steps or most
    )
    number = steps or subchains.best(most)
    return subchains.steps(number), float(subchains.bounds[number - 1])

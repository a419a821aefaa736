"""A better bound from the same weights: optimal variances, decoder and sub-chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.arguments import flag, seed_of, whole, word
from nelbo.data import Examples, Images
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, Progress, examine, measuring
from nelbo.estimation.errors import Errors, gaussian_reverse, measured_errors
from nelbo.formats import Pipeline, as_model, keep_improved
from nelbo.gaussian.by_value import ByValue, ErrorByValue, optimal_by_value
from nelbo.gaussian.optimal_subchain import expected_prior_kl, optimal_jumps, optimal_subchains
from nelbo.gaussian.optimal_variance import (
    SquaredError,
    cross_validated_dimensions,
    optimal,
    shrunk,
)
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Tabulated
from nelbo.model import Model, evenly_in, examples_of, improved
from nelbo.results import Unit
from nelbo.typed_json import Json

__all__ = ["Improvement", "Per", "held_out", "improve", "optimal_steps", "save"]

CANDIDATES = 250  # steps of the chain among which a sub-chain may choose
IMAGES = 300  # of the training data that the errors are measured on

Per: TypeAlias = Literal["value", "dimension", "time"]
"""What has a variance of its own beside each t."""


@final
@dataclass(frozen=True)
class Improvement:
    """The improved model, what a checkpoint keeps of it, and the bound that was predicted for it.

    predicted is in bits/dim, of a density in nats/dim, on the images that it was fitted to: too
    good on average, so measure the model on others.
    """

    model: Model
    plan: Mapping[str, Json]
    variance: Tabulated | ByValue
    predicted: float
    network_evaluations: int


def improve(
    model: Model | str | Path | Pipeline,
    images: object,
    *,
    steps: int | None = None,
    per: Per | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    check: bool = True,
    progress: Progress = lambda done, expected, text: None,
) -> Improvement:
    """The best sub-chain of so many steps, with the variances and V_1 that are best for it.

    images: training data as for `evaluate`, of which the seed draws 300. steps: None for the number
    whose bound is predicted to be least. per: what has a variance of its own at each t: "value",
    each of 32 intervals of x0-hat; "dimension"; or "time", nothing. None: whichever of the first
    two serves better on images that it was not made from. check: as for `evaluate`; the plan says
    where it was not made.

    Raises:
        BadInput: no Gaussian chain, too few images or candidates, steps outside what was measured;
            a network that fails, or that the check refuses.
        NonFinite: the network gave NaN or infinity; the message names t and the images.
    """
    model, seed, check = as_model(model), seed_of(seed), flag("check", check)
    steps = None if steps is None else whole("steps", steps)
    if per is not None:
        word("per", per, get_args(Per))
    candidates = whole("candidates", candidates, 1)
    gaussian_reverse(model)  # refused before data are read
    _require_measured(steps, min(candidates, model.T))
    some = _some(examples_of(model, images, seed), seed)
    with measuring([model]):
        examine([model], some, Processes(), check)
    errors, evaluator = _measure(model, some, candidates, seed, progress)
    costs = _Costs(model, some, errors)
    kept, nats = costs.plan(errors.whole.per_time, steps)
    per = per or _better(costs.schedule, errors, kept)
    if per == "value":
        kept, nats = costs.plan(errors.by_value, steps)
    variance = _variance(costs.schedule, errors, kept, per)
    plan: dict[str, Json] = {
        "steps": costs.schedule.kept[torch.tensor(kept) - 1].tolist(),
        "variance": variance.name,
        "weights": model.weights,
        "images": len(some),
        "data": some.name,
        **({} if check else {"check": "none"}),
    }
    return Improvement(
        improved(model, plan, variance),
        plan,
        variance,
        Unit.of(model.support).per_dim(nats, model.dims),
        evaluator.done,
    )


def save(path: str | Path, improvement: Improvement, folder: str | Path) -> Path:
    """A folder of the model at the path with the improvement in it; a model like any other.

    A run's is a checkpoint; a diffusers folder's is a diffusers folder, with one file more.

    Raises:
        BadInput: the folder exists, or the path holds another model.
    """
    return keep_improved(path, improvement.model, improvement.plan, improvement.variance, folder)


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
    return _Costs(model, images, errors).plan(errors.whole.per_time, steps)[0]


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


@final
class _Costs:
    """What a sub-chain of the model costs on the images, by the errors that were measured there."""

    def __init__(self, model: Model, images: Examples, errors: Errors) -> None:
        self.schedule, self.errors = gaussian_reverse(model).q.schedule, errors
        mean_square = float(model.x_0(images.values, torch.float64).square().mean())
        prior = expected_prior_kl(self.schedule, mean_square, model.dims)
        self.prior = prior[errors.by_value.t - 1]

    def plan(
        self, error: SquaredError | ErrorByValue, steps: int | None
    ) -> tuple[list[int], float]:
        """The t to keep, and the bound predicted for them in nats per image."""
        most = len(error.t)
        subchains = optimal_subchains(
            error.t,
            optimal_jumps(self.schedule, error),
            self.errors.decoder,
            self.prior,
            longest=steps or most,
        )
        number = steps or subchains.best(most)
        return subchains.steps(number), float(subchains.bounds[number - 1])


def _better(schedule: Schedule, errors: Errors, kept: list[int]) -> Per:
    """Which V_t along these steps serves images better that it was not made from."""
    if len(kept) == 1:
        return "dimension"
    along = schedule.subchain(kept)
    by_value = errors.by_value.subchain(kept).cross_validated(along)
    by_dimension = cross_validated_dimensions(along, [fold.subchain(kept) for fold in errors.folds])
    return "value" if by_value.cost < by_dimension.cost else "dimension"


def _variance(schedule: Schedule, errors: Errors, kept: list[int], per: Per) -> Tabulated | ByValue:
    """The best variance along these steps."""
    V_1 = float(errors.V_1[errors.by_value.t == kept[0]])
    first: float | str = "beta_1" if V_1 != V_1 else V_1
    along = schedule.subchain(kept)
    if per == "value":
        return optimal_by_value(along, errors.by_value.subchain(kept), first)
    error = errors.whole if per == "dimension" else errors.whole.per_time
    own = error.subchain(kept)
    if per == "dimension" and along.T > 1:
        own = shrunk(along, [fold.subchain(kept) for fold in errors.folds])
    return optimal(along, own, first)

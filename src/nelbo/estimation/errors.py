"""A Gaussian model's own squared errors, from which better variances and sub-chains follow."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from nelbo.bound.estimators import Rows
from nelbo.errors import BadInput
from nelbo.estimation.evaluator import Evaluator
from nelbo.gaussian.by_value import ErrorByValue
from nelbo.gaussian.continuous import LikelihoodDecoded
from nelbo.gaussian.decoder import Density, LevelPosterior
from nelbo.gaussian.optimal_variance import SquaredError, optimal_V_1
from nelbo.gaussian.reverse import GaussianReverse
from nelbo.model import Model

__all__ = ["Errors", "gaussian_reverse", "measured_errors"]

FOLDS = 4  # of images, to hold what is fitted to some against the others
HELD = 2**26  # errors of single dimensions that are held at once, of 8 bytes


@final
@dataclass(frozen=True)
class Errors:
    """M_t of each fold of the images at the candidates, and what it costs to end a chain at each.

    decoder: the best E -log p_theta(x_0 | x_s) in nats per image, +inf where it was not looked
    for; V_1 is what reaches it, where the decoder has one. by_value: the same errors by x0-hat.
    """

    folds: list[SquaredError]
    by_value: ErrorByValue
    decoder: Float64[Tensor, " C"]
    V_1: Float64[Tensor, " C"]

    @property
    def whole(self) -> SquaredError:
        """That of all images together."""
        images = torch.tensor([fold.images for fold in self.folds], dtype=torch.float64)
        stacked = torch.stack([fold.mean for fold in self.folds])
        mean = torch.tensordot(images / images.sum(), stacked, 1)
        first = self.folds[0]
        return SquaredError(first.t, mean, first.dims, int(images.sum()))


def gaussian_reverse(model: Model) -> GaussianReverse:
    """The model's p_theta.

    Raises:
        BadInput: it is of another family, whose variance is no choice, or its decoder does not
            ask the network.
    """
    if isinstance(model.chain.p, LikelihoodDecoded):
        raise BadInput(
            f"{model.name} decodes by the level likelihood, which has nothing to improve: train "
            "it with decoder levels or discretized-gaussian"
        )
    if not isinstance(model.chain.p, GaussianReverse):
        raise BadInput(f"{model.name} is no Gaussian chain: it has no variance to improve")
    return model.chain.p


def measured_errors(evaluator: Evaluator, candidates: Int64[Tensor, " C"]) -> Errors:
    """One evaluation of each image at each candidate t, of as many t at a time as memory holds.

    Raises:
        BadInput: no Gaussian chain, fewer images than folds.
        NonFinite: the network gave NaN or infinity; the message names t, the images and the rank.
    """
    gaussian_reverse(evaluator.models[0])
    count = len(evaluator.images)
    if count < FOLDS:
        raise BadInput(f"improving takes at least {FOLDS} images; got {count}")
    evaluator.expected = count * len(candidates)
    at_once = max(1, HELD // (count * evaluator.models[0].dims))
    least = int(candidates[0])
    parts = [_measured(evaluator, some, least) for some in candidates.split(at_once)]
    return Errors(
        [SquaredError.joined(folds) for folds in zip(*(e.folds for e in parts), strict=True)],
        ErrorByValue.joined([e.by_value for e in parts]),
        torch.cat([e.decoder for e in parts]),
        torch.cat([e.V_1 for e in parts]),
    )


def _measured(evaluator: Evaluator, candidates: Int64[Tensor, " C"], least: int) -> Errors:
    """The errors at some t, all of them at once; least: of all t, where a chain may end anyhow."""
    model, count = evaluator.models[0], len(evaluator.images)
    p = gaussian_reverse(model).given(*evaluator.chains[0].p.condition)
    t = candidates.repeat_interleave(count)
    rows = Rows(torch.arange(count).repeat(len(candidates)), t, torch.zeros_like(t), t.double())
    key = evaluator.key.draw(torch.full((count,), -1))

    def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
        image, t = rows.image[row], rows.t[row]
        x_0 = model.x_0(evaluator.images.values[image], torch.float64)
        x_t = model.arithmetic.state(model.chain, x_0, t, key.rows(image).at(t))
        prediction = p.rows(image).predict_precisely(x_t, t)
        difference = evaluator.finite((prediction.x_0 - x_0).flatten(1), t, image, "x0-hat")
        nats = difference.new_zeros(len(row))
        if isinstance(p.emission, LevelPosterior):
            nats = -p.emission(prediction).log_prob(x_0).double().cpu()
        return [difference, nats]

    difference, nats = evaluator.ask(0, len(rows), compute)
    difference = difference.reshape(len(candidates), count, model.dims)
    x_0 = model.x_0(evaluator.images.values, torch.float64).flatten(1).cpu()
    by_value = ErrorByValue.measured(candidates, x_0, difference, FOLDS)
    folds = [
        SquaredError(
            candidates,
            difference[:, fold::FOLDS].square().mean(1).reshape(-1, *model.shape),
            model.dims,
            len(range(fold, count, FOLDS)),
        )
        for fold in range(FOLDS)
    ]
    if isinstance(p.emission, LevelPosterior):
        costs = nats.reshape(len(candidates), count).mean(1)
        return Errors(folds, by_value, costs, torch.full_like(costs, torch.nan))
    if isinstance(p.emission, Density):
        return Errors(folds, by_value, *_density(model.dims, difference))
    clear = (p.q.schedule.log_snr[candidates] > 0) | (candidates == least)
    return Errors(folds, by_value, *_discretized(evaluator, x_0, difference, clear))


def _density(
    dims: int, difference: Float64[Tensor, "C N D"]
) -> tuple[Float64[Tensor, " C"], Float64[Tensor, " C"]]:
    """(log(2 pi M_s) + 1) / 2 per dimension, at V_1 = M_s: E -log N(x_0; x0-hat(x_s), V_1)."""
    V_1 = difference.square().mean((1, 2)).clamp(min=torch.finfo(torch.float64).tiny)
    return 0.5 * dims * ((2 * math.pi * V_1).log() + 1), V_1


def _discretized(
    evaluator: Evaluator,
    x_0: Float64[Tensor, "N D"],
    difference: Float64[Tensor, "C N D"],
    clear: Bool[Tensor, " C"],
) -> tuple[Float64[Tensor, " C"], Float64[Tensor, " C"]]:
    """The decoder's cost at its best V_1, where x_s says more than it hides."""
    model = evaluator.models[0]
    levels = evaluator.images.values.flatten(1).long()
    costs = torch.full(clear.shape, torch.inf, dtype=torch.float64)
    V_1 = torch.full_like(costs, torch.nan)
    for place in clear.nonzero()[:, 0].tolist():
        optimum = optimal_V_1(levels, x_0 + difference[place], model.grid)
        costs[place], V_1[place] = model.dims * optimum.nats, optimum.V_1
    return costs, V_1

"""What each position of an example costs, along one path of a masked chain."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.chain import constant_time
from nelbo.bound.noise import Noise
from nelbo.categorical.masked import MaskedReverse, seen
from nelbo.estimation.evaluator import Evaluator
from nelbo.types import Batch

__all__ = ["nats_of_positions"]


def nats_of_positions(evaluator: Evaluator) -> Float64[Tensor, "N *dims"]:
    """-log p(x_i | what is revealed before i) in one order of each example; 0 where x_i is shown.

    The sum over positions is the example's -log p in that order, whose mean over orders is the
    bound of the chain. The model is of a masked chain: of any order, or of one.

    Raises:
        NonFinite: one is NaN or infinite.
    """
    model = evaluator.models[0]

    def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
        x_0 = model.x_0(evaluator.images.values[row], torch.float64)
        values = _along_a_path(evaluator, row, x_0, evaluator.key.rows(row))
        t = torch.ones_like(row)
        return [evaluator.finite(values.flatten(1), t, row, "-log p of a position")]

    evaluator.cost = model.T
    evaluator.expected = len(evaluator.images) * model.T
    values = evaluator.ask(0, len(evaluator.images), compute)[0]
    return values.reshape(len(values), *model.shape)


def _along_a_path(evaluator: Evaluator, row: Tensor, x_0: Batch, noise: Noise) -> Tensor:
    """The cost of each position at the step that reveals it; the numbers are `trajectory`'s."""
    chain = evaluator.chains[0].rows(row)
    assert isinstance(chain.p, MaskedReverse)
    total, x_prev = torch.zeros(x_0.shape, dtype=torch.float64, device=x_0.device), x_0
    for number in range(1, chain.q.T + 1):
        t = constant_time(number, x_0)
        x_t = chain.q.step(x_prev, t).sample(noise.at(t))
        log_p = chain.p.predicted(x_t, t).log_mass(seen(x_0))
        total -= torch.where(x_t != x_prev, log_p.double(), 0)
        x_prev = x_t
    return total

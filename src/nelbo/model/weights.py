"""The weights of a model as an optimiser sees them."""

import math

import torch
from torch import nn

from nelbo.model.model import Model

__all__ = ["clip_gradients", "parameter_groups"]


def parameter_groups(model: Model, weight_decay: float) -> list[dict[str, object]]:
    """The network's weights, then each group of `model.apart`, which is not decayed.

    A learned schedule's weights have no reason to be small.
    """
    apart = {id(weight) for group in model.apart for weight in group}
    rest = [weight for weight in model.network.parameters() if id(weight) not in apart]
    groups = [(rest, weight_decay), *((list(group), 0.0) for group in model.apart)]
    return [{"params": weights, "weight_decay": decay} for weights, decay in groups]


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float) -> float:
    """Clips the gradient of each group by itself; the norm of all of them before."""
    return math.hypot(*(_clip(group["params"], limit) for group in optimizer.param_groups))


def _clip(weights: list[nn.Parameter], limit: float) -> float:
    total = nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
    norm = float(total)
    if not norm < 0.999 * limit:  # below it every factor is 1
        nn.utils.clip_grads_with_norm_(weights, limit, total)
    return norm

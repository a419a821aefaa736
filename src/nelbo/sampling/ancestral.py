"""Exact ancestral samples: x_T from the prior, every step drawn, x_0 drawn from the decoder."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nelbo.bound.chain import ReverseProcess, constant_time
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Block, KeyedNoise, Noise
from nelbo.categorical.distribution import Categorical
from nelbo.errors import BadInput, NonFinite
from nelbo.model import Model
from nelbo.model.condition import NOTHING
from nelbo.model.model import Step
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.types import Batch

__all__ = ["ancestral"]


def ancestral(
    model: Model,
    count: int,
    *,
    seed: int = 0,
    label: int | None = None,
    conditions: Mapping[str, Tensor] = NOTHING,
    given: Tensor | None = None,
) -> Iterator[tuple[int, Batch]]:
    """(t, x_t) of `count` draws along the reverse chain, t = T..0, as `sample` takes them.

    given: (count, *shape), of a masked chain, where what is shown is kept and the rest is drawn.

    Raises:
        BadInput: count < 1; a label of a model without classes, or one that it has not.
        NonFinite: the network gave NaN or infinity; the message names t and the samples.
    """
    if count < 1:
        raise BadInput(f"the number of samples must be at least 1; got {count}")
    p = model.chain.p.given(*_condition(model, count, label, conditions))
    noise = KeyedNoise.of(seed, torch.arange(count))
    like = torch.empty(count, *model.shape, dtype=torch.float32, device=model.device)
    like = like if given is None else given.to(model.device)
    x = p.prior(like).sample(noise.at(constant_time(model.T + 1, like)))
    yield model.T, x
    step, length = model.step(p, x), Block.length(x.numel())
    for last in range(model.T, 0, -length):
        times = range(last, max(last - length, 0), -1)
        states, checked = [], []
        with evaluating(model.network), without_gradients(model.device):
            for t, at_t in zip(times, _noises(noise, times), strict=True):
                x, number = _drawn(p, step, x, t, at_t)
                states.append(x)
                checked.append(number)
        _require_finite(checked, times)
        yield from ((t - 1, state) for t, state in zip(times, states, strict=True))


def _drawn(
    p: ReverseProcess[StepDistribution], step: Step, x: Batch, t: int, noise: Noise
) -> tuple[Batch, Tensor]:
    """x_{t-1} given x_t, and what is NaN where the network gave it.

    Real numbers are NaN themselves; states never are, so it is the mass of their distributions, 1.
    """
    if t > 1 and x.is_floating_point():
        x = step(x, t, noise)
        return x, x
    distribution = p.step(x, constant_time(t, x)) if t > 1 else p.decoder(x)
    x = distribution.sample(noise)
    return x, distribution.log_probs.exp().sum(-1) if isinstance(distribution, Categorical) else x


def _noises(noise: KeyedNoise, times: Sequence[int]) -> list[Noise]:
    """The noise at each of the times, made together."""
    count = len(noise.key)
    repeated = KeyedNoise(noise.key.repeat(len(times)))
    block = Block(repeated, torch.tensor(times).repeat_interleave(count))
    parts = [block.part(slice(k * count, (k + 1) * count)) for k in range(len(times))]
    return [part.at(part.t) for part in parts]


def _require_finite(numbers: Sequence[Batch], times: Sequence[int]) -> None:
    """Of the draws at each of the times; a sum on the device, one transfer for all of them."""
    together = torch.stack(list(numbers))
    if together.sum().isfinite():  # one number, which no more than overflow could make infinite
        return
    finite = together.isfinite().flatten(2).all(2)
    if not finite.all():
        place = int((~finite).any(1).nonzero()[0])
        bad = (~finite[place]).nonzero()[:, 0].tolist()
        raise NonFinite(f"samples {bad[:5]} are not finite at t = {times[place]} (rank 0)")


def _condition(
    model: Model, count: int, label: int | None, conditions: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    """What p_theta is given with the samples: one class, or each in turn."""
    if label is None:
        turns = torch.arange(count) % (model.classes or 1)
        return model.condition(turns, "the samples", conditions)
    if model.classes is None:
        raise BadInput(f"{model.name} has no classes, so none can be chosen: it is a model of p(x)")
    return model.condition(torch.full((count,), label), "the samples", conditions)

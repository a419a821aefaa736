"""Exact ancestral samples: x_T from the prior, every step drawn, x_0 drawn from the decoder."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nelbo.bound.chain import constant_time
from nelbo.bound.noise import Block, KeyedNoise, Noise
from nelbo.categorical.distribution import Categorical
from nelbo.errors import BadInput, NonFinite
from nelbo.model import Model
from nelbo.model.model import NOTHING
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
) -> Iterator[tuple[int, Batch]]:
    """(t, x_t) of `count` draws along the reverse chain, t = T..0, as `sample` takes them.

    Raises:
        BadInput: count < 1; a label of a model without classes, or one that it has not.
        NonFinite: the network gave NaN or infinity; the message names t and the samples.
    """
    if count < 1:
        raise BadInput(f"the number of samples must be at least 1; got {count}")
    p = model.chain.p.given(*_condition(model, count, label, conditions))
    noise = KeyedNoise.of(seed, torch.arange(count))
    like = torch.empty(count, *model.shape, dtype=torch.float32, device=model.device)
    x = p.prior(like).sample(noise.at(constant_time(model.T + 1, like)))
    yield model.T, x
    step, length = model.step(p, x), Block.length(x.numel())
    for last in range(model.T, 0, -length):
        times = range(last, max(last - length, 0), -1)
        states, numbers = [], []
        with evaluating(model.network), without_gradients(model.device):
            for t, at_t in zip(times, _noises(noise, times), strict=True):
                if t > 1 and x.is_floating_point():
                    x = step(x, t, at_t)
                    number = x
                else:
                    drawn = p.step(x, constant_time(t, x)) if t > 1 else p.decoder(x)
                    x = drawn.sample(at_t)
                    number = _mass(drawn) if isinstance(drawn, Categorical) else x
                states.append(x)
                numbers.append(number)
        _require_finite(numbers, times)
        yield from ((t - 1, state) for t, state in zip(times, states, strict=True))


def _mass(drawn: Categorical) -> Tensor:
    """1 for each state that was drawn; NaN, which no state can be, where the network gave it."""
    return drawn.log_probs.exp().sum(-1)


def _noises(noise: KeyedNoise, times: Sequence[int]) -> list[Noise]:
    """The noise at each of the times, made together."""
    count = len(noise.key)
    repeated = KeyedNoise(noise.key.repeat(len(times)))
    block = Block(repeated, torch.tensor(times).repeat_interleave(count))
    parts = [block.part(slice(k * count, (k + 1) * count)) for k in range(len(times))]
    return [part.at(part.t) for part in parts]


def _require_finite(states: Sequence[Batch], times: Sequence[int]) -> None:
    together = torch.stack(list(states))
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
    if label is None:
        turns = torch.arange(count) % (model.classes or 1)
        return model.condition(turns, "the samples", conditions)
    if model.classes is None:
        raise BadInput(f"{model.name} has no classes, so none can be chosen: it is a model of p(x)")
    return model.condition(torch.full((count,), label), "the samples", conditions)

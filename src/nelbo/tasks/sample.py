"""Exact ancestral samples: x_T from the prior, every step drawn, x_0 drawn from the decoder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.arguments import flag, shown, whole
from nelbo.bound.chain import constant_time
from nelbo.bound.noise import Block, KeyedNoise, Noise
from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput, NonFinite
from nelbo.measure import Processes, examine, measuring
from nelbo.model import Model
from nelbo.model.model import NOTHING
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.pretrained import Pipeline, as_model
from nelbo.report.pictures import picture_grid
from nelbo.types import Batch

__all__ = ["Progress", "ancestral", "encoder", "sample"]

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, "")."""


def sample(
    model: Model | str | Path | Pipeline,
    count: int,
    *,
    seed: int = 0,
    label: int | None = None,
    conditions: Mapping[str, Tensor] | None = None,
    check: bool = True,
    progress: Progress = lambda done, expected, text: None,
) -> Int64[Tensor, "N C H W"]:
    """`count` draws from p_theta(x_0), as levels; T network evaluations each.

    Image i depends on (seed, i) alone, not on how many are drawn with it (up to the network's
    own arithmetic in other batch shapes). A model of p(x | class) draws the class `label`, or
    without one each class in turn: image i is of class i modulo their number. conditions: what else
    the model is given, a row for each sample. check: as for
    `evaluate`; a sample is of p_theta only where no other is in it.

    Raises:
        BadInput: count < 1; a label of a model without classes, or one that it has not; a network
            that fails, or that the check refuses.
        NonFinite: the network gave NaN or infinity; the message names t and the samples.
    """
    model, count = as_model(model), whole("count", count)
    seed, label = whole("seed", seed), None if label is None else whole("label", label)
    rows = _rows(conditions, count)
    with measuring([model]):
        examine([model], None, Processes(), flag("check", check), rows)
    last = torch.empty(0)
    for t, x_t in ancestral(model, count, seed=seed, label=label, conditions=rows):
        progress(model.T - t, model.T, "")
        last = x_t
    return model.levels(last).cpu()


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
        states = []
        with evaluating(model.network), without_gradients(model.device):
            for t, at_t in zip(times, _noises(noise, times), strict=True):
                x = step(x, t, at_t) if t > 1 else p.decoder(x).sample(at_t)
                states.append(x)
        _require_finite(states, times)
        yield from ((t - 1, state) for t, state in zip(times, states, strict=True))


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


def _rows(conditions: object, count: int) -> Mapping[str, Tensor]:
    """A row of each condition for each sample."""
    if conditions is None:
        return NOTHING
    if not isinstance(conditions, Mapping):
        raise BadInput(f"the samples: conditions are tensors by name; got {shown(conditions)}")
    rows = {name: tensor_of("the samples", str(name), x) for name, x in conditions.items()}
    for name, x in rows.items():
        if x.ndim == 0 or len(x) != count:
            raise BadInput(
                f"{name} needs a row for each of {count} samples; got shape {tuple(x.shape)}"
            )
    return rows


def _condition(
    model: Model, count: int, label: int | None, conditions: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    if label is None:
        turns = torch.arange(count) % (model.classes or 1)
        return model.condition(turns, "the samples", conditions)
    if model.classes is None:
        raise BadInput(f"{model.name} has no classes, so none can be chosen: it is a model of p(x)")
    return model.condition(torch.full((count,), label), "the samples", conditions)


def encoder(path: Path) -> Callable[[Tensor, int], bytes]:
    """What makes a file's bytes of (levels, n): .png one picture of all, .npy the array of levels.

    Raises:
        BadInput: another suffix, or no such folder.
    """
    encoders = {
        ".png": lambda levels, n: picture_grid(levels, n, scale=_scale(levels)),
        ".npy": _npy,
    }
    if path.suffix not in encoders:
        raise BadInput(f"{path}: samples are written as .png or .npy; got {path.suffix or 'none'}")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path}: its folder does not exist; make it first")
    return encoders[path.suffix]


def _scale(levels: Tensor) -> int:
    """Small images are drawn large enough to look at."""
    return max(1, 64 // levels.shape[-1])


def _npy(levels: Tensor, n: int) -> bytes:
    buffer = BytesIO()
    np.save(buffer, levels.numpy().astype(np.uint8 if n <= 256 else np.uint16))
    return buffer.getvalue()

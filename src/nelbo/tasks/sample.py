"""Exact ancestral samples: x_T from the prior, every step drawn, x_0 drawn from the decoder."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.bound.chain import constant_time
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput, NonFinite
from nelbo.model import Model
from nelbo.networks.mode import evaluating
from nelbo.report import picture_grid

__all__ = ["Progress", "encoder", "sample"]

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, "")."""


def sample(
    model: Model,
    count: int,
    *,
    seed: int = 0,
    label: int | None = None,
    progress: Progress = lambda done, expected, text: None,
) -> Int64[Tensor, "N C H W"]:
    """`count` draws from p_theta(x_0), as levels; T network evaluations each.

    Image i depends on (seed, i) alone, not on how many are drawn with it (up to the network's
    own arithmetic in other batch shapes). A model of p(x | class) draws the class `label`, or
    without one each class in turn: image i is of class i modulo their number.

    Raises:
        BadInput: count < 1; a label of a model without classes, or one that it has not.
        NonFinite: the network gave NaN or infinity; the message names t and the samples.
    """
    if count < 1:
        raise BadInput(f"the number of samples must be at least 1; got {count}")
    p = model.chain.p.given(*_condition(model, count, label))
    noise = KeyedNoise.of(seed, torch.arange(count))
    with evaluating(model.network), torch.inference_mode():
        like = torch.empty(count, *model.shape, device=model.device)
        x = p.prior(like).sample(noise.at(constant_time(model.T + 1, like)))
        for t in range(model.T, 0, -1):
            time = constant_time(t, x)
            conditional = p.step(x, time) if t > 1 else p.decoder(x)
            x = conditional.sample(noise.at(time))
            progress(model.T - t + 1, model.T, "")
            if not x.isfinite().all():
                bad = (~x.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
                raise NonFinite(f"samples {bad[:5]} are not finite at t = {t} (rank 0)")
    return model.levels(x).cpu()


def _condition(model: Model, count: int, label: int | None) -> tuple[Tensor, ...]:
    if label is None:
        turns = torch.arange(count) % (model.classes or 1)
        return model.condition(turns, "the samples")
    if model.classes is None:
        raise BadInput(f"{model.name} has no classes, so none can be chosen: it is a model of p(x)")
    return model.condition(torch.full((count,), label), "the samples")


def encoder(path: Path) -> Callable[[Tensor, int], bytes]:
    """What makes a file's bytes of (levels, n): .png one picture of all, .npy the array of levels.

    Raises:
        BadInput: another suffix, no such folder, or something is there already.
    """
    encoders = {
        ".png": lambda levels, n: picture_grid(levels, n, scale=_scale(levels)),
        ".npy": _npy,
    }
    if path.suffix not in encoders:
        raise BadInput(f"{path}: samples are written as .png or .npy; got {path.suffix or 'none'}")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path}: its folder does not exist; make it first")
    if path.exists():
        raise BadInput(f"{path} exists already and is left as it is: choose another name")
    return encoders[path.suffix]


def _scale(levels: Tensor) -> int:
    """Small images are drawn large enough to look at."""
    return max(1, 64 // levels.shape[-1])


def _npy(levels: Tensor, n: int) -> bytes:
    buffer = BytesIO()
    np.save(buffer, levels.numpy().astype(np.uint8 if n <= 256 else np.uint16))
    return buffer.getvalue()

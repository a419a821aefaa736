"""The bound of a batch by one network evaluation for each example, to train by."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from nelbo.arguments import instance, shown
from nelbo.bound.estimators import low_discrepancy_times
from nelbo.bound.noise import KeyedNoise
from nelbo.data import Examples
from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput
from nelbo.model.condition import NOTHING
from nelbo.model.model import Model
from nelbo.types import Nats, Reals

__all__ = ["loss"]


def _batch(model: Model, levels: object) -> Tensor:
    """A batch as a tensor: integers for levels, floats for real numbers.

    Raises:
        BadInput: no tensor or array, or numbers of the other kind, which stand for something else.
    """
    x = tensor_of("the batch", "levels", levels) if isinstance(levels, np.ndarray) else levels
    if not isinstance(x, Tensor):
        raise BadInput(f"loss takes a batch as a tensor or an array; got {shown(levels)}")
    wanted = isinstance(model.support, Reals)
    if x.is_floating_point() != wanted or x.dtype == torch.bool or x.is_complex():
        kind = "real numbers, floats" if wanted else f"levels, integers 0..{model.grid.n - 1}"
        raise BadInput(f"{model.name} is of {kind}; got {x.dtype}")
    return x


def loss(
    model: Model,
    levels: Tensor | NDArray[np.generic] | Examples,
    generator: torch.Generator | None = None,
    *,
    labels: Int64[Tensor, " B"] | None = None,
    conditions: Mapping[str, Tensor] = NOTHING,
) -> Nats:
    """An unbiased estimate of L for each image, one network evaluation each, to train by.

    levels: (B, C, H, W) integers, or points (B, *dims), or Images, Points; nats per image, with a
    gradient. Times are spread evenly over the batch; randomness comes from the generator, or
    torch's own. labels: of a model of p(x | class), which are its images'; conditions: what else a
    model is given of each.

    Raises:
        BadInput: images of another shape; no labels of a model of classes, or others than it has.
    """
    instance("model", model, Model)  # type: ignore[type-abstract]
    if generator is not None:
        instance("generator", generator, torch.Generator)
    if isinstance(levels, Examples):
        labels = levels.labels if labels is None else labels
        conditions = conditions or levels.conditions
        levels = levels.values
    x_0 = model.x_0(_batch(model, levels))
    seed = int(torch.randint(2**62, (), generator=generator))
    offset = float(torch.rand((), generator=generator, dtype=torch.float64))
    t = low_discrepancy_times(model.T, len(x_0), offset)
    condition = model.condition(labels, "the batch", conditions)
    if any(len(rows) != len(x_0) for rows in condition):
        counts = ", ".join(str(len(rows)) for rows in condition)
        raise BadInput(f"the batch has {len(x_0)} examples and its conditions {counts} rows")
    chain = model.chain.given(*condition)
    return model.one_time(chain, x_0, t, KeyedNoise.of(seed, torch.arange(len(x_0))))

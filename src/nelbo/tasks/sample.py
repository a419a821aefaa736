"""Exact ancestral samples of a model, as levels or as a file."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.arguments import flag, shown, whole
from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput
from nelbo.estimation import Processes, examine, measuring
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model
from nelbo.model.condition import NOTHING
from nelbo.sampling.ancestral import ancestral

__all__ = ["Progress", "sample"]

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
    the model is given, (N, ...), a row for each sample. check: as for `evaluate`; a sample is of
    p_theta only where no other is in it.

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

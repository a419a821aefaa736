"""Exact ancestral samples of a model, as levels or as a file."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo import arguments
from nelbo.arguments import flag, seed_of, whole
from nelbo.categorical.autoregressive import Autoregressive
from nelbo.categorical.masked import MaskedForward, seen, shown
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
    given: Tensor | None = None,
    check: bool = True,
    progress: Progress = lambda done, expected, text: None,
) -> Int64[Tensor, "N *dims"]:
    """`count` draws from p_theta(x_0), as levels; T network evaluations each.

    Image i depends on (seed, i) alone, not on how many are drawn with it (up to the network's
    own arithmetic in other batch shapes). A model of p(x | class) draws the class `label`, or
    without one each class in turn: image i is of class i modulo their number. conditions: what else
    the model is given, (N, ...), a row for each sample. given: of a masked model, one example
    (*dims) in which -1 - v stands for a value v that is kept, such as one of a prompt; the
    others are drawn. check: as for `evaluate`; a sample is of
    p_theta only where no other is in it.

    Raises:
        BadInput: count < 1; a label of a model without classes, or one that it has not; something
            given that is no example of a masked model; a network that fails, or that the check
            refuses.
        NonFinite: the network gave NaN or infinity; the message names t and the samples.
    """
    model, count = as_model(model), whole("count", count)
    seed, label = seed_of(seed), None if label is None else whole("label", label)
    rows, kept = _rows(conditions, count), None if given is None else _kept(model, given, count)
    with measuring([model]):
        examine([model], None, Processes(), flag("check", check), rows)
    last = torch.empty(0)
    path = ancestral(model, count, seed=seed, label=label, conditions=rows, given=kept)
    for t, x_t in path:
        progress(model.T - t, model.T, "")
        last = x_t
    return seen(model.levels(last)).cpu()


def _kept(model: Model, given: object, count: int) -> Tensor:
    """What each sample begins with.

    Raises:
        BadInput: the model is none that shows positions, or what is given is none of its examples.
    """
    if not isinstance(model.chain.q, MaskedForward):
        raise BadInput(
            f"{model.name} draws all of an example anew: only a masked model, in any order or in "
            "one, keeps what is given"
        )
    example = tensor_of("the samples", "what is given", given)
    n = model.grid.n
    whole_numbers = not example.is_floating_point() and example.dtype != torch.bool
    fits = whole_numbers and tuple(example.shape) == model.shape
    if not fits or int(example.min()) < -n or int(example.max()) >= n:
        raise BadInput(
            f"what is given is one example of shape {list(model.shape)}, integers 0..{n - 1}, and "
            f"-1 - v for a value v that is kept; got {example.dtype} {list(example.shape)}"
        )
    later = (example[1:] < 0) & (example[:-1] >= 0) if example.ndim == 1 else torch.zeros(1)
    if isinstance(model.chain.p, Autoregressive) and bool(later.any()):
        raise BadInput(
            f"{model.name} reads from left to right and does not see what follows a gap: give it a "
            "beginning (--prompt), or a masked model a text with gaps"
        )
    mask = model.settings.notes.get("mask")
    if mask is not None and bool((example == shown(torch.tensor(mask))).any()):
        raise BadInput(
            f"what is given shows the symbol {mask}, which {model.name} has for its mask: no text "
            "holds it; leave it out"
        )
    return example.long().expand(count, *model.shape)


def _rows(conditions: object, count: int) -> Mapping[str, Tensor]:
    """A row of each condition for each sample."""
    if conditions is None:
        return NOTHING
    if not isinstance(conditions, Mapping):
        given = arguments.shown(conditions)
        raise BadInput(f"the samples: conditions are tensors by name; got {given}")
    rows = {name: tensor_of("the samples", str(name), x) for name, x in conditions.items()}
    for name, x in rows.items():
        if x.ndim == 0 or len(x) != count:
            raise BadInput(
                f"{name} needs a row for each of {count} samples; got shape {tuple(x.shape)}"
            )
    return rows

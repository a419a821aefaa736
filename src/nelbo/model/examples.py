"""What a model measures, from whatever it is given: levels, real numbers, or images to encode."""

import os

import torch

from nelbo.categorical.autoregressive import Autoregressive
from nelbo.categorical.masked import MaskedReverse, seen
from nelbo.data import (
    Examples,
    Images,
    Points,
    Tokens,
    as_images,
    as_points,
    as_tokens,
    load_for,
)
from nelbo.errors import BadInput
from nelbo.model.model import Model
from nelbo.typed_json import known_of
from nelbo.types import Grid

__all__ = ["examples_of"]


def examples_of(model: Model, data: object, seed: int = 0, *, labelled: bool = True) -> Examples:
    """The data as the model's kind: images for a grid, else points, images through its encoder.

    data: Images, Points, a spec or path as `nelbo.data.load` takes it, a tensor or array; of
    levels, of numbers on the model's grid, or of real numbers. seed: of the encoder's noise.
    labelled: whether a model of classes needs the labels of these data.

    Raises:
        BadInput: data of another kind, number of levels or shape: levels have no density, and real
            numbers no bits; no labels where the model has classes, or no condition that it needs.
    """
    if isinstance(data, str | os.PathLike):
        labels = model.classes is not None
        shape, alphabet = model.shape, model.alphabet
        data = load_for(model.support, data, labels=labels, shape=shape, alphabet=alphabet)
    examples = (
        _levels(model, data) if isinstance(model.support, Grid) else _reals(model, data, seed)
    )
    model.x_0(examples.values[:1])
    if labelled or examples.labels is not None:
        model.condition_of(examples)
    return examples


def _levels(model: Model, data: object) -> Images | Tokens:
    n = model.grid.n
    if isinstance(data, Tokens) or (len(model.shape) == 1 and not isinstance(data, Examples)):
        return _tokens(model, data)
    if isinstance(data, Points):
        raise BadInput(
            f"{data.name} are real numbers and the model is of {n} levels: there are no bits of "
            "real numbers; give the integers, or declare the model's data continuous "
            "(decoder density)"
        )
    images = data if isinstance(data, Images) else as_images(data, n=n, grid=model.grid)
    if images.n != n:
        raise BadInput(f"the model is of {n} levels, {images.name} has {images.n}")
    return images


def _tokens(model: Model, data: object) -> Tokens:
    """Text, for a model that has a use for it.

    Raises:
        BadInput: of another number of symbols; symbols that are shown, to a chain that would mask
            them; a symbol that the model has for its mask.
    """
    tokens = as_tokens(data, n=model.grid.n)
    if bool((tokens.levels < 0).any()) and not isinstance(
        model.chain.p, MaskedReverse | Autoregressive
    ):
        raise BadInput(
            f"{tokens.name} has symbols that are shown, and the chain of {model.name} hides them "
            "like any other: measure it in any order or in one (--continuous, --calls, --order)"
        )
    counted = (tokens.levels >= 0).int()
    runs = (counted.diff(dim=1, prepend=torch.zeros_like(counted[:, :1])) > 0).sum(1)
    if isinstance(model.chain.p, Autoregressive) and bool((runs > 1).any()):
        raise BadInput(
            f"{tokens.name} shows symbols between those that are counted, and {model.name} reads "
            "from left to right: it does not see what follows"
        )
    mask = known_of(model.settings.notes.get("mask"))
    if mask is not None and bool((seen(tokens.levels) == mask).any()):
        row = int((seen(tokens.levels) == mask).any(1).nonzero()[0])
        raise BadInput(
            f"{tokens.source(row)}: holds the symbol {mask}, which {model.name} has for its mask: "
            "a text in which it stands has no probability; take it out"
        )
    return tokens


def _reals(model: Model, data: object, seed: int) -> Points:
    if not isinstance(data, Images):
        return as_points(data)
    return model.encode(data, seed)

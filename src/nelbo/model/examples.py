"""What a model measures, from whatever it is given: levels, real numbers, or images to encode."""

import os

from nelbo.data import Examples, Images, Points, as_images, as_points, load_for
from nelbo.errors import BadInput
from nelbo.model.model import Model
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
        data = load_for(model.support, data, labels=model.classes is not None)
    found = _levels(model, data) if isinstance(model.support, Grid) else _reals(model, data, seed)
    model.x_0(found.values[:1])
    if labelled or found.labels is not None:
        model.condition_of(found)
    return found


def _levels(model: Model, data: object) -> Images:
    n = model.grid.n
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


def _reals(model: Model, data: object, seed: int) -> Points:
    if not isinstance(data, Images):
        return as_points(data)
    if model.encode is None:
        raise BadInput(
            f"{model.name} has a density of real numbers, and {data.name} has integers, the levels "
            f"0..{data.n - 1}, whose bits/dim it does not have: give floats, such as latents in a "
            ".npy file"
        )
    return model.encode(data, seed, model.device)

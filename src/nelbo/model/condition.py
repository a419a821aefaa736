"""What p_theta is given of each example: its class, and other rows by name."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput

__all__ = ["NOTHING", "labels_in", "missing_condition"]

NOTHING: Mapping[str, Tensor] = MappingProxyType({})


def labels_in(model: str, classes: int, labels: Tensor | None, name: str) -> Tensor:
    """The labels of the examples of that name, one whole number in 0..classes-1 for each.

    Raises:
        BadInput: there are none, or one that is none of the model's classes.
    """
    if labels is None:
        raise BadInput(
            f"{model} is a model of p(x | class) and {name} has no labels: give data that have "
            "them (digits, mnist:DIR, cifar10:DIR, a .npz or .arrow with labels beside images; in "
            "Python nelbo.data.load(spec, labels=True))"
        )
    labels = tensor_of(name, "labels", labels)
    if labels.is_floating_point() or labels.ndim != 1:
        raise BadInput(
            f"{name}: labels are one whole number for each image, counted from 0; got "
            f"{labels.dtype} {tuple(labels.shape)}"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        label = int(labels[(labels < 0) | (labels >= classes)][0])
        raise BadInput(f"{model} has the classes 0..{classes - 1}, and {name} the label {label}")
    return labels


def missing_condition(model: str, given: str, missing: str, name: str) -> BadInput:
    """That the examples of that name have no rows of a condition."""
    return BadInput(
        f"{model} is a model of p(x | {given}) and {name} has no {missing}: give a row for each "
        f"image, nelbo.data.as_images(images, conditions={{'{missing}': tensor}})"
    )

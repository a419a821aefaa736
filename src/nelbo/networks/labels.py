"""A class label for each image, to networks that are made for so many classes."""

from jaxtyping import Int64
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["check_label"]


def check_label(classes: int | None, label: Int64[Tensor, " B"] | None) -> None:
    """Nothing is guessed: a network of classes receives a label of each image, another is not.

    Raises:
        BadInput: one without the other.
    """
    if classes is not None and label is None:
        raise BadInput(
            f"a network of {classes} classes needs the label of each image: "
            "give them to its chain, model.chain.given(labels)"
        )
    if classes is None and label is not None:
        raise BadInput("labels were given to a network without classes: leave them out")

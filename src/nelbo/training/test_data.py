"""A look at what a run will be measured on, before it is trained: hours later is too late."""

import hashlib
from collections.abc import Iterator

from nelbo.data import Discrete, load
from nelbo.errors import BadInput
from nelbo.model import Model
from nelbo.recipe import Recipe

__all__ = ["looked_at"]


def looked_at(recipe: Recipe, training: Discrete, model: Model) -> list[str]:
    """Warnings, each a line: test images that are trained on, pixels that a decoder made up.

    Raises:
        BadInput: the test data cannot be read, or are not of the training data's shape and levels.
    """
    labels = recipe.network.classes is not None
    test = load(recipe.data.test, levels=recipe.data.levels, labels=labels)
    wanted, shape = (tuple(x.levels.shape[1:]) for x in (training, test))
    if (shape, test.n) != (wanted, training.n):
        raise BadInput(
            f"{recipe.data.test}: the test images are {shape} of {test.n} levels, and those of "
            f"{recipe.data.train} {wanted} of {training.n}: measure on data of one form "
            "(data.test, --test-data)"
        )
    model.condition(test.labels, test.name)
    warnings = [
        f"{each.name}: pixels of {each.origin['decoded']}; another decoder may give others"
        for each in (training, test)
        if "decoded" in each.origin
    ]
    known = set(_digests(training))
    shared = sum(row in known for row in _digests(test))
    if shared:
        warnings.append(
            f"{shared} of the {len(test)} test images of {recipe.data.test} are among the training "
            f"images of {recipe.data.train}: a bound on them is too good"
        )
    return warnings


def _digests(images: Discrete) -> Iterator[bytes]:
    for row in images.levels:  # not of numpy: those on the disk would all be read at once
        yield hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest()

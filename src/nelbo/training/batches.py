"""Which images a step sees, as a function of the step."""

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.data import Discrete
from nelbo.errors import BadInput

__all__ = ["Batches", "apart"]

SPLIT = 20_200_619  # the seed by which images are held out, the same for every run


@final
class Batches:
    """Epochs of seeded permutations, cut into batches across their ends."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count = count
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> Int64[Tensor, " B"]:
        """The positions of the images of a step, counted from 0."""
        start, end, parts = step * self.size, (step + 1) * self.size, []
        while start < end:
            epoch, place = divmod(start, self.count)
            parts.append(self._permutation(epoch)[place : place + end - start])
            start += len(parts[-1])
        return torch.cat(parts)

    def position(self, step: int) -> dict[str, int]:
        """Where the images of a step begin."""
        epoch, place = divmod(step * self.size, self.count)
        return {"epoch": epoch, "place": place, "images": self.count}

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**64)
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order


def apart(images: Discrete, held_out: int) -> tuple[Discrete, Discrete | None]:
    """(what is trained on, so many other images to measure by); which ones depends on nothing else.

    Raises:
        BadInput: no image would be left to train on.
    """
    if not held_out:
        return images, None
    if held_out >= len(images):
        raise BadInput(
            f"training.held_out = {held_out} leaves nothing to train on: {images.name} has "
            f"{len(images)} images"
        )
    generator = torch.Generator().manual_seed(SPLIT)
    order = torch.randperm(len(images), generator=generator)
    held, rest = order[:held_out].sort().values, order[held_out:].sort().values
    return images.subset(rest), images.subset(held)

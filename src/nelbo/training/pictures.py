"""Samples of the averaged weights at intervals, by the same noise each time, so that steps compare.

Noise is a function of (seed, sample, t): no generator that training draws from is touched.
"""

from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from torch import nn

from nelbo import files
from nelbo.recipe import Recipe
from nelbo.sampling.ancestral import ancestral
from nelbo.sampling.pictures import encoder
from nelbo.training.averaged import averaged

__all__ = ["COUNT", "Pictures"]

COUNT = 16  # samples in a picture: 16 T network evaluations


@final
class Pictures:
    """Draws the same samples of ever better weights."""

    def __init__(
        self, recipe: Recipe, shape: tuple[int, ...], n: int, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.shape = shape
        self.n = n
        self.device = device

    def draw(self, weights: nn.Module, path: Path, turn: Callable[[], None]) -> None:
        """Writes the picture, unless it is there; `turn` is called between steps.

        Raises:
            NonFinite: the network gave NaN or infinity; the message names t and the samples.
            OSError: the disk refuses; no part of a picture is left.
        """
        if path.exists():
            return
        model = averaged(self.recipe, self.shape, self.n, weights, self.device)
        seed = self.recipe.training.seed
        for t, x_t in ancestral(model, COUNT, seed=seed):
            turn()
            if t == 0:
                files.write(path, encoder(path)(model.levels(x_t).cpu(), self.n))

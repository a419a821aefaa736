"""The bound of the averaged weights on training images that are not trained on."""

from collections.abc import Callable
from typing import final

import torch
from torch import nn

from nelbo.data import Discrete
from nelbo.estimation import Evaluator, Processes, Sampling, measuring
from nelbo.recipe import Recipe
from nelbo.results import bits_per_dim
from nelbo.training.averaged import averaged

__all__ = ["HeldOut"]


@final
class HeldOut:
    """Measures weights by the same images, times and noise each time, so that steps compare."""

    def __init__(
        self, recipe: Recipe, images: Discrete, device: torch.device, processes: Processes
    ) -> None:
        self.images = images
        self.budget = recipe.training.held_out_budget * len(images)
        self.processes = processes
        self.recipe = recipe
        self.device = device

    def measure(self, weights: nn.Module, turn: Callable[[], None]) -> tuple[float, float]:
        """(bits/dim, half the 95 % Monte Carlo interval); `turn` is called between batches."""
        shape = tuple(self.images.levels.shape[1:])
        model = averaged(self.recipe, shape, self.images.n, weights, self.device)
        evaluator = Evaluator(
            [model],
            self.images,
            processes=self.processes,
            progress=lambda done, expected, text: turn(),
        )
        with measuring([model]):
            sampling = Sampling(evaluator)
            sampling.spend(self.budget)
        mean = sampling.total().means()[1]
        dims = model.dims
        value = bits_per_dim(mean.mean, dims), bits_per_dim(mean.half_width() or 0.0, dims)
        return self.processes.once(lambda: value)

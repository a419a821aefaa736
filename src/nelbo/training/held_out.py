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

    def measure(self, weights: nn.Module, turn: Callable[[], None]) -> tuple[float, float | None]:
        """(bits/dim, half its Monte Carlo interval, if known); `turn` is called between batches."""
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
        mean, dims = sampling.total().means()[1], model.dims
        half = mean.half_width()
        value = bits_per_dim(mean.mean, dims), None if half is None else bits_per_dim(half, dims)
        return self.processes.once(lambda: value)

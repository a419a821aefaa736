"""The bound of the averaged weights on training images that are not trained on."""

from collections.abc import Callable
from typing import final

import torch
from torch import nn

from nelbo import recipe as recipes
from nelbo.data import Images
from nelbo.measure import Asking, Processes, Sampling, measuring
from nelbo.recipe import Recipe
from nelbo.report import bits_per_dim

__all__ = ["HeldOut"]


@final
class HeldOut:
    """Measures weights by the same images, times and noise each time, so that steps compare."""

    def __init__(
        self, recipe: Recipe, images: Images, device: torch.device, processes: Processes
    ) -> None:
        self.images = images
        self.budget = recipe.training.held_out_budget * len(images)
        self.processes = processes
        # a model of its own: the one that is trained may be compiled, or in bfloat16
        self.model = recipes.build(recipe, tuple(images.levels.shape[1:]), images.n)
        self.model.network.to(device)

    def measure(self, weights: nn.Module, turn: Callable[[], None]) -> tuple[float, float]:
        """(bits/dim, half the 95 % Monte Carlo interval); `turn` is called between batches."""
        self.model.network.load_state_dict(weights.state_dict())
        asking = Asking(
            [self.model],
            self.images,
            processes=self.processes,
            progress=lambda done, expected, text: turn(),
        )
        with measuring([self.model]):
            found = Sampling(asking)
            found.spend(self.budget)
        mean = found.total().means()[1]
        dims = self.model.dims
        value = bits_per_dim(mean.mean, dims), bits_per_dim(mean.half_width() or 0.0, dims)
        return self.processes.once(lambda: value)

"""The networks that every row of a benchmark has in common, and our models of them."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from nelbo import recipe
from nelbo.model import Model
from nelbo.networks.unet import UNet
from nelbo.recipe import Recipe

__all__ = ["LEVELS", "Case", "Perceptron", "T", "cases"]

T, LEVELS = 1000, 256


class Perceptron(nn.Module):
    """0.36M parameters on 64 numbers, with the time added to the first layer."""

    def __init__(self, width: int = 392) -> None:
        super().__init__()
        self.time = nn.Linear(1, width)
        self.first = nn.Linear(64, width)
        self.rest = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 64),
        )  # fmt: skip

    def forward(self, x_t, time):
        hidden = self.first(x_t.flatten(1)) + self.time(time[:, None] / T)
        return self.rest(hidden).reshape(x_t.shape)


@dataclass(frozen=True)
class Case:
    """A network, and how much is asked of it.

    batch: images of a training step; turn: steps that are timed at once; steps: of the chain that
    is sampled.
    """

    name: str
    make: Callable[[], nn.Module]
    side: int
    batch: int
    turn: int
    steps: int
    channels: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.side, self.side

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make()

    def levels(self, count: int) -> torch.Tensor:
        """Images of noise."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(LEVELS, (count, *self.shape), generator=generator)

    def saved(self, folder: Path, count: int) -> tuple[str, str]:
        """Files of images of noise: training images, and a test image that is none of them."""
        levels = self.levels(count + 1).numpy().astype(np.uint8)
        paths = str(folder / "images.npy"), str(folder / "test.npy")
        for path, rows in zip(paths, (levels[:-1], levels[-1:]), strict=True):
            np.save(path, rows)
        return paths

    def recipe(self, train: str = "noise", test: str = "noise", **training) -> Recipe:
        """Ho's DDPM around this network; what the recipe says of the network is not used."""
        tree = recipe.read("digits-ddpm").model_dump()
        tree["data"] |= {"train": train, "test": test, "levels": LEVELS}
        tree["network"] = {"name": "unet", "time_input": "index"}
        tree["training"] |= {"batch_size": self.batch, "learning_rate": 1e-4, **training}
        return Recipe.model_validate(tree)

    @contextmanager
    def in_recipes(self):
        """Every recipe has this network meanwhile, as a run has it: nothing is wrapped around."""
        made = mock.Mock(side_effect=lambda *arguments: self.network())
        with mock.patch("nelbo.recipe.build._network", made):
            yield

    def model(self) -> Model:
        """What `nelbo sample` sees."""
        with self.in_recipes():
            whole = recipe.build(self.recipe(), self.shape, LEVELS)
        whole.network.eval()
        return whole if self.steps == T else whole.every(self.steps)


def cases() -> list[Case]:
    return [
        Case("perceptron 0.36M, 8x8", Perceptron, 8, 64, 100, 1000),
        Case("U-Net 0.39M, 8x8", lambda: UNet(1, 1, 8, (32, 32), 2), 8, 64, 10, 100),
        Case("U-Net 2.7M, 28x28", lambda: UNet(1, 1, 28, (32, 64, 104), 2), 28, 16, 3, 20),
    ]

"""The model of the averaged weights as they are now, apart from the one that is trained."""

import torch
from torch import nn

from nelbo import recipe as recipes
from nelbo.model import Model
from nelbo.recipe import Recipe

__all__ = ["averaged"]


def averaged(
    recipe: Recipe, shape: tuple[int, ...], n: int, weights: nn.Module, device: torch.device
) -> Model:
    """A model of its own: the one that is trained may be compiled, or in bfloat16."""
    model = recipes.build(recipe, shape, n, weights.state_dict())
    model.network.to(device)
    return model

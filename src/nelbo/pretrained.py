"""A model from wherever it is: a run folder or a checkpoint of ours."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from nelbo import checkpoint, recipe
from nelbo.errors import BadInput
from nelbo.model import Model
from nelbo.recipe import Recipe

__all__ = ["load", "recipe_of"]


def load(
    path: str | Path, *, weights: Literal["ema", "raw"] = "ema", device: str | None = None
) -> Model:
    """The model in a run folder or checkpoint file, ready to measure.

    weights: the moving average of training, or the last step's.

    Raises:
        BadInput: nothing is there, or it is damaged or of another kind.
    """
    path = _file(path)
    found = checkpoint.load(path)
    description = found.description
    choices = Recipe.model_validate(description["recipe"])
    model = recipe.build(choices, tuple(description["shape"]), description["levels"])
    part = found.part({"ema": "ema", "raw": "network"}[weights])
    model.network.load_state_dict(part)
    model.network.eval().to(torch.device(device or "cpu"))
    return replace(model, weights=weights)


def recipe_of(path: str | Path) -> Recipe:
    """The recipe that a run or checkpoint was trained by."""
    return Recipe.model_validate(checkpoint.load(_file(path)).description["recipe"])


def _file(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        if not (path / checkpoint.NAME).is_file():
            raise BadInput(f"{path} is no run: it has no {checkpoint.NAME}")
        return path / checkpoint.NAME
    if not path.is_file():
        raise BadInput(f"no model at {path}: give a run folder or a checkpoint file")
    return path

"""Models of this library: a run folder or a checkpoint file."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from nelbo import checkpoint, recipe
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput
from nelbo.files import near
from nelbo.model import Model, improved
from nelbo.pretrained.hub import is_hub_name
from nelbo.recipe import Recipe

__all__ = ["file_of", "load_ours", "recipe_of"]


def load_ours(path: Path, weights: Literal["ema", "raw"]) -> Model:
    """The model in a run folder or checkpoint file, by the recipe that it holds.

    Raises:
        BadInput: nothing is there, or it is damaged or of another kind.
    """
    found = checkpoint.load(file_of(path))
    description = found.description
    state = found.part({"ema": "ema", "raw": "network"}[weights])
    shape, n = tuple(description["shape"]), description["levels"]
    model = replace(recipe.build(_recipe(found), shape, n, state), weights=weights)
    plan = description.get("improved")
    if plan is None:
        return model
    if plan["weights"] != weights:
        raise BadInput(
            f"{path} was improved for its {plan['weights']} weights: its variances are not for "
            f"{weights}; improve the original with those"
        )
    return improved(model, plan, found.part("improved")["variance"])


def recipe_of(path: str | Path) -> Recipe:
    """The recipe that a run or checkpoint was trained by.

    Raises:
        BadInput: there is none, and so no data that the model names itself.
    """
    name, path = str(path), Path(path)
    elsewhere = is_hub_name(name) and not path.exists()
    if elsewhere or (path.is_dir() and not (path / checkpoint.NAME).is_file()):
        raise BadInput(f"{path} names no data: it was trained elsewhere, so say --data SPEC")
    return _recipe(checkpoint.load(file_of(path)))


def file_of(path: Path) -> Path:
    """The checkpoint file of a run folder, or the file itself."""
    if path.is_dir():
        if not (path / checkpoint.NAME).is_file():
            _refuse_unfinished(path)
            raise BadInput(
                f"{path} is no run: it has no {checkpoint.NAME}; nor is it a diffusers folder, "
                "which has a model_index.json, or a config.json beside its weights"
            )
        return path / checkpoint.NAME
    if not path.is_file():
        meant = near(path)
        fix = (
            "give a run folder or a checkpoint file" if meant is None else f"did you mean {meant}?"
        )
        raise BadInput(f"no model at {path}: {fix}")
    return path


def _refuse_unfinished(path: Path) -> None:
    made = sorted((path / "checkpoints").glob("*.safetensors"))
    if made:
        raise BadInput(
            f"the training of {path} has not ended: go on with it by nelbo train --resume {path}, "
            f"or name one of its checkpoints, such as {made[-1]}"
        )


def _recipe(found: Checkpoint) -> Recipe:
    return Recipe.model_validate(found.description["recipe"])

"""Models of this library: a run folder or a checkpoint file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError
from torch import Tensor

from nelbo import checkpoint, recipe
from nelbo.errors import BadInput
from nelbo.files import near
from nelbo.formats.diffusers.folder import is_diffusers
from nelbo.formats.hub import is_hub_name, refuse_cache
from nelbo.formats.look import refuse_foreign
from nelbo.formats.python_file import is_function
from nelbo.gaussian.by_value import variance_of
from nelbo.model import Model, improved, with_network
from nelbo.networks.integers import Twin, sizes_of
from nelbo.recipe import Recipe
from nelbo.typed_json import Json, text_at

__all__ = ["described_by", "file_of", "load_ours", "recipe_of", "trained_on"]


def load_ours(path: Path, weights: Literal["ema", "raw"]) -> Model:
    """The model in a run folder or checkpoint file, by the recipe that it holds.

    Raises:
        BadInput: nothing is there, or it is damaged or of another kind.
    """
    stored = checkpoint.load(file_of(path))
    description = described_by(stored.description, path)
    shape, n = description.shape, description.levels
    if description.integers is not None:
        with _consistent(path):
            return _twin(description, stored.part("integers"), weights)
    state = stored.part({"ema": "ema", "raw": "network"}[weights])
    with _consistent(path):
        model = replace(recipe.build(description.recipe, shape, n, state), weights=weights)
    plan = description.improved
    if plan is None:
        return model
    if plan.get("weights") != weights:
        raise BadInput(
            f"{path} was improved for its {plan.get('weights')} weights: its variances are not for "
            f"{weights}; improve the original with those"
        )
    with _consistent(path):
        variance = variance_of(text_at(plan, "variance"), stored.part("improved"))
        return improved(model, plan, variance)


def _twin(
    description: "Described", state: Mapping[str, Tensor], weights: Literal["ema", "raw"]
) -> Model:
    """The model whose network is an integer twin, by tables as long as those that are stored.

    Raises:
        BadInput: it is that of other weights; a range that lets a number overflow.
    """
    about = description.integers or {}
    if about.get("weights") != weights:
        raise BadInput(
            f"it is the integer twin of its {about.get('weights')} weights: make one of {weights}"
        )
    model = recipe.build(description.recipe, description.shape, description.levels)
    twin = Twin(model.network, sizes_of(state, description.shape))
    twin.load_state_dict(state)
    made = with_network(model, twin.eval(), integers=about)
    return replace(made, weights=weights)


class Described(BaseModel):
    """What a checkpoint says of its model; what else it says is of no matter to it."""

    recipe: Recipe
    shape: tuple[Annotated[int, Field(ge=1, le=2**16)], ...] = Field(min_length=1, max_length=4)
    levels: int = Field(ge=2, le=2**16)
    improved: dict[str, JsonValue] | None = None
    integers: dict[str, JsonValue] | None = None


def described_by(description: Mapping[str, Json], path: str | Path) -> Described:
    """The description of a checkpoint, checked.

    Raises:
        BadInput: a part is missing or of another kind, or of a newer nelbo.
    """
    try:
        Recipe.model_validate(description.get("recipe"))  # first, so that its keys are named
        return Described.model_validate(description)
    except ValidationError as error:
        raise BadInput(
            f"{path} is of a newer nelbo or was edited: {recipe.problem(error)}; update nelbo"
        ) from None


@contextmanager
def _consistent(path: Path) -> Iterator[None]:
    """Parts of a checkpoint that do not fit each other: whoever wrote them, it was not us."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    except (RuntimeError, TypeError, ValueError, LookupError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} contradicts itself: {reason:.200}") from error


def recipe_of(path: str | Path) -> Recipe:
    """The recipe that a run or checkpoint was trained by.

    Raises:
        BadInput: there is none, and so no data that the model names itself.
    """
    name, path = str(path), Path(path)
    elsewhere = is_function(path) or (is_hub_name(name) and not path.exists())
    if elsewhere or is_diffusers(path) or (path.is_dir() and not _has_checkpoint(path)):
        raise BadInput(f"{path} names no data: it was trained elsewhere, so say --data SPEC")
    return described_by(checkpoint.load(file_of(path)).description, path).recipe


def _has_checkpoint(path: Path) -> bool:
    return (path / checkpoint.NAME).is_file()


def trained_on(path: str | Path) -> str | None:
    """The digest of the images that a run or checkpoint was trained on, where it names one."""
    if is_function(path):
        return None
    data = checkpoint.load(file_of(Path(path))).description.get("data")
    return data.get("sha256") if isinstance(data, dict) else None


def file_of(path: Path) -> Path:
    """The checkpoint file of a run folder, or the file itself.

    Raises:
        BadInput: nothing is there, or what is there was written by something else.
    """
    if path.is_dir():
        if not _has_checkpoint(path):
            _refuse_unfinished(path)
            refuse_cache(path)
            raise BadInput(
                f"{path} is no run: it has no {checkpoint.NAME}; nor is it a diffusers folder, "
                "which has a model_index.json, or a config.json beside its weights"
            )
        refuse_foreign(path / checkpoint.NAME)
        return path / checkpoint.NAME
    if not path.exists():
        meant = near(path)
        fix = (
            "give a run folder or a checkpoint file" if meant is None else f"did you mean {meant}?"
        )
        raise BadInput(f"no model at {path}: {fix}")
    refuse_foreign(path)
    return path


def _refuse_unfinished(path: Path) -> None:
    made = sorted((path / "checkpoints").glob("*.safetensors"))
    if made:
        raise BadInput(
            f"the training of {path} has not ended: go on with it by nelbo train --resume {path}, "
            f"or name one of its checkpoints, such as {made[-1]}"
        )

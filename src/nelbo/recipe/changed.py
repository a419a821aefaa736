"""A recipe for other data, and one that only shows that everything runs."""

from nelbo.data import Images, has_splits, load
from nelbo.errors import BadInput
from nelbo.recipe.choices import Recipe
from nelbo.typed_json import Json

__all__ = ["on_data", "own_data", "smoke"]

SMOKE: dict[str, Json] = {
    "steps": 4,
    "batch_size": 8,
    "warmup": 0,
    "checkpoint_every": 2,
    "held_out": 4,
    "held_out_every": 2,
    "held_out_budget": 4,
}


def on_data(recipe: Recipe, train: str, test: str | None = None) -> Recipe:
    """The recipe on these data specs; a set with splits of its own needs naming but once.

    Raises:
        BadInput: no test data, and `train` is not a whole set that has a test split.
    """
    train, test = _both(train, test)
    data = recipe.data.model_copy(update={"train": train, "test": test})
    return recipe.model_copy(update={"data": data})


def own_data(train: str, test: str | None = None) -> tuple[str, str, Images]:
    """(spec of the training data, spec of the test data, the training images).

    Raises:
        BadInput: as `on_data`; data that cannot be read, or that differ in shape.
    """
    train, test = _both(train, test)
    images, others = load(train), load(test)
    if not isinstance(images, Images) or not isinstance(others, Images):
        raise BadInput(
            f"{train} and {test}: text is trained by the recipe text: nelbo train text "
            "--data SPEC --test-data SPEC"
        )
    if images.levels.shape[1:] != others.levels.shape[1:] or images.n != others.n:
        raise BadInput(
            f"{train} and {test} are of different data: {tuple(images.levels.shape[1:])} with "
            f"{images.n} levels, and {tuple(others.levels.shape[1:])} with {others.n}"
        )
    if images.sha256 == others.sha256:
        raise BadInput(f"{train} and {test} are the same images: measure on others")
    return train, test, images


def _both(train: str, test: str | None) -> tuple[str, str]:
    """The specs of both splits.

    Raises:
        BadInput: no test data, and `train` is not a whole set that has a test split.
    """
    if test is not None:
        return train, test
    if not has_splits(train):
        raise BadInput(
            f"{train} has no test split of its own: say what to measure on with --test-data"
        )
    return f"{train}:train", f"{train}:test"


def smoke(recipe: Recipe) -> Recipe:
    """The same data, chain and network for 4 steps of 8 images, measured and saved twice.

    It shows that a long run will get through all its parts, and is no model of anything.
    """
    training = recipe.training.model_copy(update=SMOKE)
    return recipe.model_copy(update={"name": f"{recipe.name}-smoke", "training": training})

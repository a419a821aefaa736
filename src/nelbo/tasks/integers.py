"""A run with an integer twin of its network: the same bits on any machine, and so a codec."""

from pathlib import Path

from nelbo.arguments import seed_of
from nelbo.coding import absorbing_chain, twin_of
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.formats import Pipeline, as_model, keep_integers
from nelbo.model import Model, examples_of

__all__ = ["integer_twin", "save"]


def integer_twin(model: Model | str | Path | Pipeline, images: object, *, seed: int = 0) -> Model:
    """The model with its network in whole numbers, made without training.

    images: training data as for `evaluate`, of which the seed draws 256 to see which ranges the
    activations need. What it costs is for `compare` to measure: of the digits .00001 bits/dim.

    Raises:
        BadInput: no absorbing chain; a network or a layer that has no form in whole numbers.
    """
    model, seed = as_model(model), seed_of(seed)
    absorbing_chain(model)  # refused before data are read
    examples = examples_of(model, images)
    if not isinstance(examples, Images):
        raise BadInput(f"{examples.name} holds no images of levels, which a codec is for")
    return twin_of(model, examples, seed=seed)


def save(path: str | Path, twin: Model, folder: str | Path) -> Path:
    """A folder of the run at the path with this twin in the place of its weights.

    Raises:
        BadInput: the folder exists, or the path holds another kind of model.
    """
    return keep_integers(path, twin, folder)

"""A recipe's network on a path as a model, and the noise at which it learns."""

from functools import partial

from torch import nn

from nelbo.errors import BadInput
from nelbo.gaussian.on_path import OnPath, Reading, c_in
from nelbo.gaussian.regression import NoiseLevels, even_in_time, lognormal
from nelbo.model import Model, Settings, parts
from nelbo.model.on_path import PathModel, ends_of
from nelbo.recipe.choices import PathChoice, Training
from nelbo.typed_json import Json, number_of
from nelbo.types import Grid

__all__ = ["noise_levels", "path_model"]


def path_model(
    choice: PathChoice,
    network: nn.Module,
    grid: Grid,
    shape: tuple[int, ...],
    name: str,
    settings: Settings,
) -> Model:
    """The limit of ever more steps along the recipe's path, with this network.

    Raises:
        BadInput: ends that the path does not reach, or a sigma_data that is missing or in vain.
    """
    path = choice.path.make()
    sigma_data = _sigma_data(choice)
    ends = ends_of(path, grid, choice.log_snr, "recipe")
    about = choice.path.model_dump()
    notes: dict[str, Json] = {
        "path": about if len(about) > 1 else choice.path.name,
        "time_input": "log-snr",
        "scale": choice.scale,
        **({} if sigma_data is None else {"sigma_data": sigma_data}),
    }
    made = PathModel(
        OnPath(network, path, time=parts.TIMES["log-snr"], scale=_scale(choice, sigma_data)),
        parts.parametrization_of(choice.parametrization, grid, sigma_data, path),
        parts.ending_of(choice.decoder, grid),
        (grid.lo, grid.hi) if choice.clip else None,
        grid,
        shape,
        name,
        settings.noting(**notes),
    )
    return made.limit(*(number_of(end.value) for end in ends.values()))


def _sigma_data(choice: PathChoice) -> float | None:
    """The deviation of the data, where edm-F or c_in has one.

    Raises:
        BadInput: it is missing there, or stated where it changes nothing.
    """
    wanted = "edm-F" if choice.parametrization == "edm-F" else "c_in"
    if wanted == "edm-F" or choice.scale == "c_in":
        if choice.sigma_data is None:
            raise BadInput(f"chain.sigma_data is missing: {wanted} is made with it")
        return choice.sigma_data
    if choice.sigma_data is not None:
        raise BadInput(
            "chain.sigma_data would change nothing: it is of parametrization edm-F and scale c_in"
        )
    return None


def _scale(choice: PathChoice, sigma_data: float | None) -> Reading:
    if choice.scale == "c_in" and sigma_data is not None:
        return partial(c_in, sigma_data)
    return parts.SCALES[choice.scale]


def noise_levels(choice: PathChoice, training: Training) -> NoiseLevels:
    """The log SNRs at which L_simple is taken."""
    if training.log_sigma is None:
        return even_in_time(choice.path.make())
    return lognormal(*training.log_sigma)

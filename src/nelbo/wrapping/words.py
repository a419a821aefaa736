"""What a network's output is called, and what is made of the word."""

from nelbo.arguments import number, shown
from nelbo.errors import BadInput
from nelbo.gaussian.parametrization import (
    EPS,
    SCORE,
    X_0,
    Levels,
    Linear,
    Parametrization,
    V,
    edm_F,
    velocity,
)
from nelbo.gaussian.path import Path
from nelbo.model.settings import Setting
from nelbo.types import Grid, Support

__all__ = ["OF_PATHS", "parametrization", "prediction", "sigma_data_of"]

ALIASES = {
    "epsilon": "eps",
    "noise": "eps",
    "sample": "x_0",
    "denoiser": "x_0",
    "v_prediction": "v",
    "velocity": "flow-velocity",
    "flow_prediction": "flow-velocity",
}
PLAIN = {linear.name: linear for linear in (EPS, X_0, V, SCORE)}
OF_PATHS = ("flow-velocity",)
SIGMA_DATA = 0.5  # of images on [-1, 1] (Karras et al. 2022, table 1)
NAMES = (*PLAIN, "edm-F", "levels")


def prediction(predicts: object, *, along: bool) -> str:
    """The name of a prediction, by any of its names. along: whether there is a path.

    Raises:
        BadInput: no such name, or one that needs a path.
    """
    names = (*NAMES, *OF_PATHS) if along else NAMES
    known = [*names, *(alias for alias, name in ALIASES.items() if name in names)]
    if not isinstance(predicts, str) or predicts not in (*NAMES, *OF_PATHS, *ALIASES):
        raise BadInput(f"predicts is one of {', '.join(known)}; got {shown(predicts)}")
    name = ALIASES.get(predicts, predicts)
    if name not in names:
        raise BadInput(f"{predicts} is a derivative along a path: give path= in place of schedule=")
    return name


def sigma_data_of(given: object, predicts: str, scale: object = None) -> Setting | None:
    """The deviation of the data that F and c_in are made with, where either is in use.

    Raises:
        BadInput: no number, or one that would change nothing.
    """
    if predicts != "edm-F" and scale != "c_in":
        if given is not None:
            raise BadInput(
                "sigma_data would change nothing: it is of predicts edm-F and of scale c_in"
            )
        return None
    if given is None:
        return Setting(SIGMA_DATA, "default")
    return Setting(number("sigma_data", given), "option")


def parametrization(
    name: str, support: Support, sigma_data: Setting | None, path: Path | None = None
) -> Parametrization:
    """What reads an output of that name, of a network on the path where there is one.

    Raises:
        BadInput: levels of data that have none; a sigma_data that is not positive; a velocity
            along a path whose derivatives are not known.
    """
    if name == "levels":
        if not isinstance(support, Grid):
            raise BadInput("predicts levels is for data with levels: leave decoder density out")
        return Levels(support)
    if name == "edm-F" and sigma_data is not None:
        linear: Linear = edm_F(sigma_data.value)
    elif name in OF_PATHS and path is not None:
        return velocity(path)
    else:
        linear = PLAIN[name]
    return linear if path is None else linear.along(path)

"""What a network's output is called, and what is made of the word."""

from nelbo.arguments import number, shown
from nelbo.errors import BadInput
from nelbo.gaussian.parametrization import Parametrization
from nelbo.gaussian.path import Path
from nelbo.model.parts import ALONG_PATHS, PARAMETRIZATIONS, SCALED, parametrization_of
from nelbo.model.settings import Setting
from nelbo.typed_json import number_of
from nelbo.types import Support

__all__ = ["prediction", "read_as", "sigma_data_of"]

ALIASES = {
    "epsilon": "eps",
    "noise": "eps",
    "sample": "x_0",
    "denoiser": "x_0",
    "v_prediction": "v",
    "velocity": "flow-velocity",
    "flow_prediction": "flow-velocity",
}
SIGMA_DATA = 0.5  # of images on [-1, 1] (Karras et al. 2022, table 1)


def prediction(predicts: object, *, along: bool) -> str:
    """The name of a prediction, by any of its names, or an object's; along: whether on a path.

    Raises:
        BadInput: no such name, or one that needs a path.
    """
    if isinstance(predicts, Parametrization):
        return predicts.name
    plain = [*PARAMETRIZATIONS, *SCALED]
    names = [*plain, *ALONG_PATHS] if along else plain
    known = [*names, *(alias for alias, name in ALIASES.items() if name in names)]
    if not isinstance(predicts, str) or predicts not in (*plain, *ALONG_PATHS, *ALIASES):
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


def read_as(
    predicts: object, support: Support, sigma_data: Setting | None, path: Path | None = None
) -> Parametrization:
    """What reads an output of that name, or the object itself, of a network on the path, if any.

    Raises:
        BadInput: as `prediction` and `parametrization_of`.
    """
    deviation = None if sigma_data is None else number_of(sigma_data.value)
    if not isinstance(predicts, Parametrization):
        predicts = prediction(predicts, along=path is not None)
    return parametrization_of(predicts, support, deviation, path)

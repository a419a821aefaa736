"""Every word for a part of a model, and the object that it stands for.

Recipes, `wrap`, folders of diffusers and, by them, the command line look their words up here alone,
so what is registered here is accepted everywhere: `SCHEDULES["power"] = power`.
"""

import inspect
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nelbo.arguments import shown
from nelbo.categorical import reverse as categorical
from nelbo.categorical.dense import discretized_gaussian
from nelbo.categorical.resampling import absorbing, uniform
from nelbo.categorical.reverse import PRIORS
from nelbo.categorical.transition import Transition
from nelbo.errors import BadInput, closest
from nelbo.gaussian import parametrization as predictions
from nelbo.gaussian import reverse as gaussian
from nelbo.gaussian.continuous import LevelLikelihood
from nelbo.gaussian.decoder import Decoder, Discretized, LevelPosterior
from nelbo.gaussian.learned import learned
from nelbo.gaussian.on_path import SCALES, TIMES
from nelbo.gaussian.parametrization import SCORE, Levels, Linear, Parametrization, edm_F, velocity
from nelbo.gaussian.path import PATHS, FunctionPath, Path
from nelbo.gaussian.reverse import TimeInput, fraction
from nelbo.gaussian.schedule import SCHEDULES, Schedule
from nelbo.gaussian.variance import Variance, large, learned_range, small
from nelbo.model.spacing import SPACINGS
from nelbo.types import Grid, Support

__all__ = [
    "ALONG_PATHS",
    "DECODERS",
    "LIKELIHOODS",
    "PARAMETRIZATIONS",
    "PATHS",
    "PRIORS",
    "SCALED",
    "SCALES",
    "SCHEDULES",
    "SPACINGS",
    "STATE_TIMES",
    "TIMES",
    "TIME_INPUTS",
    "TRAINED_VARIANCES",
    "TRANSITIONS",
    "VARIANCES",
    "WRAPPED_TIMES",
    "decoder_of",
    "ending_of",
    "parametrization_of",
    "path_of",
    "schedule_of",
]

Made = TypeVar("Made")
TYPED = ConfigDict(strict=True, allow_inf_nan=False)

PARAMETRIZATIONS: dict[str, Parametrization | Callable[[Grid], Parametrization]] = {
    **predictions.PARAMETRIZATIONS,
    SCORE.name: SCORE,
    "levels": Levels,
}
"""What a network's output means: an object, or what makes one of the grid of the data."""

SCALED: dict[str, Callable[[float], Linear]] = {"edm-F": edm_F}
"""Those that need the standard deviation of the data."""

ALONG_PATHS: dict[str, Callable[[Path], Linear]] = {"flow-velocity": velocity}
"""Those that are derivatives along a path."""

DECODERS: dict[str, Callable[[Grid], Decoder]] = {
    "discretized-gaussian": Discretized,
    "levels": LevelPosterior,
}
"""p_theta(x_0 | x_1) over the levels of the data."""

LIKELIHOODS: dict[str, Callable[[Grid], LevelLikelihood]] = {"level-likelihood": LevelLikelihood}
"""p(x_0 | x_1) of x_1 alone, which only continuous time has."""


class Ruled(Protocol):
    """V_t of a schedule, and V_1 by a number or a rule."""

    def __call__(self, schedule: Schedule, V_1: float | str) -> Variance:
        """The variances."""


VARIANCES: dict[str, Ruled] = {"small": small, "large": large, "learned-range": learned_range}
"""V_t of (schedule, V_1)."""

_LEARNED: dict[str, Ruled] = {"learned": learned}
TRAINED_VARIANCES = ChainMap(_LEARNED, VARIANCES)
"""Also V_t that a network gives itself, which no fresh network does."""

TRANSITIONS: dict[str, Callable[[Sequence[float], int], Transition]] = {
    "uniform": uniform,
    "absorbing": absorbing,
    "discretized-gaussian": discretized_gaussian,
}
"""Q_1..Q_T of (betas, number of states); an absorbing chain has one state more: the mask."""

TIME_INPUTS: dict[str, TimeInput] = gaussian.TIME_INPUTS
"""What a network of a recipe receives of t, in a Gaussian chain."""

STATE_TIMES: dict[str, categorical.TimeInput] = categorical.TIME_INPUTS
"""What it receives in a categorical chain."""

_FRACTION: dict[str, TimeInput] = {"fraction": fraction}
WRAPPED_TIMES = ChainMap(_FRACTION, TIME_INPUTS)
"""What a network of a person's own receives, in a Gaussian chain."""


def schedule_of(name: str, arguments: Mapping[str, object], where: str) -> Schedule:
    """The schedule of that name with these arguments; where: what a message begins with.

    Raises:
        BadInput: an argument that the schedule does not take, or a value it refuses.
    """
    return _made(SCHEDULES[name], arguments, where)


def path_of(name: str, arguments: Mapping[str, object], where: str) -> FunctionPath:
    """The path of that name with these arguments; where: what a message begins with.

    Raises:
        BadInput: an argument that the path does not take, or a value it refuses.
    """
    return _made(PATHS[name], arguments, where)


def _made(function: Callable[..., Made], arguments: Mapping[str, object], where: str) -> Made:
    """What the function makes of arguments of the right names and types."""
    hints = get_type_hints(function)
    known = {name: hints.get(name, object) for name in inspect.signature(function).parameters}
    for key, value in arguments.items():
        if key not in known:
            meant = closest(str(key), known)
            hint = f"did you mean {meant}?" if meant else f"it takes {', '.join(known)}"
            raise BadInput(f"{where}: unknown key {key}: {hint}")
        try:
            TypeAdapter(known[key], config=TYPED).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            why = f"{first['msg'][:1].lower()}{first['msg'][1:]}; got {first['input']!r:.60}"
            raise BadInput(f"{where}: {key}: {why}") from None
    try:
        return function(**arguments)
    except TypeError as error:
        raise BadInput(f"{where}: {error}") from None


def parametrization_of(
    given: str | Parametrization,
    support: Support,
    sigma_data: float | None = None,
    path: Path | None = None,
) -> Parametrization:
    """What reads an output of that name, of a network on the path where there is one.

    Raises:
        BadInput: levels of data that have none; a sigma_data that is not positive; a velocity
            along a path whose derivatives are not known.
    """
    if isinstance(given, str) and given in ALONG_PATHS and path is not None:
        return ALONG_PATHS[given](path)
    if isinstance(given, str) and given in SCALED and sigma_data is not None:
        result: object = SCALED[given](sigma_data)
    else:
        result = PARAMETRIZATIONS[given] if isinstance(given, str) else given
    if not isinstance(result, Parametrization):
        if not isinstance(support, Grid):
            raise BadInput(f"predicts {given} is for data with levels: leave decoder density out")
        assert callable(result)
        result = result(support)
    assert isinstance(result, Parametrization)
    return result.along(path) if isinstance(result, Linear) and path is not None else result


def decoder_of(given: str | Decoder | Callable[[Grid], Decoder], grid: Grid) -> Decoder:
    """The decoder of that name, or by that function of the grid, or itself.

    Raises:
        BadInput: there is none, or it is one of another grid.
    """
    if isinstance(given, str) and given not in DECODERS:
        raise BadInput(
            f"decoder is one of {', '.join(DECODERS)}, over the levels of the data, or density, "
            f"of data that are real numbers; got {shown(given)}"
        )
    if isinstance(given, str):
        given = DECODERS[given]
    try:
        made = given if isinstance(given, Decoder) else given(grid)
    except TypeError as error:
        raise BadInput(f"decoder: a function of the Grid fails: {error}") from None
    if not isinstance(made, Decoder) or getattr(made, "grid", grid) != grid:
        raise BadInput(f"decoder must be a Decoder over {grid}; got {shown(made)}")
    return made


def ending_of(name: str, grid: Grid) -> Decoder | LevelLikelihood:
    """The decoder of that name, or what continuous time may have in its place.

    Raises:
        BadInput: there is none.
    """
    likelihood = LIKELIHOODS.get(name)
    return decoder_of(name, grid) if likelihood is None else likelihood(grid)

"""diffusers' scheduler classes: the keys each has, their defaults, and the times that it visits."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nelbo.errors import BadInput
from nelbo.model.settings import Source
from nelbo.typed_json import Count, Finite, Json, Typed, Whole, first_problem, whole_at

__all__ = ["Keys", "class_steps", "completed", "defaults_of", "ignored_keys", "kept_steps"]

ABSENT: dict[str, Json] = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
    "timestep_spacing": None,
    "steps_offset": None,
}
"""What a class without the key does."""

REVERSE = {"variance_type": "fixed_small"}
"""What the reverse steps are of where no file says it: a sampler of another kind has none."""

WITHOUT_TORCHSDE: dict[str, Json] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "noise_sampler_seed": None,
    "timestep_spacing": "linspace",
    "steps_offset": 0,
}
COSINE: dict[str, Json] = {
    "sigma_min": 0.3,
    "sigma_max": 500.0,
    "sigma_data": 1.0,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
}
OWN = {
    "DPMSolverSDEScheduler": WITHOUT_TORCHSDE,
    "CosineDPMSolverMultistepScheduler": COSINE,
}
"""Defaults of classes that diffusers does not define where a package of theirs is missing."""

SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
BY_FORMULA = ("DDPMScheduler", "DDPMParallelScheduler", "DPMSolverSDEScheduler")
SECOND_ORDER = (
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
)


class Keys(Typed):
    """The keys of a scheduler's config that are read, by type and range."""

    num_train_timesteps: Count = 1000
    beta_start: Finite = 0.0001
    beta_end: Finite = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[Finite] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: str = "epsilon"
    variance_type: str | None = None
    clip_sample: bool = False
    clip_sample_range: Finite = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Finite = 0.995
    sample_max_value: Finite = 1.0
    timestep_spacing: str = "leading"
    steps_offset: Whole = 0
    use_flow_sigmas: bool = False
    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False
    timestep_type: str = "discrete"


def completed(name: str, raw: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Source]]:
    """Every key that matters, and where each is from: the file, the class's default, or the class.

    Raises:
        BadInput: a value of another type than its key's, or a chain that has no bound.
    """
    stated = {**raw, **_typed(raw)}
    own = defaults_of(name)
    if "predict_epsilon" in raw and "prediction_type" not in raw:
        raise BadInput(
            "predict_epsilon is of diffusers before 0.10: put prediction_type in its place, "
            "epsilon for true and sample for false"
        )
    if raw.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in own:
        raise BadInput(
            f"{name} has no rescale_betas_zero_snr, and its config has it true: take the key out, "
            "or give the scheduler of the training (scheduler=, --scheduler)"
        )
    config, sources = {**ABSENT, **REVERSE}, dict[str, Source]()
    for key in dict.fromkeys([*ABSENT, *REVERSE, *own, *stated]):
        known = key in own or key in REVERSE
        if known and stated.get(key) is not None:
            config[key], sources[key] = stated[key], "config"
        elif own.get(key) is not None:
            config[key], sources[key] = own[key], "default"
        else:
            sources[key] = "default" if known else "class"
    return config, sources


def defaults_of(name: str) -> dict[str, Json]:
    """The defaults of the class, by its own signature.

    Raises:
        BadInput: diffusers defines it only where another package is there.
    """
    import diffusers  # seconds, so only where such a model is read

    if name in OWN:
        return OWN[name]
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    if not defaults:
        raise BadInput(
            f"{name} is defined by diffusers only where another package is installed, so its "
            "defaults are not known: install that, or give another scheduler (--scheduler)"
        )
    return defaults


def ignored_keys(raw: Mapping[str, Json], sources: Mapping[str, Source]) -> tuple[str, ...]:
    """The keys by which the file would clip x0-hat, and which its class does not read."""
    keys = ("clip_sample", "thresholding")
    return tuple(key for key in keys if raw.get(key) and sources[key] == "class")


def class_steps(name: str, config: Mapping[str, Json], T: int, steps: int) -> list[int]:
    """The t, 1..T, of the class's set_timesteps(steps): its whole times + 1, each once.

    Times between are rounded. A solver of second order visits points within its steps too, which
    are left out.

    Raises:
        BadInput: the class does not make them, or one lies beyond T.
    """
    if name in BY_FORMULA:
        if any(config.get(key) for key in SIGMAS):
            raise BadInput(
                f"the steps of {name} with sigmas of its own are not made here: give --spacing "
                "even, quadratic or log-snr"
            )
        return kept_steps(config["timestep_spacing"], whole_at(config, "steps_offset"), T, steps)
    index = np.unique(np.round(_times(name, config, T, steps))).astype(int)
    index = index[index >= 0]  # of rounding in diffusers' trailing steps
    if index[-1] >= T:
        offset = whole_at(config, "steps_offset")
        raise BadInput(_beyond(offset, steps, config["timestep_spacing"], int(index[-1]), T))
    return [int(i) + 1 for i in index]


def kept_steps(spacing: object, offset: int, T: int, steps: int) -> list[int]:
    """The t, 1..T, that DDPMScheduler's set_timesteps(steps) visits, which are its timesteps + 1.

    Raises:
        BadInput: an unknown spacing, or an offset that leads beyond T.
    """
    if spacing == "leading":
        index = np.arange(float(steps)) * (T // steps) + offset
    elif spacing == "linspace":
        index = np.linspace(0, T - 1, steps).round()
    elif spacing == "trailing":
        index = np.round(np.arange(1, steps + 1) * (T / steps)) - 1
    else:
        raise BadInput(f"timestep_spacing {spacing!r} is not leading, linspace or trailing")
    if index[-1] >= T:
        raise BadInput(_beyond(offset, steps, spacing, int(index[-1]), T))
    return [int(i) + 1 for i in index]


def _beyond(offset: int, steps: int, spacing: object, last: int, T: int) -> str:
    return (
        f"steps_offset {offset} with {steps} {spacing} steps leads to t = {last + 1} "
        f"beyond T = {T}: ask for fewer steps"
    )


def _times(name: str, config: Mapping[str, Json], T: int, steps: int) -> NDArray[np.float64]:
    """What the class itself visits in a chain of T steps."""
    import diffusers

    own = {key: value for key, value in config.items() if key in defaults_of(name)}
    if config["num_train_timesteps"] != T:  # a chain that was shortened already
        own |= {"num_train_timesteps": T, "trained_betas": None}
    if name == "PNDMScheduler":
        own["skip_prk_steps"] = True  # those of Runge-Kutta lie within a step
    try:
        with _quiet():
            scheduler = getattr(diffusers, name).from_config(own)
            scheduler.set_timesteps(steps)
    except Exception as error:  # its keys fail in every way there is
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{name} does not make {steps} steps: {reason}") from error
    times: NDArray[np.float64] = scheduler.timesteps.double().numpy()
    return times[::2] if name in SECOND_ORDER else times


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def _typed(raw: Mapping[str, Json]) -> dict[str, Json]:
    """The file's keys that are read, in their types; null is as good as absent.

    Raises:
        BadInput: a value of another type.
    """
    there = {key: raw[key] for key in Keys.model_fields if raw.get(key) is not None}
    try:
        return Keys.model_validate(there).model_dump(include=set(there))
    except ValidationError as error:
        raise BadInput(first_problem(error)) from None

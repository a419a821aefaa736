"""diffusers' schedulers of other paths than DDPM's q: flow matching, EDM, VE, by formulas.

Which of a sampler's settings are of its grid alone, such as shift or use_karras_sigmas, is of no
matter: the network receives sigma itself, and the bound runs along all of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import final

import torch

from nelbo.errors import BadInput
from nelbo.formats.diffusers.scheduler_classes import Keys, defaults_of
from nelbo.formats.diffusers.schedules import schedule_of
from nelbo.gaussian.level import Level, Number
from nelbo.gaussian.on_path import SCALES, TIMES, Reading, c_in
from nelbo.gaussian.parametrization import SCORE, Linear, edm_F, edm_v, velocity
from nelbo.gaussian.path import FunctionPath, edm, flow, ve
from nelbo.model.settings import Setting, Source
from nelbo.typed_json import Finite, Json, as_typed, number_at, number_of, whole_at

__all__ = ["PathScheduler", "read_path_scheduler"]

BETA_KEYS = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"}
BETA_KEYS |= {"rescale_betas_zero_snr"}


class _Keys(Keys):
    """The keys of these schedulers that are read, by type: of DDPM's chain, and of sigma."""

    sigma_min: Finite | None = None
    sigma_max: Finite | None = None
    sigma_data: Finite | None = None
    invert_sigmas: bool = False


@final
@dataclass(frozen=True, eq=False)
class PathScheduler:
    """The path of a config, what its network receives and says, and where each setting is from.

    `range` is that of the data where the class says it.
    """

    name: str
    path: FunctionPath
    parametrization: Linear
    time: Reading
    scale: Reading
    settings: Mapping[str, Setting]
    range: tuple[float, float] | None = None


def read_path_scheduler(raw: Mapping[str, Json]) -> PathScheduler | None:
    """The scheduler of a config file's JSON; None where its chain is that of DDPM, or none.

    Raises:
        BadInput: a value of another type than its key's, or a setting that leaves no bound.
    """
    name = str(raw.get("_class_name"))
    continuous = name == "EulerDiscreteScheduler" and _is_continuous(raw)
    if name not in READ and not continuous:
        return None
    config = _Config.of(name, raw)
    return _euler(config) if continuous else READ[name](config)


def _is_continuous(raw: Mapping[str, Json]) -> bool:
    """Whether diffusers' class reads timestep_type, which it does for v_prediction alone."""
    keys = (raw.get("timestep_type"), raw.get("prediction_type"))
    return keys == ("continuous", "v_prediction")


@final
@dataclass(frozen=True)
class _Config:
    """The keys of a class, completed by its own defaults."""

    name: str
    values: Mapping[str, Json]
    given: frozenset[str]

    @classmethod
    def of(cls, name: str, raw: Mapping[str, Json]) -> "_Config":
        own = defaults_of(name)
        there = {key: raw[key] for key in _Keys.model_fields if raw.get(key) is not None}
        typed = as_typed(_Keys, there).model_dump(include=set(there))
        known = {key: value for key, value in typed.items() if key in own}
        return cls(name, {**own, **known}, frozenset(known))

    def setting(self, key: str) -> Setting:
        return Setting(self.values[key], "config" if key in self.given else "default")

    def settings(self, *keys: str) -> dict[str, Setting]:
        return {key: self.setting(key) for key in keys}

    def of_class(self, **values: Json) -> dict[str, Setting]:
        source: Source = "class"
        return {key: Setting(value, source) for key, value in values.items()}


def _flow(config: _Config) -> PathScheduler:
    """z = (1 - sigma) x_0 + sigma eps; the network receives num_train_timesteps sigma."""
    if config.values.get("invert_sigmas"):
        raise BadInput(
            f"{config.name} with invert_sigmas runs from noise at sigma 0 and is not known here: "
            "wrap its network with path={'name': 'flow', 'data_at': 1}"
        )
    path, steps = flow(), whole_at(config.values, "num_train_timesteps")
    return PathScheduler(
        config.name,
        path,
        velocity(path),
        partial(_times, steps),
        SCALES["none"],
        {
            **config.settings("num_train_timesteps"),
            **config.of_class(
                path="flow", predicts="flow-velocity", time_input=f"{steps} t", scale="none"
            ),
        },
    )


def _times(steps: int, level: Level) -> Number:
    return steps * TIMES["t"](level)


def _edm(config: _Config) -> PathScheduler:
    return _of_sigma(config, TIMES["log(sigma)/4"], "log(sigma)/4")


def _cosine(config: _Config) -> PathScheduler:
    return _of_sigma(config, _angle, "2 atan(sigma)/pi")


def _angle(level: Level) -> Number:
    return torch.as_tensor(level.sigma).atan() * (2 / math.pi)


def _of_sigma(config: _Config, time: Reading, time_input: str) -> PathScheduler:
    """Karras' preconditioning; v_prediction is its F with the other sign."""
    kind, sigma_data = (
        config.values["prediction_type"],
        float(number_at(config.values, "sigma_data")),
    )
    if config.values.get("thresholding"):
        raise BadInput(f"{config.name} with thresholding is not read here: wrap its network")
    readings: dict[str, Callable[[float], Linear]] = {"epsilon": edm_F, "v_prediction": edm_v}
    if kind not in readings:
        raise BadInput(
            f"{config.name}: prediction_type {kind!r} is not one of {', '.join(readings)}, which "
            "are those its class reads"
        )
    path = edm(*_ends(config))
    return PathScheduler(
        config.name,
        path,
        readings[kind](sigma_data).along(path),
        time,
        partial(c_in, sigma_data),
        {
            **config.settings("prediction_type", "sigma_data", "sigma_min", "sigma_max"),
            **config.of_class(path="edm", time_input=time_input, scale="c_in"),
        },
    )


def _ends(config: _Config) -> tuple[float, float]:
    low, high = (float(number_at(config.values, name)) for name in ("sigma_min", "sigma_max"))
    return low, high


def _ve(config: _Config) -> PathScheduler:
    """The network receives sigma, and says the score; its samples are clamped to [0, 1]."""
    path = ve(*_ends(config))
    return PathScheduler(
        config.name,
        path,
        SCORE.along(path),
        TIMES["sigma"],
        SCALES["none"],
        {
            **config.settings("sigma_min", "sigma_max"),
            **config.of_class(path="ve", predicts="score", time_input="sigma", scale="none"),
        },
        range=(0.0, 1.0),
    )


def _euler(config: _Config) -> PathScheduler:
    """EulerDiscreteScheduler of continuous times: v at sigma_data 1, z/sqrt(sigma^2 + 1)."""
    snr = schedule_of(config.values).log_snr
    of_betas: Source = "config" if config.given & BETA_KEYS else "default"
    sigmas = {
        key: config.setting(key)
        if config.values.get(key) is not None
        else Setting(math.exp(-0.5 * float(snr[t])), of_betas)
        for key, t in (("sigma_min", 1), ("sigma_max", -1))
    }
    path = edm(*(float(number_of(sigma.value)) for sigma in sigmas.values()))
    return PathScheduler(
        config.name,
        path,
        edm_v(1.0).along(path),
        TIMES["log(sigma)/4"],
        partial(c_in, 1.0),
        {
            **config.settings("prediction_type", "timestep_type"),
            **sigmas,
            **config.of_class(path="edm", time_input="log(sigma)/4", scale="1/sqrt(sigma^2 + 1)"),
        },
    )


READ: dict[str, Callable[[_Config], PathScheduler]] = {
    "FlowMatchEulerDiscreteScheduler": _flow,
    "FlowMatchHeunDiscreteScheduler": _flow,
    "EDMEulerScheduler": _edm,
    "EDMDPMSolverMultistepScheduler": _edm,
    "CosineDPMSolverMultistepScheduler": _cosine,
    "ScoreSdeVeScheduler": _ve,
}

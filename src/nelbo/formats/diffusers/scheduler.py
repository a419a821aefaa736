"""A diffusers scheduler's config as q and the rules of p_theta, by formulas and not by its code.

`DDPMScheduler.step` is right where it is used, in sampling; its variances are not where a bound
needs them: `_get_variance` gives a variance, a standard deviation or a logarithm by name, clamps
at 1e-20 at t = 1, and `step` is NaN for fixed_large_log (diffusers 0.42).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nelbo.errors import BadInput
from nelbo.formats.diffusers.scheduler_classes import class_steps, completed, ignored_keys
from nelbo.formats.diffusers.schedules import schedule_of
from nelbo.gaussian.learned import learned
from nelbo.gaussian.parametrization import EPS, X_0, Output, Parametrization, V
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Variance, large, learned_range, small
from nelbo.model.settings import Setting
from nelbo.typed_json import Json, number_at
from nelbo.types import Batch

__all__ = ["VARIANCES", "Scheduler", "Thresholded", "read_scheduler"]

SAME_Q = (
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DDIMScheduler",
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
"""The schedulers whose networks were trained on DDPM's q; all but the first sample otherwise."""

FLOW = "wrap its network with family='diffusers-flow'"
REASONS = {
    "Flow": f"it runs from data to noise in a straight line: {FLOW}",
    "EDM": "its chain adds noise of sigma to x_0: wrap its network with family='edm'",
    "CosineDPM": "its chain adds noise of sigma to x_0: wrap its network with family='edm'",
    "Ve": "its chain adds noise of sigma to x_0: wrap its network with path='ve' or 'edm'",
}

PREDICTIONS = {"epsilon": EPS, "sample": X_0, "v_prediction": V}

VARIANCES: dict[str, Callable[..., Variance]] = {
    "fixed_small": small,
    "fixed_small_log": small,
    "fixed_large": large,
    "fixed_large_log": large,
    "learned": learned,
    "learned_range": learned_range,
}
"""variance_type: the names with _log mean the variances of those without."""

BOUND_KEYS = (
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
    "variance_type",
    "clip_sample",
    "clip_sample_range",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
)
SPACING_KEYS = ("timestep_spacing", "steps_offset")


@final
@dataclass(frozen=True, eq=False)
class Scheduler:
    """What a config says: q, how the network is read, and where each setting came from.

    `clip` is the range that x0-hat is clipped to, None for none; `settings` has the config's own
    names; `spacing` picks the steps of a shorter chain; `ignored` are keys that would clip, in a
    class that does not read them.
    """

    name: str
    schedule: Schedule
    parametrization: Parametrization
    variance_type: str
    clip: tuple[float, float] | None
    spacing: Callable[[int, int], Sequence[int]]
    settings: Mapping[str, Setting]
    ignored: tuple[str, ...] = ()

    def unclipped(self) -> "Scheduler":
        """The same without the clipping that is only its class's default, as for real numbers."""
        clips = self.settings["clip_sample"]
        if self.clip is None or clips.source != "default":
            return self
        kept = {key: x for key, x in self.settings.items() if key != "clip_sample_range"}
        return replace(self, clip=None, settings=kept | {"clip_sample": Setting(False, "default")})


@final
@dataclass(frozen=True)
class Thresholded(Parametrization):
    """x0-hat clipped to [-s, s] and divided by s, s a quantile of the image's |x0-hat| in 1..most.

    Dynamic thresholding: x0-hat of one pixel depends on all of them, as any network's does, so
    the bound holds as it stands. Source: Saharia et al. 2022, section 2.3, as diffusers has it.
    """

    inner: Parametrization
    ratio: float
    most: float

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.inner.outputs

    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        x_0 = self.inner.x_0_given(output, x_t, alpha_bar, one_minus_alpha_bar)
        flat = x_0.flatten(1)
        s = flat.abs().quantile(self.ratio, dim=1, keepdim=True).clamp(1, self.most)
        return (flat.clamp(-s, s) / s).reshape(x_0.shape)


def read_scheduler(raw: Mapping[str, Json], clip: bool | None = None) -> Scheduler:
    """The scheduler of a config file's JSON; absent keys are the defaults of its own class.

    A key that the class does not have is the class's behaviour, whatever the file says: it does
    not clip, threshold or rescale. clip: what to do in place of clip_sample and thresholding.

    Raises:
        BadInput: a chain without Gaussian steps of betas, a value of another type than its key's,
            or a setting that leaves no bound.
    """
    name = raw.get("_class_name")
    _refuse_class(name)
    config, sources = completed(str(name), raw)
    _refuse_other_paths(str(name), config)
    if clip is not None:
        config["clip_sample"], config["thresholding"] = clip, False
        sources |= {"clip_sample": "option", "thresholding": "option"}
    schedule = schedule_of(config)
    parametrization = _parametrization(config, schedule)
    if config["variance_type"] not in VARIANCES:
        raise BadInput(
            f"variance_type {config['variance_type']!r} is not one of {', '.join(VARIANCES)}"
        )
    clips = config["clip_sample"] and not config["thresholding"]
    reach = float(number_at(config, "clip_sample_range"))
    keys = [key for key in (*BOUND_KEYS, *SPACING_KEYS) if _matters(key, config)]
    return Scheduler(
        name=str(name),
        schedule=schedule,
        parametrization=parametrization,
        variance_type=config["variance_type"],
        clip=(-reach, reach) if clips else None,
        spacing=partial(class_steps, str(name), config),
        settings={key: Setting(_shown(config[key]), sources[key]) for key in keys},
        ignored=ignored_keys(raw, sources),
    )


def _refuse_class(name: object) -> None:
    """Raises BadInput for a scheduler that is not of DDPM's q, with the reason."""
    if not isinstance(name, str):
        raise BadInput("the scheduler's config has no _class_name: say which scheduler it is")
    if name in SAME_Q:
        return
    reason = next((text for part, text in REASONS.items() if part in name), None)
    raise BadInput(
        f"{name} has no betas that are read here: "
        f"{reason or 'its chain is not known to be that of DDPM'}"
    )


def _refuse_other_paths(name: str, config: Mapping[str, Json]) -> None:
    """Raises BadInput where a sampler of DDPM's q is set to run along another path."""
    if config.get("use_flow_sigmas") or config["prediction_type"] == "flow_prediction":
        raise BadInput(
            f"{name} with flow sigmas samples a flow on a grid of betas, and is not read here: "
            f"{FLOW}, or give a FlowMatchEulerDiscreteScheduler (scheduler=, --scheduler)"
        )


def _parametrization(config: Mapping[str, Json], schedule: Schedule) -> Parametrization:
    kind = config["prediction_type"]
    if kind not in PREDICTIONS:
        raise BadInput(f"prediction_type {kind!r} is not one of {', '.join(PREDICTIONS)}")
    if kind == "epsilon" and float(schedule.alpha_bar[-1]) == 0:
        raise BadInput(
            f"prediction_type epsilon cannot give x_0 at zero terminal SNR (alpha_bar[{schedule.T}]"
            " = 0, as rescale_betas_zero_snr makes it): it needs v_prediction or sample"
        )
    plain = PREDICTIONS[kind]
    if not config["thresholding"]:
        return plain
    ratio, most = (
        float(number_at(config, key)) for key in ("dynamic_thresholding_ratio", "sample_max_value")
    )
    return Thresholded(plain, ratio, most)


def _matters(key: str, config: Mapping[str, Json]) -> bool:
    """Whether this config's other settings leave the key a meaning."""
    if key in ("dynamic_thresholding_ratio", "sample_max_value"):
        return bool(config["thresholding"])
    if key == "clip_sample_range":
        return bool(config["clip_sample"]) and not config["thresholding"]
    if key in SPACING_KEYS:
        return config[key] is not None
    if key in ("beta_schedule", "beta_start", "beta_end"):
        return config["trained_betas"] is None and _has_ends(key, config["beta_schedule"])
    return key != "trained_betas" or config["trained_betas"] is not None


def _has_ends(key: str, beta_schedule: object) -> bool:
    return key == "beta_schedule" or beta_schedule in ("linear", "scaled_linear", "sigmoid")


def _shown(value: Json) -> Json:
    """A setting as JSON in one line: long tables by their length."""
    if isinstance(value, list | tuple | np.ndarray | torch.Tensor):
        return f"{len(value)} numbers"
    return value

"""A schedule of whatever says one: a name, a table, betas, or a scheduler of diffusers."""

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nelbo.arguments import scalar, shown
from nelbo.errors import BadInput
from nelbo.formats.diffusers.scheduler import Scheduler, Thresholded, read_scheduler
from nelbo.formats.given import config_of
from nelbo.gaussian.schedule import Schedule, from_betas
from nelbo.model.parts import SCHEDULES, schedule_of
from nelbo.model.settings import Setting
from nelbo.typed_json import Json

__all__ = ["Betas", "agreeing", "ends", "schedule_and_scheduler"]

ENDS = ("linear", "scaled-linear", "sigmoid")  # whose betas go from one end to the other

Betas: TypeAlias = (
    Schedule | str | Mapping[str, Json] | Sequence[float] | NDArray[np.generic] | Tensor
)
"""What wrap takes as a schedule, beside a scheduler of diffusers."""


def schedule_and_scheduler(given: object) -> tuple[Schedule, Scheduler | None]:
    """The schedule itself, by name and arguments, or of betas; and the scheduler that says it.

    Raises:
        BadInput: an unknown name, arguments that it does not take, betas outside (0, 1), or a
            scheduler of another chain.
    """
    if hasattr(given, "set_timesteps") and isinstance(getattr(given, "config", None), Mapping):
        scheduler = read_scheduler(config_of(given))
        return scheduler.schedule, scheduler
    return _schedule(given), None


def agreeing(scheduler: Scheduler, predicts: str, *, clips: bool) -> None:
    """Refuses what a scheduler's config says otherwise, or says and wrap has no word for.

    Raises:
        BadInput: another prediction_type, or dynamic thresholding.
    """
    own, betas = scheduler.parametrization, "schedule=scheduler.betas"
    if own.name != predicts:
        raise BadInput(
            f"predicts is {predicts} and the prediction_type of {scheduler.name} is {own.name}: "
            f"give predicts={own.name!r}, or its betas alone, {betas}"
        )
    if isinstance(own, Thresholded) and not clips:
        raise BadInput(
            f"{scheduler.name} has thresholding, which nelbo.load alone reads: say clip=, or give "
            f"its betas alone, {betas}"
        )


def _schedule(schedule: object) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if not isinstance(schedule, Mapping):
        return from_betas(_betas(schedule))
    arguments = {key: _plain(value) for key, value in schedule.items()}
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in SCHEDULES:
        raise BadInput(f"schedule is one of {', '.join(SCHEDULES)}, or betas; got {shown(name)}")
    return schedule_of(name, arguments, f"schedule {name}")


def _plain(value: object) -> object:
    """Scalars of numpy and torch as Python's, arrays as lists."""
    if isinstance(value, np.ndarray | Tensor) and value.ndim:
        return value.tolist()
    number = scalar(value) if isinstance(value, np.generic | np.ndarray | Tensor) else None
    return value if number is None else number


def _betas(given: object) -> list[float]:
    """beta_1..beta_T as floats."""
    try:
        if given is None or isinstance(given, bytes | os.PathLike):
            raise TypeError
        betas = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise BadInput(
            f"schedule is one of {', '.join(SCHEDULES)}, a table with a name, betas, or a "
            f"scheduler of diffusers; got {shown(given)}"
        ) from None
    if betas.ndim != 1:
        raise BadInput(f"betas are a sequence beta_1..beta_T; got shape {tuple(betas.shape)}")
    values: list[float] = betas.tolist()
    return values


def ends(schedule: object, whole: Schedule) -> dict[str, Setting]:
    """That the ends of the betas are the usual ones, where they are for another number of steps."""
    arguments = {"name": schedule} if isinstance(schedule, str) else schedule
    if not isinstance(arguments, Mapping) or arguments["name"] not in ENDS or whole.T == 1000:
        return {}
    if {"beta_1", "beta_T"} <= set(arguments):
        return {}
    ends = [float(whole.beta[1]), float(whole.beta[-1])]
    return {"beta_1, beta_T": Setting(ends, "default")}

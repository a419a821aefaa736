"""A model in continuous time of its parts: chains of any number of steps, and their limit."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from torch import nn

from nelbo.errors import BadInput
from nelbo.gaussian.along import Between, Steps
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.controls import FINEST, controls, frozen_logits
from nelbo.gaussian.decoder import Density, Discretized, LevelPosterior
from nelbo.gaussian.log_snr import LearnedLogSNR
from nelbo.gaussian.precise import InFloat64, InTheLimit
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.yardstick import Yardstick
from nelbo.model.gaussian import described_clip
from nelbo.model.model import Model
from nelbo.types import Batch, Grid, Support, Time

__all__ = ["continuous_model", "in_continuous_time"]


def continuous_model(
    trained: ContinuousGaussian,
    T: int,
    *,
    grid: Support,
    shape: tuple[int, ...],
    name: str,
    facts: Mapping[str, Any],
) -> Model:
    """The model whose chain has T steps along the curve as it is now; `every` gives any other.

    Its network is the whole of what is trained, the curve included, whose weights are `apart`:
    the ends, then the interior.

    Raises:
        BadInput: T < 2, or parts that do not go together.
    """
    # In float64 for good: a network that is later asked in bfloat16 is still along this curve.
    curve = copy.deepcopy(trained.log_snr).double().requires_grad_(False)
    fixed = ContinuousGaussian(
        trained.network,
        curve,
        parametrization=trained.parametrization,
        decoder=trained.emission,
        clip=trained.clip,
    )
    return _Family(trained, fixed, grid, shape, name, facts).steps(T)


def in_continuous_time(model: Model) -> Model:
    """Its limit, of which `every` and `keeping` make chains all the same.

    Raises:
        BadInput: a chain that has no steps between its steps.
    """
    return replace(model.in_the_limit(), discretize=model.discretize, respace=model.respace)


@final
@dataclass(frozen=True, eq=False)
class _Family:
    """The chains of one network along one curve, which no training moves any more."""

    trained: ContinuousGaussian
    fixed: ContinuousGaussian
    grid: Support
    shape: tuple[int, ...]
    name: str
    facts: Mapping[str, Any]

    def steps(self, T: int) -> Model:
        """The chain of T steps, even along the curve."""
        schedule = self.fixed.log_snr.schedule(T)
        model = self.along(schedule, T)
        return replace(model, discretize=self.steps, limit=partial(self.limit, model, schedule))

    def along(self, schedule: Schedule, T: int) -> Model:
        """The chain of T steps, or of those of them that the schedule keeps."""
        grid = self.grid
        context = None
        if isinstance(grid, Grid) and isinstance(self.fixed.emission, LevelPosterior):
            context = partial(frozen_logits, schedule, grid) if grid.n <= FINEST else None
        return Model(
            name=self.name,
            network=self.trained,
            chain=self.fixed.along(schedule),
            respace=partial(self.keeping, schedule, T),
            importance=schedule.importance,
            shape=self.shape,
            support=grid,
            embed=grid.values,
            levels=grid.levels,
            facts=self.described(T),
            log_snr=schedule.log_snr,
            context=context,
            controls=partial(controls, Steps(schedule), grid),
            arithmetic=InFloat64(),
            x_0_hat=_x_0_hat,
            yardstick=partial(Yardstick.of, Steps(schedule), grid),
            apart=_apart(self.trained),
            inner=self.trained.network,
        )

    def keeping(self, schedule: Schedule, T: int, steps: Sequence[int]) -> Model:
        """The chain of these of the schedule's steps."""
        return self.along(schedule.subchain(steps), T)

    def in_the_limit(self, T: int) -> Model:
        """The limit of the chain of T steps."""
        return self.steps(T).in_the_limit()

    def limit(self, model: Model, schedule: Schedule) -> Model:
        """The model of infinitely many steps in place of each of the schedule's."""
        between = Between(schedule, self.fixed.log_snr)
        return replace(
            model,
            respace=_no_steps,
            facts={**model.facts, "time": "continuous"},
            controls=partial(controls, between, self.grid),
            arithmetic=InTheLimit(self.fixed, between),
            yardstick=partial(Yardstick.of, between, self.grid),
            discretize=self.in_the_limit,
        )

    def described(self, T: int) -> dict[str, Any]:
        """What a report says of it."""
        fixed = self.fixed
        first, last = fixed.log_snr.ends().tolist()
        return {
            "family": "gaussian",
            "schedule": {"name": fixed.log_snr.name, "T": T, "first": first, "last": last},
            "parametrization": fixed.parametrization.name,
            "variance": "small",
            "V_1": math.exp(-first) if isinstance(fixed.emission, Discretized | Density) else None,
            "clip": described_clip(fixed.clip, self.grid),
            "decoder": fixed.emission.name,
            **self.facts,
        }


def _x_0_hat(p: Any, x_t: Batch, t: Time) -> Batch:  # noqa: ANN401
    found: Batch = p.x_0_hat(x_t, t)
    return found


def _apart(trained: ContinuousGaussian) -> tuple[tuple[nn.Parameter, ...], ...]:
    curve = trained.log_snr
    if not isinstance(curve, LearnedLogSNR):
        return ()
    return (curve.above, curve.below), (curve.a, curve.b, curve.c)


def _no_steps(steps: Sequence[int]) -> Model:
    raise BadInput("the limit of infinitely many steps has none to keep: ask for a chain's")

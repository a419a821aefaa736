"""A model in continuous time of its parts: chains of any number of steps, and their limit."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from nelbo.errors import BadInput
from nelbo.gaussian.continuous import ContinuousGaussian, LearnedLogSNR
from nelbo.gaussian.controls import FINEST, controls, frozen_logits
from nelbo.gaussian.decoder import Discretized, LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.schedule import Schedule
from nelbo.model.model import Model
from nelbo.types import Grid

__all__ = ["continuous_model"]


def continuous_model(
    trained: ContinuousGaussian,
    T: int,
    *,
    grid: Grid,
    shape: tuple[int, ...],
    name: str,
    facts: Mapping[str, Any],
) -> Model:
    """The model whose chain has T steps along the curve as it is now; `every` gives any other.

    Its network is the whole of what is trained, the curve included, whose weights are clipped
    apart: the ends, then the interior.

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
    first, last = curve.ends().tolist()
    described = {
        "family": "gaussian",
        "parametrization": fixed.parametrization.name,
        "variance": "small",
        "V_1": math.exp(-first) if isinstance(fixed.emission, Discretized) else None,
        "clip": fixed.clip is not None,
        "decoder": fixed.emission.name,
    }
    few = isinstance(fixed.emission, LevelPosterior) and grid.n <= FINEST

    def of(schedule: Schedule, whole_T: int) -> Model:
        ends = {"name": curve.name, "T": whole_T, "first": first, "last": last}
        return Model(
            name=name,
            network=trained,
            chain=fixed.along(schedule),
            respace=lambda steps: of(schedule.subchain(steps), whole_T),
            importance=schedule.importance,
            shape=shape,
            grid=grid,
            embed=grid.values,
            levels=grid.levels,
            facts={"schedule": ends, **described, **facts},
            log_snr=schedule.log_snr,
            context=partial(frozen_logits, schedule, grid) if few else None,
            controls=partial(controls, schedule, grid),
            squared_error=GaussianForward(schedule).squared_error,
            apart=_apart(trained),
        )

    def limit(model: Model) -> Model:
        return replace(
            model,
            respace=_no_steps,
            facts={**model.facts, "time": "continuous"},
            context=None,
            controls=lambda levels, context: [],
            squared_error=None,
            transition=partial(fixed.transition_term, T=model.T),
            discretize=lambda count: limit(steps(count)),
            limit=None,
        )

    def steps(count: int) -> Model:
        model = of(curve.schedule(count), count)
        return replace(model, discretize=steps, limit=lambda: limit(model))

    return steps(T)


def _apart(trained: ContinuousGaussian) -> tuple[tuple[nn.Parameter, ...], ...]:
    curve = trained.log_snr
    if not isinstance(curve, LearnedLogSNR):
        return ()
    return (curve.above, curve.below), (curve.a, curve.b, curve.c)


def _no_steps(steps: Sequence[int]) -> Model:
    raise BadInput("the limit of infinitely many steps has none to keep: ask for a chain's")

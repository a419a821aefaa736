"""A DDPM model of its parts, and of any of its sub-chains."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from nelbo.bound.chain import Chain
from nelbo.errors import BadInput
from nelbo.gaussian.along import Steps
from nelbo.gaussian.ancestral import Ancestral
from nelbo.gaussian.controls import FINEST, controls, frozen_logits
from nelbo.gaussian.decoder import Decoder, Density, LevelPosterior
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import OneTime
from nelbo.gaussian.parametrization import Linear, Parametrization
from nelbo.gaussian.precise import InFloat64
from nelbo.gaussian.reverse import GaussianReverse, TimeInput
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Tabulated, Variance, by_t
from nelbo.gaussian.yardstick import Yardstick
from nelbo.model.model import Model
from nelbo.model.settings import Setting, as_facts
from nelbo.model.spacing import evenly
from nelbo.types import Batch, Grid, Reals, Support

__all__ = ["described_clip", "gaussian_model", "improved"]

IMPROVED = ", improved"


def gaussian_model(
    network: nn.Module,
    schedule: Schedule,
    *,
    parametrization: Parametrization,
    variance: Callable[[Schedule], Variance],
    decoder: Decoder,
    time_input: TimeInput,
    clip: tuple[float, float] | None,
    grid: Support,
    shape: tuple[int, ...],
    name: str,
    facts: Mapping[str, Any],
    weights: str = "raw",
    spacing: Callable[[int, int], Sequence[int]] = evenly,
) -> Model:
    """The model whose chain is q of the schedule and p_theta of the network, and of its sub-chains.

    variance: a function of the schedule, since a sub-chain has betas and so variances of its own.
    grid: what the data are on, or Reals where they have no levels; then the decoder is a density.
    facts: `schedule`, and what else a report says beside the parametrisation, variance, V_1, clip
    and decoder, which are read off the parts where the facts do not say them.

    Raises:
        BadInput: parts that do not go together.
    """
    _check(grid, decoder)
    q, chosen = GaussianForward(schedule), variance(schedule)
    p = GaussianReverse(
        network,
        q,
        parametrization=parametrization,
        variance=chosen,
        decoder=decoder,
        time_input=time_input,
        clip=clip,
    )

    chain_of = partial(
        gaussian_model,
        network,
        parametrization=parametrization,
        variance=variance,
        decoder=decoder,
        time_input=time_input,
        clip=clip,
        grid=grid,
        shape=shape,
        name=name,
        facts=facts,
        weights=weights,
        spacing=spacing,
    )
    return Model(
        name=name,
        network=network,
        chain=Chain(q, p),
        respace=partial(_respaced, chain_of, schedule),
        importance=schedule.importance,
        shape=shape,
        support=grid,
        embed=grid.values,
        levels=grid.levels,
        facts={"family": "gaussian", "schedule": facts["schedule"], **_described(p, grid), **facts},
        weights=weights,
        spacing=spacing,
        context=_context(schedule, grid, decoder),
        controls=partial(controls, Steps(schedule), grid),
        arithmetic=InFloat64(),
        x_0_hat=GaussianReverse.x_0_hat,
        log_snr=schedule.log_snr,
        yardstick=partial(Yardstick.of, Steps(schedule), grid),
        **_in_fewer_operations(p),
    )


def _respaced(
    chain_of: Callable[[Schedule], Model], schedule: Schedule, steps: Sequence[int]
) -> Model:
    return chain_of(schedule.subchain(steps))


def _in_fewer_operations(p: GaussianReverse) -> dict[str, Any]:
    """The forms of the loss and of a step that need coefficients which t alone decides."""
    if not by_t(p.variance):
        return {}
    linear = isinstance(p.parametrization, Linear)
    return {"objective": OneTime(p), "ancestral": Ancestral if linear else None}


def _check(support: Support, decoder: Decoder) -> None:
    """Raises BadInput for masses of real numbers, or a density of integers."""
    if isinstance(support, Reals) != isinstance(decoder, Density):
        kind = "real numbers" if isinstance(support, Reals) else "integers on a grid"
        raise BadInput(
            f"the decoder {decoder.name} is not for data that are {kind}: real numbers have a "
            "density, and integers have masses"
        )


def _context(
    schedule: Schedule, support: Support, decoder: Decoder
) -> Callable[[Any, Batch], Tensor] | None:
    """What the network says of the levels at t = 1, where it does and they are few."""
    if not isinstance(support, Grid) or not isinstance(decoder, LevelPosterior):
        return None
    return partial(frozen_logits, schedule, support) if support.n <= FINEST else None


def improved(model: Model, plan: Mapping[str, Any], table: Tensor) -> Model:
    """The chain that keeps the t of plan["steps"], with these variances, row i for the i-th.

    plan: "steps", counted as the network receives them, also where the model is a sub-chain itself;
    "variance", the name of the table; what else it holds is reported. A variance that the network
    gives is dropped.

    Raises:
        BadInput: the model is no Gaussian chain, or has not these steps; a sub-chain of the
            result, whose variances are for its own steps only.
    """
    p = model.chain.p
    if not isinstance(p, GaussianReverse):
        raise BadInput(f"{model.name} is no Gaussian chain: it has no variance to improve")
    kept = {t: place for place, t in enumerate(p.q.schedule.kept.tolist(), start=1)}
    if not set(plan["steps"]) <= set(kept):
        raise BadInput(f"the chain of {model.name} has not the steps {plan['steps'][:8]}")
    schedule = p.q.schedule.subchain([kept[t] for t in plan["steps"]])
    variance = Tabulated(plan["variance"], table, p.variance.outputs)

    replaced = ("variance", "V_1", "spacing", "time")
    facts = {key: x for key, x in model.facts.items() if key not in replaced}
    if "sources" in facts:
        facts["sources"] = _sources(facts["sources"], plan, schedule, variance)
    made = gaussian_model(
        p.network,
        schedule,
        parametrization=p.parametrization,
        variance=partial(_only, variance, model.name),
        decoder=p.emission,
        time_input=p.time_input,
        clip=p.clip,
        grid=model.support,
        shape=model.shape,
        name=f"{model.name.removesuffix(IMPROVED)}{IMPROVED}",
        facts={**facts, "improved": dict(plan)},
        weights=model.weights,
    )
    return replace(made, classes=model.classes, conditions=model.conditions, encode=model.encode)


def _only(variance: Tabulated, name: str, schedule: Schedule) -> Tabulated:
    """The variance, for the chain that it was made for."""
    T = variance.table.shape[0] - 1
    if schedule.T != T:
        raise BadInput(
            f"the variances of {name} were made for its {T} steps: improve the "
            "original for another number of steps"
        )
    return variance


def _sources(
    before: Mapping[str, Any], plan: Mapping[str, Any], schedule: Schedule, variance: Variance
) -> dict[str, Any]:
    """The settings with their sources, where some were improved."""
    replaced = (
        "variance",
        "variance_type",
        "V_1",
        "steps",
        "time",
        "timestep_spacing",
        "steps_offset",
    )
    kept = {name: entry for name, entry in before.items() if name not in replaced}
    if "weights" in kept:
        kept["weights"] = {**kept["weights"], "value": plan["weights"]}
    settings = {
        "variance": Setting(plan["variance"], "improve"),
        "V_1": Setting(variance.V_1, "improve"),
        "steps": Setting(f"{schedule.T} of 1..{schedule.whole_T}", "improve"),
    }
    return {**kept, **as_facts(settings)}


def _described(p: GaussianReverse, grid: Support) -> dict[str, Any]:
    """The choices of the reverse chain, as a report says them."""
    return {
        "parametrization": p.parametrization.name,
        "variance": p.variance.name,
        "V_1": _V_1(p.emission, p.variance),
        "clip": described_clip(p.clip, grid),
        "decoder": p.emission.name,
    }


def described_clip(clip: tuple[float, float] | None, support: Support) -> bool | list[float]:
    """Whether x0-hat is clipped, where it is to the data's own range; else the range."""
    if clip is None:
        return False
    whole = isinstance(support, Grid) and clip == (support.lo, support.hi)
    return True if whole else list(clip)


def _V_1(decoder: Decoder, variance: Variance) -> float | str | None:
    """V_1 where the decoder has one; it is no number where the network alone decides it."""
    if isinstance(decoder, LevelPosterior):
        return None
    return "learned" if math.isnan(variance.V_1) else variance.V_1

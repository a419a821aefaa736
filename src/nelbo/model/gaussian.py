"""A DDPM model of its parts, and of any of its sub-chains."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from torch import nn

from nelbo.bound.chain import Chain, ReverseProcess
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.noise import Noise
from nelbo.errors import BadInput
from nelbo.gaussian.ancestral import Ancestral
from nelbo.gaussian.by_value import ByValue
from nelbo.gaussian.decoder import Decoder, Density, LevelPosterior
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.objective import OneTime
from nelbo.gaussian.parametrization import Linear, Parametrization
from nelbo.gaussian.reverse import GaussianReverse, TimeInput
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Tabulated, Variance, VarianceRule, by_t
from nelbo.model.model import Model, Step
from nelbo.model.scheduled import Scheduled, described_clip
from nelbo.model.settings import Setting, Settings
from nelbo.model.spacing import Spacing, evenly
from nelbo.typed_json import Json, list_at, number_of, part_at
from nelbo.types import Batch, Nats, Reals, Support, Time

__all__ = ["GaussianModel", "gaussian_model", "improved"]

IMPROVED = ", improved"


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GaussianModel(Scheduled):
    """The model whose chain is q of a schedule and p_theta of a network.

    variance: of a schedule, since a sub-chain has betas and so variances of its own. spacing: which
    steps a shorter chain keeps.
    """

    variance: VarianceRule
    spacing: Spacing = evenly

    @property
    def p(self) -> GaussianReverse:
        """p_theta of its chain."""
        p = self.chain.p
        assert isinstance(p, GaussianReverse)
        return p

    def choices(self) -> dict[str, Json]:
        p = self.p
        return {
            "parametrization": p.parametrization.name,
            "variance": p.variance.name,
            "V_1": _V_1(p.emission, p.variance),
            "clip": described_clip(p.clip, self.support),
            "decoder": p.emission.name,
        }

    def subchain(self, steps: Sequence[int]) -> "GaussianModel":
        schedule = self.schedule.subchain(steps)
        return replace(self, chain=_chain(self.p.along(schedule, self.variance(schedule))))

    def spread(self, steps: int) -> Sequence[int]:
        return self.spacing(self.T, steps)

    @cached_property
    def _objective(self) -> OneTime | None:
        """The loss by coefficients that t alone decides, where V_t is a number for each t."""
        return OneTime(self.p) if by_t(self.p.variance) else None

    def one_time(self, chain: Chain[StepDistribution], x_0: Batch, t: Time, noise: Noise) -> Nats:
        if self._objective is None or not isinstance(chain.p, GaussianReverse):
            return super().one_time(chain, x_0, t, noise)
        return self._objective(chain.p, x_0, t, noise)

    def step(self, p: ReverseProcess[StepDistribution], like: Batch) -> Step:
        linear = isinstance(self.p.parametrization, Linear)
        if not (linear and by_t(self.p.variance)) or not isinstance(p, GaussianReverse):
            return super().step(p, like)
        return Ancestral(p, like)


def _chain(p: GaussianReverse) -> Chain[Gaussian]:
    return Chain(p.q, p)


def gaussian_model(
    network: nn.Module,
    schedule: Schedule,
    *,
    parametrization: Parametrization,
    variance: VarianceRule,
    decoder: Decoder,
    time_input: TimeInput,
    clip: tuple[float, float] | None,
    grid: Support,
    shape: tuple[int, ...],
    name: str,
    settings: Settings,
    weights: str = "raw",
    spacing: Spacing = evenly,
) -> GaussianModel:
    """The model whose chain is q of the schedule and p_theta of the network, and of its sub-chains.

    variance: a function of the schedule, since a sub-chain has betas and so variances of its own.
    grid: what the data are on, or Reals where they have no levels; then the decoder is a density.
    settings: the schedule's name and T, and what else a report says beside the parametrisation,
    variance, V_1, clip and decoder, which the parts say themselves.

    Raises:
        BadInput: parts that do not go together.
    """
    _check(grid, decoder)
    p = GaussianReverse(
        network,
        GaussianForward(schedule),
        parametrization=parametrization,
        variance=variance(schedule),
        decoder=decoder,
        time_input=time_input,
        clip=clip,
    )
    return GaussianModel(
        name=name,
        network=network,
        chain=_chain(p),
        shape=shape,
        support=grid,
        settings=settings,
        weights=weights,
        variance=variance,
        spacing=spacing,
    )


def _check(support: Support, decoder: Decoder) -> None:
    """Raises BadInput for masses of real numbers, or a density of integers."""
    if isinstance(support, Reals) != isinstance(decoder, Density):
        kind = "real numbers" if isinstance(support, Reals) else "integers on a grid"
        raise BadInput(
            f"the decoder {decoder.name} is not for data that are {kind}: real numbers have a "
            "density, and integers have masses"
        )


def improved(
    model: Model, plan: Mapping[str, Json], variance: Tabulated | ByValue
) -> GaussianModel:
    """The chain that keeps the t of plan["steps"], with these variances, row i for the i-th.

    plan: "steps", counted as the network receives them, also where the model is a sub-chain itself;
    what else it holds is reported. A variance that the network
    gives is dropped.

    Raises:
        BadInput: the model is no Gaussian chain, or has not these steps; a sub-chain of the
            result, whose variances are for its own steps only.
    """
    p = model.chain.p
    if not isinstance(p, GaussianReverse):
        raise BadInput(f"{model.name} is no Gaussian chain: it has no variance to improve")
    kept = {t: place for place, t in enumerate(p.q.schedule.kept.tolist(), start=1)}
    steps = [int(number_of(t)) for t in list_at(plan, "steps")]
    if not set(steps) <= set(kept):
        raise BadInput(f"the chain of {model.name} has not the steps {steps[:8]}")
    schedule = p.q.schedule.subchain([kept[t] for t in steps])
    variance = replace(variance, outputs=p.variance.outputs)
    only = _Only(variance, model.name)
    return GaussianModel(
        name=f"{model.name.removesuffix(IMPROVED)}{IMPROVED}",
        network=p.network,
        chain=_chain(p.along(schedule, only(schedule))),
        shape=model.shape,
        support=model.support,
        settings=_improved_settings(model, plan, schedule, variance),
        weights=model.weights,
        classes=model.classes,
        conditions=model.conditions,
        encoder=model.encoder,
        variance=only,
    )


@final
@dataclass(frozen=True, eq=False)
class _Only:
    """The variance, for the chain that it was made for."""

    variance: Tabulated | ByValue
    name: str

    def __call__(self, schedule: Schedule) -> Tabulated | ByValue:
        T = self.variance.table.shape[0] - 1
        if schedule.T != T:
            raise BadInput(
                f"the variances of {self.name} were made for its {T} steps: improve the "
                "original for another number of steps"
            )
        return self.variance


REPLACED = ("variance", "variance_type", "V_1", "steps", "time", "timestep_spacing", "steps_offset")


def _improved_settings(
    model: Model, plan: Mapping[str, Json], schedule: Schedule, variance: Variance
) -> Settings:
    """The settings of the model, where some were improved."""
    before = model.settings
    notes = {key: x for key, x in before.notes.items() if key != "spacing"}
    sources = before.sources
    if sources is not None:
        kept = {name: setting for name, setting in sources.items() if name not in REPLACED}
        if "weights" in kept:
            kept["weights"] = replace(kept["weights"], value=plan["weights"])
        sources = {
            **kept,
            "variance": Setting(plan["variance"], "improve"),
            "V_1": Setting(variance.V_1, "improve"),
            "steps": Setting(f"{schedule.T} of 1..{schedule.whole_T}", "improve"),
        }
    return replace(
        before,
        schedule=part_at(model.facts, "schedule") or None,
        sources=sources,
        notes={**notes, "improved": dict(plan)},
    )


def _V_1(decoder: Decoder, variance: Variance) -> float | str | None:
    """V_1 where the decoder has one; it is no number where the network alone decides it."""
    if isinstance(decoder, LevelPosterior):
        return None
    return "learned" if math.isnan(variance.V_1) else variance.V_1

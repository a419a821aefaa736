"""A model in continuous time of its parts: chains of any number of steps, and their limit."""

import copy
import math
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar, final

from torch import nn

from nelbo.arguments import whole
from nelbo.bound.arithmetic import Arithmetic
from nelbo.errors import BadInput
from nelbo.gaussian.along import Between
from nelbo.gaussian.continuous import ContinuousGaussian
from nelbo.gaussian.decoder import Density, Discretized
from nelbo.gaussian.log_snr import LearnedLogSNR
from nelbo.gaussian.precise import InTheLimit
from nelbo.model.model import Model
from nelbo.model.scheduled import Scheduled, described_clip
from nelbo.model.settings import Settings
from nelbo.typed_json import Json
from nelbo.types import Support

__all__ = ["ContinuousModel", "LimitModel", "continuous_model"]

Self = TypeVar("Self", bound="_AlongCurve")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _AlongCurve(Scheduled, ABC):
    """A model of one network along one curve of log SNR, which no training moves any more.

    fixed: the network with that curve. even: the number of steps of the chain, even along the
    curve, of which it may keep some.
    """

    fixed: ContinuousGaussian
    even: int

    def along(self: Self, T: int) -> Self:
        """The same in T steps, even along the curve."""
        return replace(self, chain=self.fixed.along(self.fixed.log_snr.schedule(T)), even=T)

    @property
    def called(self) -> nn.Module:
        return self.fixed.network

    @property
    def apart(self) -> tuple[tuple[nn.Parameter, ...], ...]:
        curve = self.network.log_snr
        if not isinstance(curve, LearnedLogSNR):
            return ()
        return (curve.above, curve.below), (curve.a, curve.b, curve.c)

    def choices(self) -> dict[str, Json]:
        fixed = self.fixed
        first, last = fixed.log_snr.ends().tolist()
        return {
            "schedule": {"name": fixed.log_snr.name, "T": self.even, "first": first, "last": last},
            "parametrization": fixed.parametrization.name,
            "variance": "small",
            "V_1": math.exp(-first) if isinstance(fixed.emission, Discretized | Density) else None,
            "clip": described_clip(fixed.clip, self.support),
            "decoder": fixed.emission.name,
        }


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ContinuousModel(_AlongCurve):
    """A chain of steps that are even along the curve, or of some of them."""

    def every(self, steps: int, spacing: str | None = None) -> Model:
        if spacing is None and self.even == self.T:
            return self.along(whole("steps", steps))
        return super().every(steps, spacing)

    def subchain(self, steps: Sequence[int]) -> "ContinuousModel":
        return replace(self, chain=self.fixed.along(self.schedule.subchain(steps)))

    def in_the_limit(self) -> Model:
        return self.limit() if self.even == self.T else super().in_the_limit()

    def limit(self, *, chains: bool = False) -> "LimitModel":
        """The limit of a chain of even steps; chains: see there."""
        return replace(_like(LimitModel, self), chains=chains)


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LimitModel(_AlongCurve):
    """Infinitely many steps in place of each of the chain's, which are even along the curve.

    chains: whether `every` and `keeping` make chains of steps, as of a network on a path, whose
    usual bound is the limit; else `every` makes the limit by another number of parts.
    """

    infinite = True
    chains: bool = False

    def choices(self) -> dict[str, Json]:
        return super().choices() | {"time": "continuous"}

    @property
    def terms(self) -> Between:
        return Between(self.schedule, self.fixed.log_snr)

    @property
    def arithmetic(self) -> Arithmetic:
        return InTheLimit(self.fixed, self.terms)

    def every(self, steps: int, spacing: str | None = None) -> Model:
        if spacing is not None:
            return super().every(steps, spacing)
        steps = whole("steps", steps)
        return _like(ContinuousModel, self).along(steps) if self.chains else self.along(steps)

    def subchain(self, steps: Sequence[int]) -> Model:
        if self.chains:
            return _like(ContinuousModel, self).subchain(steps)
        raise BadInput("the limit of infinitely many steps has none to keep: ask for a chain's")

    def in_the_limit(self) -> Model:
        return replace(self, chains=False)


def _like(kind: type[Self], model: _AlongCurve) -> Self:
    """A model of another kind along the same curve."""
    return kind(**{each.name: getattr(model, each.name) for each in fields(_AlongCurve)})


def continuous_model(
    trained: ContinuousGaussian,
    T: int,
    *,
    grid: Support,
    shape: tuple[int, ...],
    name: str,
    settings: Settings,
) -> ContinuousModel:
    """The model whose chain has T steps along the curve as it is now; `every` gives any other.

    Its network is the whole of what is trained, the curve included, whose weights are `apart`:
    the ends, then the interior.

    Raises:
        BadInput: T < 2, or parts that do not go together.
    """
    # In float64 for good: a network that is later evaluated in bfloat16 is still along this curve.
    curve = copy.deepcopy(trained.log_snr).double().requires_grad_(False)
    fixed = ContinuousGaussian(
        trained.network,
        curve,
        parametrization=trained.parametrization,
        decoder=trained.emission,
        clip=trained.clip,
    )
    return ContinuousModel(
        name=name,
        network=trained,
        chain=fixed.along(curve.schedule(T)),
        shape=shape,
        support=grid,
        settings=settings,
        fixed=fixed,
        even=T,
    )

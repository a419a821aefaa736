"""A model of a network on a path, of its parts: the limit, or the chain of its own steps."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from nelbo.errors import BadInput
from nelbo.gaussian.continuous import ContinuousGaussian, LevelLikelihood
from nelbo.gaussian.decoder import Decoder
from nelbo.gaussian.log_snr import FixedLogSNR
from nelbo.gaussian.on_path import OnPath
from nelbo.gaussian.parametrization import Parametrization
from nelbo.gaussian.path import Path, TablePath
from nelbo.gaussian.reverse import TIME_INPUTS
from nelbo.gaussian.schedule import from_log_snr
from nelbo.gaussian.variance import small
from nelbo.model.continuous import LimitModel, continuous_model
from nelbo.model.gaussian import GaussianModel, gaussian_model
from nelbo.model.settings import Setting, Settings, Source
from nelbo.types import Grid, Support

__all__ = ["PathModel", "ends_of"]

T = 1000  # strata of the limit, and steps of the chain unless another number is given
QUARTER = 4  # of a spacing of levels is sigma at the top, as EDM's .002 is for 256 levels
LAST = -9.0  # the bottom of a path that ends in noise alone: L_T is below 1e-4 nats/dim on [-1, 1]


@final
@dataclass(frozen=True, eq=False)
class PathModel:
    """What a model on a path is made of; V_1 is 1/SNR at the top, and V_t beta-tilde_t.

    settings: what a report says beside the schedule, the parametrisation, the decoder and clipping.
    """

    network: OnPath
    parametrization: Parametrization
    decoder: Decoder | LevelLikelihood
    clip: tuple[float, float] | None
    support: Support
    shape: tuple[int, ...]
    name: str
    settings: Settings

    def steps(self) -> GaussianModel:
        """The chain of the steps that a network knows, of a path by tables.

        Raises:
            BadInput: a path without steps of its own, or a decoder that is not for them.
        """
        path = self.network.path
        if not isinstance(path, TablePath) or isinstance(self.decoder, LevelLikelihood):
            raise BadInput(
                f"path {path.name}: a chain of its own steps is of tables, with a Decoder"
            )
        schedule = from_log_snr(path.log_snr.tolist(), path.name)
        return gaussian_model(
            self.network,
            schedule,
            parametrization=self.parametrization,
            variance=partial(small, V_1="inverse_snr_1"),
            decoder=self.decoder,
            time_input=TIME_INPUTS["log-snr"],
            clip=self.clip,
            grid=self.support,
            shape=self.shape,
            name=self.name,
            settings=replace(self.settings, schedule={"name": path.name, "T": schedule.T}),
        )

    def limit(self, first: float, last: float) -> LimitModel:
        """The limit of ever more steps between these log SNRs; `every` makes chains of any number.

        Raises:
            BadInput: ends that do not fall, or parts that do not go together.
        """
        trained = ContinuousGaussian(
            self.network,
            FixedLogSNR(first, last),
            parametrization=self.parametrization,
            decoder=self.decoder,
            clip=self.clip,
        )
        chain = continuous_model(
            trained, T, grid=self.support, shape=self.shape, name=self.name, settings=self.settings
        )
        return chain.limit(chains=True)


def ends_of(
    path: Path, support: Support, given: tuple[float, float] | None, of_path: Source
) -> dict[str, Setting]:
    """log SNR first, at the top, where the decoder is, and log SNR last, where the prior is.

    given: (first, last), in place of the path's own ends. Where these are infinite, sigma is a
    quarter of the spacing of the levels at the top, and log SNR -9 at the bottom.

    Raises:
        BadInput: ends beyond the path's; real numbers, whose scale is not known, on a path without
            an end of its own.
    """
    most, least = path.ends
    if given is not None:
        first, last = given
        slack = 1e-9 * (1 + abs(first) + abs(last))
        if isinstance(path, TablePath):
            raise BadInput("log_snr is not for a path by tables: its steps are its log SNRs")
        if not (last < first <= most + slack and last >= least - slack):
            raise BadInput(
                f"log_snr {first:g}..{last:g} leaves the path {path.name}, which falls from "
                f"{most:g} to {least:g}"
            )
        return {"log SNR first": Setting(first, "option"), "log SNR last": Setting(last, "option")}
    top, bottom = Setting(most, of_path), Setting(least, of_path)
    if math.isinf(most):
        if not isinstance(support, Grid):
            raise BadInput(
                f"the path {path.name} begins at the data themselves: say where the bound does, by "
                "log_snr=(first, last), such as (12, -9); at the first a decoder takes over"
            )
        top = Setting(2 * math.log(QUARTER / support.spacing), "default")
    if math.isinf(least):
        bottom = Setting(LAST, "default")
    return {"log SNR first": top, "log SNR last": bottom}

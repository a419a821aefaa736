"""How a model is to be read: the same options of every command that takes a model."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, final, get_type_hints

import typer

from nelbo.errors import BadInput

__all__ = ["Decoder", "Latent", "Reading", "SecondHalf", "Weights", "reads_models"]

FOLDER: Any = {"rich_help_panel": "A diffusers folder, or another that does not state it"}


class Weights(StrEnum):
    """Which weights of a checkpoint."""

    ema = "ema"
    raw = "raw"


class Decoder(StrEnum):
    """What the data are: levels, or real numbers."""

    discretized_gaussian = "discretized-gaussian"
    density = "density"


class Latent(StrEnum):
    """What of q(latent | image) is measured."""

    sample = "sample"
    mean = "mean"


class SecondHalf(StrEnum):
    """What a second half of output channels is for."""

    learned_range = "learned-range"
    drop = "drop"


@final
@dataclasses.dataclass(frozen=True)
class Reading:
    """What the files of a model do not say, or the user's word in place of theirs."""

    weights: Annotated[
        Weights | None,
        typer.Option(help="Moving average, or last step; default the average, if there is one."),
    ] = None
    levels: Annotated[
        int | None, typer.Option(**FOLDER, help="How many levels a pixel has; default 256.")
    ] = None
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LO HI",
            **FOLDER,
            help="What the first and the last level stand for; default -1 1.",
        ),
    ] = None
    variance: Annotated[
        SecondHalf | None,
        typer.Option(**FOLDER, help="What a second half of output channels is for."),
    ] = None
    clip: Annotated[
        bool | None,
        typer.Option("--clip/--no-clip", **FOLDER, help="Clip x0-hat; default as it says."),
    ] = None
    V_1: Annotated[
        str | None,
        typer.Option(
            "--decoder-variance",
            "--V-1",
            **FOLDER,
            help="The decoder's variance: a number, beta_1, inverse_snr_1, or "
            "beta_tilde_2, the default.",
        ),
    ] = None
    label: Annotated[
        int | None, typer.Option(**FOLDER, help="The class that the bound is conditional on.")
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW", **FOLDER, help="The size of its images, or the tokens of its windows."
        ),
    ] = None
    scheduler: Annotated[
        Path | None, typer.Option(**FOLDER, help="Another scheduler_config.json, or its folder.")
    ] = None
    decoder: Annotated[
        Decoder | None,
        typer.Option(
            **FOLDER,
            help="The decoder: discretized-gaussian, bits/dim of levels, or density, nats/dim of "
            "real numbers, the only one for latents.",
        ),
    ] = None
    latent: Annotated[
        Latent | None,
        typer.Option(**FOLDER, help="What its autoencoder makes of images; default a sample."),
    ] = None
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|zero",
            **FOLDER,
            help="The embedding that a UNet2DConditionModel is conditional on.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(**FOLDER, help="The guidance scale that a distilled network receives."),
    ] = None
    variant: Annotated[
        str | None,
        typer.Option(**FOLDER, help="Which of its files of weights is read: fp16, non_ema."),
    ] = None

    log_snr: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="FIRST LAST",
            **FOLDER,
            help="The log SNRs between which the bound of a flow, EDM or VE runs.",
        ),
    ] = None

    @property
    def options(self) -> dict[str, Any]:
        """As `nelbo.load` takes them.

        Raises:
            BadInput: a V_1 or a size that is none.
        """
        return {
            "weights": None if self.weights is None else self.weights.value,
            "levels": self.levels,
            "range": self.range,
            "variance": None if self.variance is None else self.variance.value,
            "clip": self.clip,
            "V_1": _number(self.V_1),
            "label": self.label,
            "size": _sides(self.size),
            "scheduler": self.scheduler,
            "decoder": None if self.decoder is None else self.decoder.value,
            "latent": None if self.latent is None else self.latent.value,
            "condition": self.condition,
            "guidance": self.guidance,
            "variant": self.variant,
            "log_snr": self.log_snr,
        }


def _number(V_1: str | None) -> float | str | None:
    """A number where it is one; a word is left to whoever knows the words."""
    try:
        return None if V_1 is None else float(V_1)
    except ValueError:
        return V_1


def _sides(size: str | None) -> int | tuple[int, int] | None:
    if size is None:
        return None
    sides = [int(side) for side in size.lower().split("x") if side.isdecimal()]
    if size.lower() != "x".join(map(str, sides)) or len(sides) not in (1, 2) or min(sides) < 1:
        raise BadInput(f"--size is N or HxW, rows before columns, as in 32 or 24x32; got {size}")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def reads_models(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each field of Reading as an option, in place of its argument `reading`."""
    fields = dataclasses.fields(Reading)
    hints = get_type_hints(Reading, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields
    ]
    own = inspect.signature(command).parameters.values()
    kept = [p for p in own if p.name != "reading"]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:  # noqa: ANN401
        given = {field.name: arguments.pop(field.name) for field in fields}
        command(**arguments, reading=Reading(**given))

    run.__signature__ = inspect.Signature([*kept, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*kept, *options)}
    return run

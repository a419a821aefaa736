"""What the data of a network are, how its last latent is decoded and how x0-hat is clipped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nelbo.arguments import interval, number, shown, whole_numbers
from nelbo.arguments import whole as whole_number
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, Density
from nelbo.model import parts
from nelbo.model.settings import Setting, Source, chosen
from nelbo.types import Grid, Reals, Support
from nelbo.wrapping.stated import grid_of, name_of, shape_of_points

__all__ = [
    "Common",
    "clip_range",
    "decoder_of",
    "ending_of",
    "kind_of_data",
    "no_vain_clip",
    "typed",
]


@final
@dataclass(frozen=True, eq=False)
class Common:
    """What `wrap` takes of a chain of betas and of a path alike, as it was given."""

    data: object
    shape: tuple[int, ...] | None
    levels: int | None
    range: tuple[float, float] | None
    clip: bool | tuple[float, float] | None
    V_1: float | str | None
    decoder: str | Decoder | Callable[[Grid], Decoder] | None
    arguments: Mapping[str, object] | None
    classes: int | None
    conditions: Sequence[str]
    name: str | None
    sigma_data: float | None


def typed(
    given: Common,
) -> tuple[
    tuple[int, ...] | None,
    int | None,
    tuple[float, float] | None,
    bool | tuple[float, float] | None,
    float | str | None,
]:
    """(shape, levels, range, clip, V_1) by values of the right types.

    Raises:
        BadInput: a value of another type.
    """
    clip, V_1 = given.clip, given.V_1
    if not (clip is None or isinstance(clip, bool | np.bool_)):
        clip = interval("clip", clip)
    return (
        None if given.shape is None else tuple(whole_numbers("shape", given.shape)),
        None if given.levels is None else whole_number("levels", given.levels),
        None if given.range is None else interval("range", given.range),
        bool(clip) if isinstance(clip, np.bool_) else clip,
        V_1 if V_1 is None or isinstance(V_1, str) else number("V_1", V_1),
    )


def kind_of_data(
    ending: str,
    data: object,
    shape: tuple[int, ...] | None,
    of_levels: tuple[int | None, tuple[float, float] | None, bool | tuple[float, float] | None],
) -> tuple[tuple[int, ...], Support, dict[str, Setting]]:
    """The data's shape, what they are, and their settings."""
    if ending == "density":
        return shape_of_points(data, shape, of_levels), Reals(), {}
    levels, range, _ = of_levels
    return grid_of(data, shape, levels, range)


def ending_of(decoder: object, predicts: str) -> tuple[str, Source]:
    """The decoder's name, and what says it."""
    default = "levels" if predicts == "levels" else "discretized-gaussian"
    ending, source = chosen(decoder, default)
    if not isinstance(ending, str | Decoder) and not callable(ending):
        raise BadInput(f"decoder is a name, or a function of a Grid; got {shown(ending)}")
    return ending if isinstance(ending, str) else getattr(ending, "name", name_of(ending)), source


def no_vain_clip(predicts: str, clip: object) -> None:
    """Raises BadInput for a clip that would be recorded and change nothing."""
    if predicts == "levels" and clip:
        raise BadInput("clip would change nothing: x0-hat of levels is in range by itself")


def clip_range(
    clip: bool | tuple[float, float] | None, support: Support
) -> tuple[float, float] | None:
    """The range that x0-hat is clipped to."""
    if isinstance(clip, tuple):
        return clip
    return (support.lo, support.hi) if clip and isinstance(support, Grid) else None


def decoder_of(given: str | Decoder | Callable[[Grid], Decoder], support: Support) -> Decoder:
    """The decoder that was named, or given.

    Raises:
        BadInput: there is none for these data.
    """
    return parts.decoder_of(given, support) if isinstance(support, Grid) else Density()

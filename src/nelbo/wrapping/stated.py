"""What a person says of a network, checked, and what a report says of it."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import torch
from torch import Tensor, nn

from nelbo import arguments
from nelbo.categorical.transition import Transition
from nelbo.data import as_images, as_points, load, load_for
from nelbo.errors import BadInput
from nelbo.gaussian.schedule import Schedule
from nelbo.model.settings import Setting, chosen
from nelbo.typed_json import Json
from nelbo.types import Grid, Reals, Time

__all__ = [
    "OfTheWhole",
    "given_of_images",
    "grid_of",
    "keywords",
    "label_of",
    "name_of",
    "network_facts",
    "shape_and_levels",
    "shape_of_points",
]

Whole = TypeVar("Whole", Schedule, Transition)


def name_of(value: object) -> str:
    """A word itself, the name of a function or class, else that of the value's class."""
    if isinstance(value, str):
        return value
    return str(getattr(value, "__name__", type(value).__name__))


def label_of(name: object, network: object) -> str:
    """What reports call a model: as given, else by its network.

    Raises:
        BadInput: no text.
    """
    if name is not None and (not isinstance(name, str) or not name):
        raise BadInput(f"name must be a text; got {arguments.shown(name)}")
    return name or name_of(network)


def keywords(values: object) -> Mapping[str, object]:
    """What a network is called with, by keyword.

    Raises:
        BadInput: no mapping.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise BadInput(f"arguments are values by keyword; got {arguments.shown(values)}")
    return values


def network_facts(
    network: Callable[..., object], arguments: Mapping[str, object], beside: Sequence[nn.Module]
) -> dict[str, Json]:
    """What is known of the network, arguments in full where they are numbers or words."""
    facts: dict[str, Json] = {"name": name_of(network)}
    if arguments:
        facts["arguments"] = {name: _shown(value) for name, value in arguments.items()}
    if not isinstance(network, nn.Module):
        names = ", ".join(name_of(module) for module in beside)
        known = f"of {names}, which the callable evaluates" if names else "none, a plain callable"
        facts["weights_digest"] = known
    return facts


def _shown(value: object) -> Json:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"tensor {tuple(value.shape)}"
    if isinstance(value, float) and not math.isfinite(value):
        return type(value).__name__
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return type(value).__name__


def shape_and_levels(
    data: object, shape: tuple[int, ...] | None, levels: int | None
) -> tuple[tuple[int, ...], int]:
    """Shape and levels: of the data, or as given.

    Raises:
        BadInput: neither, or a contradiction.
    """
    if data is None:
        if shape is None or levels is None:
            missing = "shape" if shape is None else "levels"
            raise BadInput(
                f"wrap needs {missing}=: give shape=(C, H, W) and levels=256 (what 8-bit images "
                "have), or data="
            )
        if len(shape) != 3:
            raise BadInput(f"data with levels are images: shape is (C, H, W); got {tuple(shape)}")
        return tuple(shape), levels
    if isinstance(data, str | os.PathLike):
        images = load(data, levels=levels)
    else:
        images = as_images(data, n=levels)
    return _agreed(shape, tuple(images.levels.shape[1:]), images.name), images.n


def grid_of(
    data: object,
    shape: tuple[int, ...] | None,
    levels: int | None,
    range: tuple[float, float] | None,
) -> tuple[tuple[int, ...], Grid, dict[str, Setting]]:
    """Shape and grid of data with levels, and their settings."""
    shape, levels = shape_and_levels(data, shape, levels)
    (lo, hi), source = chosen(range, (-1.0, 1.0))
    settings = {"levels": Setting(levels, "option"), "range": Setting([lo, hi], source)}
    return shape, Grid(levels, lo, hi), settings


def shape_of_points(
    data: object, shape: tuple[int, ...] | None, of_levels: tuple[object, object, object]
) -> tuple[int, ...]:
    """The shape of data that are real numbers.

    Raises:
        BadInput: no shape, a contradiction, or levels, range or clip as only levels have them.
    """
    levels, range, clip = of_levels
    if levels is not None or range is not None or clip is True:
        raise BadInput(
            "decoder density is for data that are real numbers: leave levels= and range= out, and "
            "give clip= as a range"
        )
    if data is None:
        if shape is None:
            raise BadInput("wrap needs shape= or data=: the shape of one point, such as (2,)")
        return tuple(shape)
    points = as_points(load_for(Reals(), data) if isinstance(data, str | os.PathLike) else data)
    return _agreed(shape, tuple(points.values.shape[1:]), points.name)


def _agreed(shape: tuple[int, ...] | None, actual: tuple[int, ...], name: str) -> tuple[int, ...]:
    if shape is not None and tuple(shape) != actual:
        raise BadInput(f"shape is {tuple(shape)} and the images of {name} are {actual}")
    return actual


def given_of_images(classes: object, conditions: object) -> tuple[int | None, tuple[str, ...]]:
    """How many classes there are, and the names of what else a network is given of each image.

    Raises:
        BadInput: no number of classes, or names that are no keywords.
    """
    count = None if classes is None else arguments.whole("classes", classes, 1)
    names = (conditions,) if isinstance(conditions, str) else conditions
    if not isinstance(names, list | tuple) or not all(
        isinstance(name, str) and name.isidentifier() for name in names
    ):
        raise BadInput(
            "conditions are the names of the network's keywords, such as ('text',), whose rows "
            f"come with the data; got {arguments.shown(conditions)}"
        )
    return count, tuple(names)


@final
@dataclass(frozen=True, eq=False)
class OfTheWhole(Generic[Whole]):
    """A function of (Schedule, t), or (Transition, t), called with the whole one and its t.

    A sub-chain numbers its steps anew; the network knows the times that it was trained on.
    """

    function: Callable[[Whole, Time], Tensor]
    whole: Whole

    def __call__(self, chain: Whole, t: Tensor) -> Tensor:
        place = torch.searchsorted(self.whole.kept, chain.kept[t - 1])
        return self.function(self.whole, place + 1)

"""What a figure is of, and where it was computed, as every result says it."""

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

import torch

from nelbo.typed_json import Json, object_at

__all__ = ["environment", "kind_of", "likelihood_of", "order_of", "unchecked"]


def environment(device: torch.device, dtype: torch.dtype, world_size: int = 1) -> dict[str, Json]:
    """What else decides the digits: versions, device, dtype, TF32, number of processes.

    TF32 is on where products of matrices or convolutions may use it; torch's default is the latter.
    """
    of_convolutions = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    allowed = (torch.backends.cuda.matmul.fp32_precision, of_convolutions)
    tf32 = device.type == "cuda" and "tf32" in allowed
    return {
        "nelbo": _own_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "tf32": tf32,
        "threads": torch.get_num_threads(),
        "world_size": world_size,
    }


@cache  # it reads and parses a file, which a small evaluation would notice
def _own_version() -> str:
    return version("nelbo")


def unchecked(estimator: Mapping[str, Json]) -> list[str]:
    """A line where the network was not checked before it was measured."""
    if "check" not in estimator or estimator["check"] is not None:
        return []
    return ["  not checked: whether an image's output depends on other images or on chance"]


def likelihood_of(model: Mapping[str, Json]) -> str:
    """What a figure of the model is of, where that is not p(x), as the end of a line."""
    return f" of {model['likelihood']}" if "likelihood" in model else ""


def kind_of(model: Mapping[str, Json]) -> str:
    """likelihood, of a model of one order, whose -log p is exact; bound, of any other."""
    return "likelihood" if "order" in model else "bound"


def order_of(model: Mapping[str, Json]) -> str:
    """The order that the likelihood is exact in, as the end of a line; nothing of a bound."""
    if "order" not in model:
        return ""
    order = object_at(model, "order")
    return f", exact -log p in the order {order['name']}, {order['calls']} calls"

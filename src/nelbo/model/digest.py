"""The digest of a network's weights, in whatever form they are kept."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["digest"]


def digest(network: nn.Module) -> str:
    """SHA-256 of weights, names and bytes, in the order of their names.

    Quantised weights are their integers with the scales; those that torch.jit.freeze has written
    into the code of a module are found there.
    """
    result = hashlib.sha256()
    for name, value in [*sorted(network.state_dict().items()), *_frozen(network)]:
        for part, x in _tensors(name, value):
            result.update(f"{part} {x.dtype} {tuple(x.shape)}\n".encode())
            result.update(x.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """The plain tensors that a value consists of, each with a name; what else there is, as words.

    A state holds more than tensors where weights are packed, or a module keeps what it likes.
    """
    if isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _tensors(f"{name}.{place}", part)
    elif not isinstance(value, Tensor):
        words = f"{value}" if isinstance(value, torch.dtype | str | int | float) else ""
        yield f"{name} {type(value).__name__} {words}", torch.empty(0, dtype=torch.uint8)
    elif value.is_quantized:
        yield f"{name} {value.qscheme()}", value.int_repr()
        per_channel = value.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric)
        scale = value.q_per_channel_scales() if per_channel else torch.tensor(value.q_scale())
        zero = value.q_per_channel_zero_points() if per_channel else value.q_zero_point()
        yield f"{name}.scale", scale.double()
        yield f"{name}.zero_point", torch.as_tensor(zero).double()
    elif hasattr(value, "__tensor_flatten__"):  # weights of torchao and the like
        for inner in value.__tensor_flatten__()[0]:
            yield from _tensors(f"{name}.{inner}", getattr(value, inner))
    else:
        yield name, value


def _frozen(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The constants in the code of scripted parts, which their state does not hold."""
    for path, part in network.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            graph = part.inlined_graph  # lives as long as its nodes are looked at
            for place, node in enumerate(graph.findAllNodes("prim::Constant")):  # type: ignore[attr-defined]
                if node.hasAttribute("value") and node.kindOf("value") == "t":
                    yield f"{path} constant {place}", node.t("value")

"""Training mode is the user's: whoever measures a network gives it back as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

__all__ = ["evaluating", "single_precision", "without_gradients"]


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards every part of the networks has its own mode again.

    Parts of one network may differ: a frozen normalisation in a network that is trained. A module
    whose mode is fixed, such as one that torch.export or torch.jit.freeze made, keeps it.
    """
    modes = [
        [(part, part.training) for part in network.modules() if hasattr(part, "training")]
        for network in networks
    ]
    for network in networks:
        _train(network, False)
    try:
        yield
    finally:
        for network, parts in zip(networks, modes, strict=True):
            if parts and parts[0][0] is network:
                _train(network, parts[0][1])  # so that one which acts on the change can act on it
            for part, training in parts:
                part.training = training


def _train(network: nn.Module, mode: bool) -> None:
    """network.train(mode), and of its parts alone where it holds one that cannot be switched."""
    try:
        network.train(mode)
    except (AttributeError, RuntimeError):  # of a frozen and of an exported graph, which have none
        if hasattr(network, "training"):
            network.training = mode
        for part in network.children():
            _train(part, mode)


@contextmanager
def without_gradients(*devices: torch.device) -> Iterator[None]:
    """No graph is kept, and arithmetic is in the dtype of the weights, whatever is around.

    Not inference mode: what a network keeps of a call (a table of angles) must do for its next
    training step, and one that takes a gradient inside must be able to. Autocast that the caller
    has on is off, so that the figure is that of the dtype which the result names.
    """
    with ExitStack() as inside:
        inside.enter_context(torch.inference_mode(False))
        inside.enter_context(torch.no_grad())
        for kind in sorted({"cpu", *(device.type for device in devices)}):
            inside.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def single_precision() -> Iterator[None]:
    """Modules that are made inside are of float32, whatever torch's default is outside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

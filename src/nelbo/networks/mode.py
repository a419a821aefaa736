"""Training mode is the user's: whoever measures a network gives it back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards every part of the networks has its own mode again.

    Parts of one network may differ: a frozen normalisation in a network that is trained.
    """
    modes = [[(part, part.training) for part in network.modules()] for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for parts in modes:
            network, training = parts[0]
            network.train(training)  # so that a module which acts on the change can act on it
            for part, training in parts:
                part.training = training

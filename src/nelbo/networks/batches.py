"""A network evaluated on a few rows at a time, whatever the arithmetic around it is done on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["in_batches"]


@contextmanager
def in_batches(network: nn.Module, size: int) -> Iterator[None]:
    """network(x_t, time, ...) evaluated on at most `size` rows at a time, and put together again.

    Tables, noise and divergences cost the same for any number of rows, nearly, and so are better
    done on many at once than a network may be evaluated on. The module's own forward is back
    afterwards.
    """
    own, forward = vars(network).get("forward"), network.forward

    def split(*rows: Tensor) -> Tensor:
        if len(rows[0]) <= size:
            return forward(*rows)  # type: ignore[no-any-return]
        parts = zip(*(x.split(size) for x in rows), strict=True)
        return torch.cat([forward(*part) for part in parts])

    network.forward = split
    try:
        yield
    finally:
        if own is None:
            del network.forward
        else:
            network.forward = own

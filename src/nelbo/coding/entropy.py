"""Whole masses to bytes by constriction's range coder, with the shortest end that decodes."""

from typing import final

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from nelbo.errors import BadInput

__all__ = ["Decoder", "encoded"]

WORD = 32  # bits of what the coder puts out; its state is two words


def encoded(levels: Int64[Tensor, " D"], masses: Int64[Tensor, "D n"]) -> bytes:
    """The fewest bytes that decode to the levels: less than 8 bits more than the ideal length.

    The coder's interval [low, low + range) contains a multiple of 2^s for any 2^s <= range; zero
    bytes at the end are left out, since the decoder reads zeros past the end.
    """
    from constriction import stream

    coder = stream.queue.RangeEncoder()
    coder.encode(levels.numpy().astype(np.int32), _family(), _weights(masses))
    emitted, (below, width) = coder.pos()
    length = WORD * (emitted + 2)
    words = coder.get_compressed()
    inside = int.from_bytes(words.astype(">u4").tobytes(), "big") << (length - WORD * len(words))
    low = inside - ((inside - below) & (2**64 - 1))
    value: int = low
    for zeros in range(2 * WORD, -1, -8):
        value = -(-low >> zeros) << zeros
        if value < low + width:
            break
    return value.to_bytes(length // 8, "big").rstrip(b"\0")


@final
class Decoder:
    """Reads the levels of one image back, group by group."""

    def __init__(self, content: bytes) -> None:
        from constriction import stream

        whole = content + bytes(-len(content) % 4 + 8)
        words = np.frombuffer(whole, ">u4").astype(np.uint32)
        self.coder = stream.queue.RangeDecoder(words)

    def next(self, masses: Int64[Tensor, "g n"]) -> NDArray[np.int32]:
        """The next g levels, whose masses these are.

        Raises:
            BadInput: no levels have such a code.
        """
        try:
            levels: NDArray[np.int32] = self.coder.decode(_family(), _weights(masses))
        except AssertionError:  # what constriction raises
            raise BadInput("the coded bytes are no code of an image: they are damaged") from None
        return levels


def _family() -> object:
    from constriction import stream

    return stream.model.Categorical(perfect=False)


def _weights(masses: Int64[Tensor, "g n"]) -> NDArray[np.float64]:
    """mass - 1: constriction gives 1 to each level and shares the rest in proportion.

    The rest is what these whole numbers add up to, so the factor is 1 and nothing is rounded.
    """
    return (masses - 1).double().numpy()

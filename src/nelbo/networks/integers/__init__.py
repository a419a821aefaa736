"""Networks in whole numbers, which give the same bits on any machine."""

from nelbo.networks.integers.arithmetic import Convolution, Norm, Table, floor_root, part
from nelbo.networks.integers.twin import PER_NAT, Sizes, Twin, bits_of, inside_of, sizes_of

__all__ = [
    "PER_NAT",
    "Convolution",
    "Norm",
    "Sizes",
    "Table",
    "Twin",
    "bits_of",
    "floor_root",
    "inside_of",
    "part",
    "sizes_of",
]

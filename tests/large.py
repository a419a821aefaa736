"""What an array that is larger than memory takes: opens it, evaluates some of its images.

    python tests/large.py FILE IMAGES

Prints the seconds that opening took, and the most resident memory, in MiB, before and after the
evaluation. The file is made where it is not there: sparse, with random pixels in the first images.
"""

import re
import sys
import time
from pathlib import Path

import numpy as np
import torch

import nelbo

SHAPE = (1_281_167, 64, 64, 3)


def resident():
    """The most that this process held, in MiB; ru_maxrss would also be of the one that began it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def make(path, images):
    """A sparse .npy of SHAPE whose first images are not 0."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": SHAPE}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        rows = np.random.default_rng(0).integers(0, 256, (images, *SHAPE[1:]), dtype=np.uint8)
        file.write(rows.tobytes())
        file.truncate(start + int(np.prod(SHAPE)))


class Halves(torch.nn.Module):
    """A network that costs nothing."""

    def forward(self, x, t):
        return 0.5 * x


def main(path, images):
    if not path.exists():
        make(path, images)
    started = time.perf_counter()
    whole = nelbo.data.load(path)
    seconds, opened = time.perf_counter() - started, resident()
    assert tuple(whole.values.shape) == (SHAPE[0], 3, 64, 64)
    model = nelbo.wrap(
        Halves(),
        time_input="t",
        shape=(3, 64, 64),
        levels=256,
        schedule={"name": "linear", "T": 1000},
        predicts="eps",
        variance="small",
    )
    result = nelbo.evaluate(model, whole.first(images), budget=4 * images)
    assert result.data["taken_of"] == SHAPE[0]
    print(seconds, opened, resident())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""What an array that is larger than memory takes: opens it, evaluates some of its images.

    python benchmarks/large.py FILE [--images 1000] [--output benchmarks/results/NAME.json]

Printed: the seconds that opening took, and the most resident memory, in MiB, before and after the
evaluation. The file, a .npy or a .arrow in batches of 1000 images as datasets writes them, is made
where it is not there: sparse, with random pixels in the first images.
"""

import argparse
import importlib
import io
import re
import time
from pathlib import Path

import numpy as np
import torch
from timing import write

import nelbo
from nelbo.data import load

SHAPE = (1_281_167, 64, 64, 3)
BATCH = 1000  # images of a .arrow file that lie together


def resident():
    """The most that this process held, in MiB; ru_maxrss would also be of the one that began it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def make(path, images):
    """A sparse file of SHAPE whose first images are not 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(0).integers(0, 256, (images, *SHAPE[1:]), dtype=np.uint8)
    if path.suffix == ".arrow":
        make_arrow(path, rows)
        return
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": SHAPE}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.write(rows.tobytes())
        file.truncate(start + int(np.prod(SHAPE)))


class Sparse(io.RawIOBase):
    """A file in which long runs of 0 take no room."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def tell(self):
        return self.file.tell()

    def write(self, content):
        view = memoryview(content)
        if len(view) > 2**20 and not np.frombuffer(view, np.uint8).any():
            self.file.seek(len(view), 1)
        else:
            self.file.write(view)
        return len(view)


def make_arrow(path, rows):
    """The stream of a column of nested lists of fixed size, the last batch of which is shorter."""
    arrow = importlib.import_module("pyarrow")
    first = np.zeros((BATCH, *SHAPE[1:]), np.uint8)
    first[: len(rows)] = rows
    batches = [arrow.record_batch({"image": nested(arrow, x)}) for x in (first, 0 * first)]
    with path.open("wb") as file, arrow.ipc.new_stream(Sparse(file), batches[0].schema) as stream:
        whole, rest = divmod(SHAPE[0], BATCH)
        for number in range(whole):
            stream.write(batches[min(number, 1)])
        stream.write(batches[1].slice(0, rest))


def nested(arrow, rows):
    """The array as lists of lists of fixed size."""
    array = arrow.array(rows.reshape(-1))
    for size in rows.shape[:0:-1]:
        array = arrow.FixedSizeListArray.from_arrays(array, size)
    return array


class Halves(torch.nn.Module):
    """A network that costs nothing."""

    def forward(self, x, t):
        return 0.5 * x


def measured(path, images):
    """Opens the file, made first where it is not there, and evaluates so many of its images."""
    if not path.exists():
        make(path, images)
    started = time.perf_counter()
    whole = load(path)
    seconds, opened = time.perf_counter() - started, resident()
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
    return {
        "images of the file": result.data["taken_of"],
        "bytes": path.stat().st_size,
        "images evaluated": images,
        "seconds to open": round(seconds, 3),
        "MiB when open": round(opened, 1),
        "MiB when evaluated": round(resident(), 1),
        "sha256 of these": result.data["sha256"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write(measured(arguments.file, arguments.images), arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

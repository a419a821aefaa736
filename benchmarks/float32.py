"""By how much a network in float32 puts the terms of a fine chain off, against float64.

    python benchmarks/float32.py [--times 2000] [--output benchmarks/results/NAME.json]

16 bits, log SNR falling evenly to -9 from 10, 20, 25 or 30, in 1,000 to 100,000 steps; every
prediction, variance and clip of the law. A term is set beside float64 arithmetic at the same
x_t, as the network got it, and the same output, as it answered. Printed: the largest relative
error of L_(t-1), and of |x_0 - x0-hat|^2, over the t, which are the first 50, the last, and
even ones between.
"""

import argparse
import sys
from pathlib import Path

import torch
from timing import write

sys.path.append(str(Path(__file__).parent.parent / "tests"))
sys.path.append(str(Path(__file__).parent.parent / "tests" / "gaussian"))

from test_cancellation import CASES, LAW, Line, term_errors

TOPS, STEPS = (10.0, 20.0, 25.0, 30.0), (1_000, 10_000, 100_000)
ROWS = 200  # a call


def times(T, count):
    return torch.cat([torch.arange(2, 52), torch.linspace(52, T, count - 50).long()]).unique()


def worst(case, line, count):
    """The largest error of (a term, a squared error)."""
    parts = times(line.T, count).split(ROWS)
    errors = [term_errors(*case, line=line, t=part) for part in parts]
    return [max(column) for column in zip(*errors, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2_000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for line in (Line(T, first) for first in TOPS for T in STEPS):
        for case in CASES:
            term, square = worst(case, line, arguments.times)
            predicts, variance, clip = case
            row = {"log SNR from": line.first, "T": line.T, "predicts": predicts}
            row |= {"variance": variance, "clip": clip, "L_(t-1)": term, "error": square}
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    largest = {name: max(row[name] for row in rows) for name in ("L_(t-1)", "error")}
    about = {"t of each chain": arguments.times, "law": LAW, "worst": largest}
    write(about | {"rows": rows}, arguments.output)
    return 0 if max(largest.values()) < LAW else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a command costs where memory that is freed stays with it, and where it is given back.

    python benchmarks/freed.py "evaluate runs/digits --budget 6000" ... -o DATE-freed.json

The commands run in turn, with the allocator as `nelbo` sets it and as glibc does, which any setting
of the user's leaves alone. CPU seconds, of the program and of the kernel, and the most memory, each
the median of the repeats. {} in a command is a place for what it writes.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from timing import write

GIVEN_BACK = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}  # what it is already
WAYS = {"kept": {}, "given back": GIVEN_BACK}


def once(command: str, environment: dict[str, str], place: Path) -> dict[str, float]:
    """CPU seconds and MB of one run, which has to succeed."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        arguments = [sys.executable, "-m", "nelbo", *command.format(place).split()]
        os.execve(sys.executable, arguments, os.environ | environment)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"nelbo {command} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "program": usage.ru_utime,
        "kernel": usage.ru_stime,
        "MB": usage.ru_maxrss / 1024,
    }


def medians(command: str, repeats: int) -> dict[str, dict[str, float]]:
    runs = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, environment in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                runs[way].append(once(command, environment, Path(folder) / "made"))
    return {
        way: {key: statistics.median(run[key] for run in made) for key in made[0]}
        for way, made in runs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows = {command: medians(command, options.repeats) for command in options.commands}
    write({"threads": os.environ.get("OMP_NUM_THREADS"), "commands": rows}, options.output)


if __name__ == "__main__":
    main()

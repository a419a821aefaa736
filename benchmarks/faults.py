"""Faults by the thousand, counted by what came of each: damaged files, failing disks, kills, lines.

    python benchmarks/faults.py [--part NAME] [--cases N] [--output FILE]

Resumable: it goes on from the counts in the output. A case is a function of its number; it runs in
a process of its own kind, which is ended where a case takes too long or too much memory. Exit code
1 if anything came that must not.
"""

import argparse
import functools
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch
import typer
from fault_disk import DISK
from fault_doors import DOORS
from fault_files import BITS, CUTS, FILES, made
from fault_kills import KILLS
from fault_lines import LINES
from fault_results import RESULT_BITS, RESULT_CUTS, RESULTS
from fault_starts import STARTS
from fault_values import VALUES

import nelbo
from nelbo import files

PARTS = {
    **(FILES | CUTS | RESULTS | RESULT_CUTS | RESULT_BITS | BITS),
    **(DOORS | VALUES | DISK | KILLS | STARTS | LINES),
}
GOOD = (
    *("refused", "same", "as written", "exit 0", "exit 1", "exit 2", "exit 3"),
    *("stopped", "went on", "none fires", "not killed"),
)
LONGEST = 60.0  # seconds of a case; where processes are killed and start again, ten times as long
MEMORY = 2 * 2**30  # bytes more than before
TOGETHER = 250  # cases of one process
QUICK = Path("/dev/shm")  # a disk would take ten times as long as what is tried
OFTEN = 10.0  # seconds after which the counts are saved
SHOWN = 40  # cases that are named of each part


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--cases", type=int, help="Of each part; default those of the campaign.")
    date = datetime.now(UTC).date().isoformat()
    results = Path(__file__).parent / "results"
    parser.add_argument("--output", type=Path, default=results / f"{date}-faults.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}
    outcomes |= {"date": date, "nelbo": nelbo.__version__, "torch": torch.__version__}
    parts = outcomes.setdefault("parts", {})
    typer.main.get_command = functools.cache(typer.main.get_command)  # half of a short line's time
    os.environ["TMPDIR"] = str(QUICK if QUICK.is_dir() else tempfile.gettempdir())
    with tempfile.TemporaryDirectory(dir=os.environ["TMPDIR"]) as folder:
        place = made(Path(folder))
        for name in chosen.part or PARTS:
            campaign(name, place, chosen.cases, parts, lambda: _save(chosen.output, outcomes))
    print(table(parts))
    return int(any(bad(part) for part in parts.values()))


def campaign(
    name: str, place: Path, cases: int | None, parts: dict, save: Callable[[], object]
) -> None:
    """Goes on with a part from where its counts are, to so many cases."""
    count, make = PARTS[name]
    part = parts.setdefault(name, {"done": 0, "seconds": 0.0, "counts": {}, "bad": []})
    case = make(place)
    part["of"] = count = count or len(case)
    until = min(cases or count, count)
    longest = LONGEST * (10 if name in KILLS | STARTS else 1)
    started = time.monotonic()
    while part["done"] < until:
        end = min(part["done"] + TOGETHER, until)
        for number, what in _outcomes(case, part["done"], end, longest):
            kind = what if what in GOOD else what.split(" for ")[0]
            part["counts"][kind] = part["counts"].get(kind, 0) + 1
            if what not in GOOD and len(part["bad"]) < SHOWN:
                part["bad"].append([number, what])
            part["done"] = number + 1
            now = time.monotonic()
            if now - started > OFTEN or part["done"] == until:
                part["seconds"], started = round(part["seconds"] + now - started, 1), now
                save()


def bad(part: dict) -> int:
    """How many cases of the part came to what they must not."""
    return sum(count for kind, count in part["counts"].items() if kind not in GOOD)


def table(parts: dict) -> str:
    """A row for each part."""
    lines = []
    for name, part in parts.items():
        counts = ", ".join(f"{kind} {count:,}" for kind, count in sorted(part["counts"].items()))
        lines.append(f"{name:<32} {part['done']:>6,}/{part['of']:,}  bad {bad(part)}  ({counts})")
    return "\n".join(lines)


def _outcomes(
    case: Callable[[int], str], first: int, end: int, longest: float
) -> Iterator[tuple[int, str]]:
    """(number, what came of it) of each case, in processes that outlive no bad one."""
    while first < end:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work(case, first, end, writer)
        os.close(writer)
        what = "died"
        with os.fdopen(reader, "rb") as lines:
            while first < end:
                if not select.select([lines], [], [], longest)[0]:
                    what = "hang"
                    break
                line = lines.readline()
                if not line:
                    break
                yield first, json.loads(line)
                first += 1
            else:
                what = ""
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if what:
            yield first, what
            first += 1


def _work(case: Callable[[int], str], first: int, end: int, writer: int) -> None:
    """Runs the cases in a child, a line of JSON for each; never returns."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdin = open(os.devnull)  # noqa: SIM115
    for number in range(first, end):
        try:
            what = case(number)
        except Exception as error:
            what = f"traceback for {number}: {error!r:.300}"
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if grown > MEMORY:
            what = f"memory for {number}: {grown:,} bytes"
        os.write(writer, json.dumps(what).encode() + b"\n")
        if grown > MEMORY:
            break
    os._exit(0)


def _save(path: Path, outcomes: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    files.write(path, (json.dumps(outcomes, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())

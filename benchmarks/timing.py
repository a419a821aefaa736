"""Ratios of CPU time on one thread, and where results go."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import nelbo

__all__ = ["cpu_seconds", "medians", "options", "ratio", "write"]


def cpu_seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def medians(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """What (seconds of the work, seconds of the floor) say: work and floor took turns.

    The spread is half of what the middle half of the ratios spans, 0 of a single one.
    """
    ratios = [mine / floor for mine, floor in pairs]
    low, _, high = statistics.quantiles(ratios, method="inclusive") if ratios[1:] else (0, 0, 0)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio, spread": round((high - low) / 2, 3),
        "bare_seconds": round(statistics.median(floor for _, floor in pairs), 4),
    }


def ratio(work, bare, repeats: int) -> dict[str, float]:
    work()
    bare()
    return medians([(cpu_seconds(work), cpu_seconds(bare)) for _ in range(repeats)])


def options(about: str, repeats: int) -> argparse.Namespace:
    """The command line that these scripts have in common; torch is put on one thread."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--output", type=Path)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return parser.parse_args()


def write(results: dict, path: Path | None) -> None:
    """The results with what else decides them, on stdout and, where asked for, in a file."""
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "nelbo": nelbo.__version__,
        **results,
    }
    text = json.dumps(made, indent=1)
    print(text)
    if path is not None:
        path.write_text(text + "\n")

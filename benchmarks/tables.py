"""Every table of the documentation, measured again: `make bench` and `make bench-long`.

    python benchmarks/tables.py timings|long [--only NAME ...] [--runs runs]

`timings` takes well under an hour; `long` trains what it needs into --runs and takes a day or more.
Each table goes to benchmarks/results/DATE-NAME.json. A table that is there with the date of today
or of --date is not measured again, and scripts that keep their rows go on from them, so that the
same command with that date goes on where it was stopped. Then each is set beside the last one of
another date: what grew by more than its spread is named, and the exit code is 1.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPREAD = ", spread"  # of the figure whose key comes before it: half of what the middle half spans


@dataclass(frozen=True)
class Table:
    """What a script measures; `recipes` are those whose runs it takes, as `arguments` name them."""

    script: str
    arguments: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()


TIMINGS = {
    "overhead": Table("overhead.py"),
    "evaluate": Table("evaluate.py"),
    "sample": Table("sample.py"),
    "train": Table("train.py"),
    "ranks": Table("ranks.py"),
    "parts": Table("parts.py"),
    "large": Table("large.py", ("{runs}/large.npy",)),
    "moves": Table("moves.py", ("{runs}/smoke",)),
}
GAUSSIAN = ("digits", "digits-ddpm", "digits-edm", "digits-flow")
LONG = {
    "coverage": Table("coverage.py", ("--jobs", "2")),
    "coverage-toy": Table("coverage_toy.py"),
    "coverage-limit": Table("coverage_limit.py"),
    "check": Table("check.py", ("--networks", "{runs}/kinds")),
    "float32": Table("float32.py"),
    "ode-coverage": Table("ode.py", ("--coverage", "1000")),
    "text": Table("text.py"),
    "estimators": Table("estimators.py", ("{digits}", "{digits-ddpm}"), GAUSSIAN[:2]),
    "improve": Table("improve.py", ("{digits}", "{digits-ddpm}"), GAUSSIAN[:2]),
    "subset": Table(
        "subset.py", ("{digits}", "digits:test", "--precision", "0.05", "0.1"), ("digits",)
    ),
    "conventions": Table("conventions.py", ("{digits-ddpm}",), ("digits-ddpm",)),
    "wrong-words-digits": Table("wrong_words.py", ("{digits}", "--each", "12"), ("digits",)),
    "wrong-words-digits-ddpm": Table("wrong_words.py", ("{digits-ddpm}",), ("digits-ddpm",)),
    "paths": Table("paths.py", ("{runs}",), GAUSSIAN),
    "ode": Table(
        "ode.py", (*(f"{{{name}}}" for name in GAUSSIAN), "--log", "{runs}/ode.jsonl"), GAUSSIAN
    ),
    "classify": Table("classify.py", ("{digits-classes}",), ("digits-classes",)),
    "masked": Table("masked.py", ("{digits-absorbing}",), ("digits-absorbing",)),
    "codec": Table("codec.py", ("{digits-absorbing}-integers",), ("digits-absorbing",)),
    "same-bits": Table("same_bits.py", ("{digits-absorbing}-integers",), ("digits-absorbing",)),
    "faults": Table("faults.py"),
}


def run(*command: str | Path) -> None:
    print("+", *command, flush=True)
    subprocess.run([sys.executable, *map(str, command)], check=True)


def trained(recipe: str, runs: Path) -> Path:
    """The run of a recipe, trained where it is not there, or on from its last checkpoint."""
    folder = runs / recipe
    if not (folder / "model.safetensors").exists():
        run("-m", "nelbo", "train", recipe, "-o", folder, *(["--resume"] * folder.exists()))
    return folder


def twin(runs: Path) -> None:
    """The integer twin of the masked digits, which the codec's script takes."""
    source = trained("digits-absorbing", runs)
    made = source.with_name(source.name + "-integers")
    if not made.exists():
        run("-m", "nelbo", "improve", source, "--integers", "-o", made)


def measure(name: str, table: Table, output: Path, runs: Path) -> None:
    """Runs the script, with its runs trained first."""
    folders = {recipe: str(trained(recipe, runs)) for recipe in table.recipes}
    if name == "codec":
        twin(runs)
    given = [argument.format(runs=runs, **folders) for argument in table.arguments]
    run(HERE / table.script, *given, "--output", output)


def last_before(name: str, date: str, results: Path) -> Path | None:
    """The newest result of that table of an earlier date."""
    dated = [p for p in sorted(results.glob(f"????-??-??-{name}.json")) if p.name[:10] < date]
    return dated[-1] if dated else None


def grown(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Figures of `new` that are above those of `old` by more than both spreads, each in a line.

    Only those beside which both results have a spread: under the figure's own key with ", spread"
    after it, or, for a whole dict of figures, under the dict's.
    """
    for key, value in new.items():
        before, spread = old.get(key), [tree.get(key + SPREAD) for tree in (old, new)]
        if isinstance(value, dict) and isinstance(before, dict):
            trees = (each_with(*pair) for pair in zip((before, value), spread, strict=True))
            yield from grown(*trees, f"{path}{key}: ")
        elif None not in spread and value - before > sum(spread):
            yield f"{path}{key}: {before} ± {spread[0]} -> {value} ± {spread[1]}"


def each_with(figures: Mapping[str, Any], spreads: Mapping[str, float] | None) -> dict[str, Any]:
    """The figures with the spread of each beside it, where there are any of the whole dict."""
    return {**figures, **{name + SPREAD: value for name, value in (spreads or {}).items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", choices=("timings", "long"))
    parser.add_argument("--only", nargs="+", help="of these tables")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat())
    chosen = parser.parse_args()
    tables = TIMINGS if chosen.tables == "timings" else LONG
    if unknown := set(chosen.only or ()) - set(tables):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    lines = []
    for name in chosen.only or tables:
        output = chosen.results / f"{chosen.date}-{name}.json"
        if not output.exists() or name == "faults":  # which counts up in its file
            measure(name, tables[name], output, chosen.runs)
        if earlier := last_before(name, chosen.date, chosen.results):
            old, new = (json.loads(file.read_text()) for file in (earlier, output))
            lines += [f"{name}, since {earlier.name[:10]}: {line}" for line in grown(old, new)]
    print("\n".join(lines) or "nothing grew by more than its spread, where one is recorded")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())

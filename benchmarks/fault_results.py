"""Damaged results of every kind, parts, plans, logs, configs of others, and compressed files.

As fault_files damages recipes, tables and pictures.
"""

import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fault_disk import PLAN, SMALL
from fault_files import PLAIN, Case, Change, Damage, by_content, cut, damaged, flipped, never
from fault_lines import ended

from nelbo import formats, results
from nelbo.formats.diffusers.folder import read_json
from nelbo.recipe.plan import Plan, read_plan
from nelbo.results.part import Part
from nelbo.tasks.compress import decompress
from nelbo.training.log import read_log

sys.path.append(str(Path(__file__).parent.parent / "tests" / "formats"))

from diffusers_folders import pipeline

__all__ = ["COMMANDS", "RESULTS", "RESULT_BITS", "RESULT_CUTS"]

COMMANDS = {
    "comparison.json": ["compare", "run", "run", *SMALL, "--weights", "raw"],
    "comparisons.json": [
        "compare", "run", "run/model.safetensors", "twin.safetensors", *SMALL[:2],
        "--budget", "300",
    ],
    "improvement.json": ["improve", "run", *SMALL, "--data", "data.npy", "--steps", "2", "-o", "b"],
    "derivation.json": ["derive"],
    "inspection.json": ["inspect", "run"],
    "check.json": ["check", "run", "--no-search"],
    "classification.json": ["classify", "classes", "--max-images", "4", "--steps", "4"],
    "image_ranking.json": ["rank", "run", "--max-images", "12", "--first", "8", "--again", "0"],
    "compression.json": ["compress", "twin.safetensors", "data.npy", "--dry-run"],
    "order_bounds.json": [
        "evaluate", "twin.safetensors", "--data", "data.npy", "--max-images", "4", "--orders", "2",
    ],
    "ode.json": ["evaluate", "run", "--ode", "--steps", "8", *SMALL[:2], "--precision", "9"],
    "plan.json": ["evaluate", "--plan", "plan.toml"],
}  # fmt: skip
"""What writes a result of each kind."""


def _kind(name: str, folder: Path, change: Change = damaged) -> Case:
    if not (folder / name).exists():
        (folder / "plan.toml").write_text(PLAN)
        code, _, err = ended(folder, [*COMMANDS[name], "--json", name])
        if not (folder / name).exists():
            raise AssertionError(f"exit {code}: {err}")

    def read(path: Path) -> object:
        return results.load(path).to_dict()

    return by_content(folder, name, read, never, change)


def _part(folder: Path, change: Change = damaged) -> Case:
    def read(path: Path) -> object:
        return Part.read(path).to_json()

    return by_content(folder, "part-1.json", read, never, change)


def _plan(folder: Path, change: Change = damaged) -> Case:
    (folder / "plan.toml").write_text(PLAN)

    def written(changed: bytes) -> object:
        return Plan.model_validate(tomllib.loads(changed.decode("utf-8-sig")))

    return by_content(folder, "plan.toml", read_plan, written, change)


def _log(folder: Path, change: Change = damaged) -> Case:
    """Of a run that is shown; one that goes on holds its log against a digest."""
    lines = (folder / "run" / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(lines)

    def written(changed: bytes) -> object:
        return [json.loads(line) for line in changed.decode().splitlines()]

    return by_content(folder, "log.jsonl", read_log, written, change)


def _config(name: str, folder: Path, change: Change = damaged) -> Case:
    """A config of a folder of diffusers, which is loaded with it: as its JSON says."""
    place = folder / f"of {Path(name).name}"
    shutil.rmtree(place, ignore_errors=True)  # the last damage is in it
    pipeline(place)

    def read(path: Path) -> object:
        formats.load(place)
        return read_json(path)

    path = place / name
    content = path.read_bytes()
    return Damage(path, content, change, read, json.loads, read(path))


def _compressed(name: str, folder: Path, change: Change = damaged) -> Case:
    model = formats.load(folder / "twin.safetensors")

    def read(path: Path) -> object:
        decompressed = decompress(model, path.read_bytes(), path.name)
        return decompressed.levels.tolist(), decompressed.names

    return by_content(folder, name, read, never, change)


CONFIGS = ("scheduler/scheduler_config.json", "unet/config.json", "model_index.json")
COMPRESSED = ("many.nlb", "one.nlb")
PARTS: dict[str, tuple[int, Callable[..., Case]]] = {
    **{name: (1000, partial(_kind, name)) for name in COMMANDS},
    "part.json": (3000, _part),
    "plan.toml": (2000, _plan),
    f"log.jsonl{PLAIN}": (1000, _log),
    **{f"{name}{PLAIN}": (1000, partial(_config, name)) for name in CONFIGS},
    **{name: (20_000, partial(_compressed, name)) for name in COMPRESSED},
}
RESULTS: dict[str, tuple[int, Callable[[Path], Case]]] = dict(PARTS)
"""As FILES."""
RESULT_CUTS: dict[str, tuple[int, Callable[[Path], Case]]] = {
    f"cuts of {name.removesuffix(PLAIN)}": (0, partial(make, change=cut))
    for name, (_, make) in PARTS.items()
}
RESULT_BITS: dict[str, tuple[int, Callable[[Path], Case]]] = {
    f"bits of {name}": (0, partial(_compressed, name, change=flipped)) for name in COMPRESSED
}

"""Random command lines in this process: exit code, lines on stderr, and the files beside."""

import contextlib
import hashlib
import io
import os
import random
import shutil
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from nelbo.__main__ import main
from nelbo.cli import app
from nelbo.cli.outputs import kind_of
from nelbo.cli.terminal import TerminalOptions, set_terminal_options

__all__ = ["LINES", "ended"]

WORDS = (
    "", "-", "--", ".", "..", "/dev/null", "run", "run/model.safetensors", "result.json", "a b",
    "data.npy", "data.npz", "images.csv", "recipe.toml", "digits", "digits:test", "digits:train",
    "\x1b[2J", "\u202e", "no/such/file", "new.json", "new.html", "new.png", "new.npy", "new.csv",
    "twin.safetensors", "many.nlb", "classes", "part-1.json", "new.nlb", "new.toml", "raster",
    "hf:a/b", "mnist:", "mnist:.", "x" * 300, "cuda:99", "cpu", "test", "ema", "even", "é",
)  # fmt: skip
NUMBERS = ("0", "1", "2", "3", "-1", "1e9", "1.5", "nan", "inf", "99999999999999999999", "x", "64")
FEW = {
    "evaluate": ("--max-images", "2", "--budget", "8", "--steps", "2"),
    "compare": ("--max-images", "2", "--budget", "8", "--steps", "2"),
    "improve": ("--max-images", "2", "--budget", "8", "--steps", "2"),
    "derive": ("--steps", "2", "--paths", "2", "--images", "1"),
    "sample": ("--steps", "2", "-n", "2"),
    "train": ("--smoke",),
    "report": ("--samples", "0"),
    "rank": ("--max-images", "2", "--first", "8", "--again", "0", "--steps", "2"),
    "classify": ("--max-images", "2", "--steps", "2", "--most", "64"),
    "check": ("--no-search",),
    "compress": ("--max-images", "2", "--calls", "2"),
    "recipes": ("--no-estimate",),
}
FILES = {"compare": 2, "merge": 2, "compress": 2, "decompress": 2}
FIRST = {
    **{"train": ("digits",), "recipes": ("new", "show"), "classify": ("classes",)},
    **{"compress": ("twin.safetensors", "data.npy"), "merge": ("part-1.json", "part-2.json")},
    "decompress": ("twin.safetensors", "many.nlb"),
}
LEFT = ("demo",)  # minutes of work
FOLDERS = ("run", "classes")
KEPT = (
    *("run/model.safetensors", "result.json", "data.npy", "images.csv", "recipe.toml"),
    *("classes/model.safetensors", "twin.safetensors", "many.nlb", "part-1.json", "part-2.json"),
)


def _lines(folder: Path) -> Callable[[int], str]:
    commands = typer.main.get_command(app).commands
    names = [name for name in commands if name not in LEFT]
    place = folder / "here"
    os.environ["HF_HUB_OFFLINE"] = "1"

    def case(number: int) -> str:
        draw = random.Random(number)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name in (*FOLDERS, *KEPT):
            source = folder / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            if not (place / name).exists():
                copy(source, place / name)
        before = _digests(place)
        words = _line(draw, names, commands)
        code, out, err = ended(place, words)
        if "Traceback" in out + err:
            return "traceback"
        after = _digests(place)
        lost = [
            name
            for name, digest in before.items()
            if after.get(name) != digest and not (name in words and _same_kind(folder, place, name))
        ]
        if lost and "--force" not in words:
            return f"lost {lost[0]}"
        return _verdict(code, err, words)

    return case


def _same_kind(folder: Path, place: Path, name: str) -> bool:
    """Whether an output has been replaced by one of its own kind, as the rule for outputs is."""
    kinds = {kind_of(where / name) for where in (folder, place)}
    return len(kinds) == 1 and "unknown" not in kinds


def _verdict(code: int, err: str, words: list[str]) -> str:
    if "this is a failure" in err or code not in (0, 1, 2, 3):
        return f"exit {code} for {words!r:.300}: {err!r:.200}"
    if code == 2 and sum(line.startswith("nelbo: ") for line in err.splitlines()) != 1:
        return f"not one line for {words!r:.300}: {err!r:.200}"
    if any(c in err for c in ("\x1b", "\u202e")):
        return f"an escape for {words!r:.300}"
    return f"exit {code}"


def _line(draw: random.Random, names: list[str], commands: dict[str, Any]) -> list[str]:
    """A command with options of its own, most of whose values are of the right kind."""
    name = draw.choice(names)
    words, kinds = [name], get_type_hints(commands[name].callback)
    for option in draw.sample(
        commands[name].params, min(len(commands[name].params), draw.randrange(5))
    ):
        if option.param_type_name == "argument":
            continue
        words.append(draw.choice(option.opts + option.secondary_opts))
        if not getattr(option, "is_flag", False):
            words += [_value(draw, kinds.get(option.name)) for _ in range(option.nargs)]
    count = {"derive": draw.randrange(2), "report": draw.choice((1, 1, 2))} | FILES
    right = FIRST.get(name, ("run",))
    words[1:1] = [
        draw.choice([right[i % len(right)], "run", "run", draw.choice(WORDS)])
        if draw.random() < 0.5
        else right[i % len(right)]
        for i in range(count.get(name, 1))
    ]
    if draw.random() < 0.1:
        words.insert(draw.randrange(len(words) + 1), draw.choice(WORDS + NUMBERS))
    return [*words, *FEW.get(name, ())] if draw.random() < 0.99 else words[:1]


def _value(draw: random.Random, kind: object) -> str:
    """A value that is mostly of the kind that the option takes."""
    kinds = get_args(kind) or (kind,)
    choices = next((x for x in kinds if isinstance(x, type) and issubclass(x, Enum)), None)
    if choices is not None and draw.random() < 0.8:
        return str(draw.choice(list(choices)).value)
    number = {int, float} & set(kinds)
    return draw.choice(NUMBERS if number and draw.random() < 0.9 else WORDS)


def ended(place: Path, words: list[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line in the folder, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, typed = Path.cwd(), sys.argv
    os.chdir(place)
    sys.argv = ["nelbo", *words]
    set_terminal_options(TerminalOptions())
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
    except BaseException as error:
        return 1, "", f"Traceback {error!r}"
    finally:
        os.chdir(before)
        sys.argv = typed
    return code, out.getvalue(), err.getvalue()


def _digests(place: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((place / name).read_bytes()).hexdigest()
        for name in KEPT
        if (place / name).is_file()
    }


LINES: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {
    "command lines": (20_000, _lines)
}

"""A disk that refuses: the n-th call of each command that writes fails, for every n until none.

What a call is: a write, a sync, a rename, a new file or folder, in the folder of the case alone.
What it meets: no space, an I/O error, or half of its bytes written and no word of it.
"""

import builtins
import errno
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_files import PART
from fault_lines import ended

from nelbo import checkpoint, recipe
from nelbo.errors import BadInput
from nelbo.tasks.train import train

__all__ = ["DISK", "PLAN", "SMALL"]

KINDS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "short": 0}
WRITES, OTHERS = ("write", "pwrite", "sendfile"), ("fsync", "replace", "rename", "mkdir", "open")
SMALL = ("--max-images", "6", "--budget", "60")
RECIPE = (
    "training.steps=4", "training.checkpoint_every=2", "training.samples_every=2",
    "training.held_out=3", "training.held_out_every=2", "training.held_out_budget=12",
    "training.batch_size=8", "network.width=8", "network.blocks=1", "chain.schedule.T=4",
)  # fmt: skip
TINY = [word for choice in RECIPE for word in ("--set", choice)]
COMMANDS = {
    "train": ["train", "digits", *TINY, "-o", "new"],
    "train --resume": ["train", "--resume", "begun"],
    "evaluate": [
        "evaluate", "run", *SMALL, "--json", "new.json", "--per-image", "new.csv",
        "--record", "record",
    ],
    "evaluate --plots": [
        "evaluate", "run", *SMALL, "--json", "result.json", "--per-image", "new.parquet",
        "--plots", "plots",
    ],
    "compare": ["compare", "run", "run", *SMALL, "--weights", "raw", "--json", "new.json"],
    "derive": ["derive", "--json", "new.json", "--html", "new.html"],
    "evaluate --part": ["evaluate", "run", *PART, "--part", "1/2", "-o", "new.json"],
    "evaluate --plan": ["evaluate", "--plan", "plan.toml"],
    "merge": [
        "merge", "part-1.json", "part-2.json", "-o", "new.json", "--per-image", "new.csv",
    ],
    "check": ["check", "classes", "--no-search", "--json", "new.json"],
    "classify": [
        "classify", "classes", "--max-images", "2", "--steps", "4", "--json", "new.json",
    ],
    "rank": [
        "rank", "run", "--max-images", "12", "--first", "8", "--again", "0", "--json", "new.json",
        "--csv", "new.csv",
    ],
    "compress": [
        "compress", "twin.safetensors", "data.npy", "-o", "new.nlb", "--json", "new.json",
    ],
    "decompress": ["decompress", "twin.safetensors", "many.nlb", "-o", "new"],
    "decompress an array": ["decompress", "twin.safetensors", "many.nlb", "-o", "new.npy"],
    "decompress one": ["decompress", "twin.safetensors", "one.nlb", "-o", "new.png"],
    "recipes new": [
        "recipes", "new", "--data", "digits:train", "--test-data", "digits:test", "--no-estimate",
        "-o", "new.toml",
    ],
    "inspect": ["inspect", "run", "--json", "new.json"],
    "sample": ["sample", "run", "-n", "2", "--steps", "2", "-o", "new.png"],
    "sample an array": ["sample", "run", "-n", "2", "--steps", "2", "-o", "new.npy"],
    "report": ["report", "result.json", "--per-image", "images.csv", "-o", "new.html"],
    "report a table": ["report", "result.json", "-o", "new.tex"],
    "report a figure": ["report", "result.json", "-o", "new.svg"],
    "report two": ["report", "result.json", "result.json", "-o", "page.html"],
    "improve": [
        "improve", "run", *SMALL, "--data", "data.npy", "--steps", "2", "-o", "better",
        "--json", "new.json",
    ],
    "improve --integers": [
        "improve", "masked", "--integers", "--max-images", "4", "-o", "better",
    ],
    "demo": ["demo", "--recipe", "tiny.toml", "-o", "new"],
}  # fmt: skip
GOES_ON = {"train": ["--resume"], "demo": ["--resume"]}
CODES = {"check": 3}  # of a network that has not learnt to denoise; of all others 0
LAST = ("demo", "evaluate --plots")  # seconds each
ENDING = {
    "improve": "better",
    "improve --integers": "better",
}  # a folder that is there is no place for the same command again
VARIES = re.compile(
    rb'"(seconds|command|created|status|content_sha256|sha256)": ?[^\n,}]*'
    rb'|[\d.]+ (s|seconds|minutes)\b|data:application/gzip;base64,[^"]*'
)
KEPT = (
    *("result.json", "images.csv", "data.npy", "part-1.json", "part-2.json"),
    *("twin.safetensors", "many.nlb", "one.nlb"),
)
BEGUN, PLANNED = ("train --resume",), ("evaluate --plan", "merge")
PLAN = """
results = "planned"
budget = 60
[[model]]
path = "run"
[[data]]
spec = "digits:test"
max_images = 6
"""
GONE_ON_FROM = ("record/", "new.json.record/", "planned/", "new/", "begun/")  # and judged by that
RECORDS = ("record/", "new.json.record/")
CLOCK = ("speed.jsonl",)


class Disk:
    """Counts the calls on files in a folder, and fails the n-th by its kind; n = 0 fails none."""

    def __init__(self, folder: Path, n: int = 0, kind: str = "ENOSPC") -> None:
        self.folder, self.n, self.kind = os.path.realpath(folder), n, kind
        self.calls: list[str] = []
        self.fired = ""
        self.real = {name: getattr(os, name) for name in WRITES + OTHERS}

    @contextmanager
    def installed(self) -> Iterator["Disk"]:
        """In place of what Python writes by, until it is over."""
        before = builtins.open, io.open
        for name in WRITES + OTHERS:
            setattr(os, name, getattr(self, name))
        builtins.open = io.open = self.file
        try:
            yield self
        finally:
            builtins.open, io.open = before
            for name, real in self.real.items():
                setattr(os, name, real)

    def write(self, handle: int, content: Any) -> int:
        return self._some("write", handle, content, lambda part: self.real["write"](handle, part))

    def pwrite(self, handle: int, content: Any, place: int) -> int:
        def put(part: Any) -> int:
            return int(self.real["pwrite"](handle, part, place))

        return self._some("pwrite", handle, content, put)

    def sendfile(self, to: int, source: int, place: int, count: int) -> int:
        if self._hits("sendfile", to):
            count = self._half(count)
        return int(self.real["sendfile"](to, source, place, count))

    def fsync(self, handle: int) -> None:
        if self.kind != "short" and self._hits("fsync", handle):
            self._fail()
        self.real["fsync"](handle)

    def replace(self, source: Any, target: Any, **named: Any) -> None:
        self._named("replace", target)
        self.real["replace"](source, target, **named)

    def rename(self, source: Any, target: Any, **named: Any) -> None:
        self._named("rename", target)
        self.real["rename"](source, target, **named)

    def mkdir(self, path: Any, *arguments: Any, **named: Any) -> None:
        if not os.path.isdir(path):
            self._named("mkdir", path)
        self.real["mkdir"](path, *arguments, **named)

    def open(self, path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            self._named("open", path)
        return int(self.real["open"](path, flags, *arguments, **named))

    def file(
        self, name: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any
    ) -> Any:
        """Python's open, whose files in the folder write by this disk."""
        if isinstance(name, int) or not set(mode) & set("wax+") or not self._inside(name):
            return OPEN(name, mode, buffering, *rest, **named)
        if not os.path.lexists(name):
            self._named("open", name)
        raw = File(name, mode.replace("b", "").replace("t", ""))
        raw.disk = self
        if buffering == 0:
            return raw
        made = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return made if "b" in mode else io.TextIOWrapper(made, *rest, **named)

    def _some(self, what: str, handle: int, content: Any, put: Callable[[Any], int]) -> int:
        """All of the content or, where it fires, none or half of it."""
        if not self._hits(what, handle):
            return put(content)
        whole = memoryview(content).cast("B")
        return put(whole[: self._half(len(whole))])

    def _half(self, count: int) -> int:
        """How much a short call takes; a failing one takes half and nothing is left of the disk."""
        if self.kind != "short":
            self._fail()
        return max(1, count // 2)

    def _hits(self, what: str, handle: int) -> bool:
        try:
            regular = stat.S_ISREG(os.fstat(handle).st_mode) or what == "fsync"
            path = os.readlink(f"/proc/self/fd/{handle}")
        except OSError:
            return False
        return regular and self._inside(path) and self._counts(f"{what} {path}")

    def _named(self, what: str, path: Any) -> None:
        if self.kind != "short" and self._inside(path) and self._counts(f"{what} {path}"):
            self._fail()

    def _inside(self, path: Any) -> bool:
        place = os.path.join(os.getcwd(), os.fsdecode(path))
        return os.path.normpath(place).startswith(self.folder + os.sep)

    def _counts(self, what: str) -> bool:
        self.calls.append(what.split()[0])
        if len(self.calls) == self.n:
            self.fired = what
        return len(self.calls) == self.n

    def _fail(self) -> None:
        raise OSError(KINDS[self.kind], os.strerror(KINDS[self.kind]))


OPEN = builtins.open


class File(io.FileIO):
    """A file of Python's own, under whatever buffers, whose writes are those of a disk."""

    disk: Disk

    def write(self, content: Any) -> int:
        return self.disk._some("write", self.fileno(), content, super().write)


class Writes:
    """case(number): a command of which one call fails. len(): how many there are."""

    def __init__(self, folder: Path, names: Iterable[str] = tuple(COMMANDS)) -> None:
        self.source, self.place = folder, folder / "disk"
        self.begun = folder / "begun"
        _begin(self.begun)
        self.outcomes: dict[str, dict[str, bytes]] = {}
        self.cases: list[tuple[int, str, str]] = []
        for name in names:
            self._fill(name)
            with Disk(self.place).installed() as disk:
                code, _, err = ended(self.place, COMMANDS[name])
            if code != CODES.get(name, 0):
                raise AssertionError(f"{name} fails by itself: {err}")
            self.outcomes[name] = _outcome(self.place)
            writes = sum(call in WRITES for call in disk.calls)
            counts = {"ENOSPC": len(disk.calls), "EIO": len(disk.calls), "short": writes}
            self.cases += [(n, name, kind) for kind in KINDS for n in range(1, counts[kind] + 2)]
        self.cases.sort(key=lambda case: (case[1] in LAST, case[0] * 7919 % 101, case))

    def __len__(self) -> int:
        return len(self.cases)

    def __call__(self, number: int) -> str:
        n, name, kind = self.cases[number]
        before = self._fill(name)
        with Disk(self.place, n, kind).installed() as disk:
            code, out, err = ended(self.place, COMMANDS[name])
        what = self._judged(name, kind, disk, code, out + err, before)
        return what if " for " not in what else f"{what} [{n} {name} {kind}: {disk.fired}]"

    def _fill(self, name: str) -> dict[str, bytes]:
        """The folder as it is before the command; its contents."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for file in KEPT:
            shutil.copyfile(self.source / file, self.place / file)
        (self.place / "plan.toml").write_text(PLAN)
        words = ["begun"] if name in BEGUN else COMMANDS[name] + ["run"] * (name in PLANNED)
        for folder in {"run", "classes", "masked", "begun"} & set(words):
            shutil.copytree(self.source / folder, self.place / folder)
        if name == "demo":
            (self.place / "tiny.toml").write_text(_toml())
        return _contents(self.place)

    def _judged(
        self, name: str, kind: str, disk: Disk, code: int, text: str, before: dict[str, bytes]
    ) -> str:
        messages = [line for line in text.splitlines() if line.startswith("nelbo: ")]
        if "Traceback" in text or "this is a failure" in text:
            return f"traceback for {text[-300:]!r}"
        if code == CODES.get(name, 0):
            if disk.fired and kind != "short" and _outcome(self.place) != self.outcomes[name]:
                return "swallowed for another outcome"
            if _outcome(self.place) != self.outcomes[name]:
                return f"another outcome for {self._differs(name)}"
            return "went on" if disk.fired else "none fires"
        where = text if name == "evaluate --plan" else "".join(messages)
        if code not in (1, 2) or len(messages) != 1 or os.strerror(KINDS[kind]) not in where:
            return f"exit {code} for {messages!r:.300}"
        return self._whole(name, before) or self._again(name) or "stopped"

    def _whole(self, name: str, before: dict[str, bytes]) -> str:
        """What is left: nothing half, nothing of before changed, no litter."""
        left, whole = _contents(self.place), self.outcomes[name]
        litter = [path for path in left if path.endswith(".nelbo-part")]
        half = [
            path
            for path, content in left.items()
            if content != before.get(path)
            and _settled(content) != whole.get(path)
            and not path.startswith(GONE_ON_FROM)
        ]
        for what, paths in (
            ("litter", litter),
            ("half a file", half),
            ("lost", [path for path in before if path not in left]),
        ):
            if paths:
                return f"{what} for {paths[0]}"
        return _damaged(self.place / path for path in left if path.endswith(".safetensors"))

    def _again(self, name: str) -> str:
        """The same command where there is room again."""
        if (self.place / ENDING.get(name, "no such")).exists():
            return ""
        more = GOES_ON.get(name, []) if (self.place / "new").exists() else []
        code, _, err = ended(self.place, [*COMMANDS[name], *more])
        if code != CODES.get(name, 0):
            return f"does not go on for {err!r:.300}"
        if _outcome(self.place) != self.outcomes[name]:
            return f"goes on otherwise for {self._differs(name)}"
        return ""

    def _differs(self, name: str) -> str:
        outcome, whole = _outcome(self.place), self.outcomes[name]
        return ", ".join(x for x in outcome.keys() | whole.keys() if outcome.get(x) != whole.get(x))


def _damaged(paths: Iterator[Path]) -> str:
    for path in paths:
        try:
            checkpoint.load(path)
        except BadInput as error:
            return f"damaged for {error}"
    return ""


def _contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def _outcome(place: Path) -> dict[str, bytes]:
    """What lasts: all files, without the clock's and without a record, which starts number."""
    return {
        path: _settled(content)
        for path, content in _contents(place).items()
        if not path.endswith(CLOCK) and not path.startswith(RECORDS)
    }


def _settled(content: bytes) -> bytes:
    return VARIES.sub(b"", content)


def _begin(folder: Path) -> None:
    """A run that a kill has left after two of its four steps."""

    class Killed(Exception):
        pass

    def progress(done: int, expected: int | None, text: str) -> None:
        if done == 3:
            raise Killed

    try:
        train(recipe.read("digits", list(RECIPE)), folder, progress=progress)
    except Killed:
        return
    raise AssertionError("it was not killed")


def _toml() -> str:
    """The recipe of the tests' demo, whose chain is short."""
    choices = recipe.read("digits", list(RECIPE)).model_dump(mode="json")

    def table(tree: dict[str, Any], name: str = "") -> str:
        lines = [
            f"{key} = {json.dumps(value)}"
            for key, value in tree.items()
            if not isinstance(value, dict) and value is not None
        ]
        inner = [
            table(value, f"{name}.{key}" if name else key)
            for key, value in tree.items()
            if isinstance(value, dict)
        ]
        return "\n".join([*([f"[{name}]"] if name else []), *lines, *inner])

    return table(choices)


DISK: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {
    "writes that fail": (0, Writes)
}
"""As FILES; how many cases there are, the commands decide."""

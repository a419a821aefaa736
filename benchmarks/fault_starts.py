"""Starts: eight at once, signals at any moment, ranks that fail or differ, parts that are restored.

A part is as in fault_files. Commands are forks of this process, ranks those of the tests.
"""

import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any

import torch
from fault_disk import VARIES
from fault_kills import TESTS
from fault_lines import ended

from nelbo import checkpoint, files, stopping
from nelbo.__main__ import main
from nelbo.estimation import Processes
from nelbo.estimation.record import Record
from nelbo.training import lock, state
from nelbo.training.folder import RunFolder

sys.path[:0] = map(str, (TESTS, TESTS / "estimation"))

import ranks  # noqa: E402
import several  # noqa: E402

__all__ = ["STARTS"]

Start = Callable[[], contextlib.AbstractContextManager[object]]
FORK = multiprocessing.get_context("fork")
ENDINGS = (signal.SIGTERM, signal.SIGINT)
LIMIT, AGAIN, AT_ONCE = 30.0, 0.5, 2.0  # seconds: to the end, to a second signal, to its end
ANSWER, MOMENTS = 5, 6.0  # seconds that ranks wait for one another, and in which one fails


class Command:
    """A command line in a folder, in a process that hears signals from its first moment on."""

    def __init__(self, place: Path, words: list[str]) -> None:
        self.streams = [place.with_name(f"{place.name}.{kind}") for kind in ("out", "err")]
        self.process = FORK.Process(target=self._run, args=(place, words))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def ended(self, seconds: float) -> int | None:
        """The exit code; None of one that had to be killed after so many seconds."""
        self.process.join(seconds)
        code = self.process.exitcode
        self.process.kill()
        return code

    def _run(self, place: Path, words: list[str]) -> None:
        for number, path in enumerate(self.streams, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(place)
        sys.argv = ["nelbo", *words]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where a script ignores it
        stopping.begin()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        sys.exit(main())


def _contents(place: Path) -> dict[str, bytes]:
    """Of all files; a hidden folder is a file here, so that it is seen."""
    paths = [x for x in sorted(place.rglob("*")) if x.is_file() or x.name.startswith(".")]
    return {str(x.relative_to(place)): x.read_bytes() if x.is_file() else b"" for x in paths}


def _outcome(place: Path) -> dict[str, bytes]:
    """What lasts: without clocks, records, and checkpoints before the last, which stops add to."""
    varies = "^record/[^.]|speed.json|step-0000[0-5]"
    left = {path: VARIES.sub(b"", content) for path, content in _contents(place).items()}
    return {path: x for path, x in left.items() if not re.search(varies, path)}


def _other(left: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """The first name of what is missing, too much or not what it should be; "" for none."""
    names = sorted(left.keys() | expected.keys())
    return next((f"{x} is otherwise" for x in names if left.get(x) != expected.get(x)), "")


def _eight(folder: Path) -> Callable[[int], str]:
    """Of eight starts in one place one owns it, and by its name seven are refused."""
    source, new = (folder / "run").absolute(), folder / "eight" / "new"
    named, there, writing = "by process {} on {}:", "exists already", "is writing to"
    run, plan = RunFolder(new), json.loads('{"model": "x", "budget": 3}')
    planned = json.dumps(plan, indent=1).encode()
    one, two = ({"plan.json": planned, f"values-0000{k}-0.bin": b""} for k in (1, 2))

    def record() -> contextlib.AbstractContextManager[object]:
        return contextlib.closing(Record.open(new, plan, Processes()))

    races: list[tuple[str, Start, int, str, dict[str, bytes]]] = [
        ("nothing", lambda: lock.made(new), 1, named, {}),
        ("a dead owner's run", lambda: run.owned(True), 1, named, {}),
        ("a run", lambda: run.owned(False), 0, there, {}),
        ("no record", record, 1, f"{writing}|{there}", one),
        ("a dead owner's record", record, 1, writing, two),
    ]  # what is there, the start, its owners, why others are refused, what is new then

    def case(number: int) -> str:
        name, start, owners, refusal, more = races[number % len(races)]
        shutil.rmtree(new.parent, ignore_errors=True)
        new.parent.mkdir()
        if name.endswith("run"):
            shutil.copytree(source, new)
        if name.startswith("a dead"):
            _race(start, killed=True)
        kept = {path: x for path, x in _contents(new).items() if path != lock.OWNER}
        if name == "a dead owner's run":
            files.partial(run.model).write_bytes(b"half")  # for its owner to sweep
        lines = _race(start)
        pids = [pid for pid, line in lines if line == "owner"]
        wanted = refusal.format(*pids, os.uname().nodename) if pids else refusal
        wrong = [line for _, line in lines if line != "owner" and not re.search(wanted, line)]
        if wrong or len(pids) != owners:
            return f"{len(pids)} owners for {name}: {wrong!r:.300}"
        expected = {f"new/{path}": x for path, x in (kept | more).items()}
        what = _other(_contents(new.parent), expected)
        return f"{what} for {name}" if what else "refused"

    return case


def _race(start: Start, killed: bool = False) -> list[tuple[int, str]]:
    """(pid, "owner" or why not) of eight at once, or of one that is killed as an owner."""
    count = 1 if killed else 8
    gate, over, answers = FORK.Barrier(count), FORK.Event(), FORK.SimpleQueue()

    def racer() -> None:
        gate.wait()
        try:
            with start():
                answers.put((os.getpid(), "owner"))
                over.wait()
        except Exception as error:
            answers.put((os.getpid(), str(error)))

    racers = [FORK.Process(target=racer) for _ in range(count)]
    for process in racers:
        process.start()
    lines = [answers.get() for _ in racers]
    racers[0].kill() if killed else over.set()
    for process in racers:
        process.join()
    return lines


SMALL = """--set training.batch_size=8 --set network.width=8 --set network.blocks=1
    --set chain.schedule.T=4 --set training.held_out=3 --set training.held_out_budget=12"""
FEW = "--max-images 6 --budget 3000"
COMMANDS = {
    "train": f"""train digits {SMALL} --set training.steps=60 --set training.checkpoint_every=20
        --set training.held_out_every=20 --set training.samples_every=20 -o new""",
    "train slowly": """train digits -o new --set training.steps=2 --set training.batch_size=999
        --set training.accumulate=9""",
    "evaluate": f"evaluate run {FEW} --json new.json --per-image new.csv",
    "evaluate --record": f"evaluate run {FEW} --record record --json new.json --force",
    "sample": "sample run -n 4 --steps 50 -o new.png",
    "improve": f"improve run {FEW} --data data.npy --steps 2 -o better --json new.json",
    "compare": f"compare run run {FEW} --weights-b raw --json new.json",
    "derive": "derive --json new.json --html new.html --tex new.tex",
    "report": "report result.json --per-image images.csv -o new.html",
    "rank": "rank run --max-images 6 --json new.json --csv new.csv",
}
SAVED = re.compile(r"stopped by a signal after step (\d+), which is saved")
LINE = re.compile(rf"nelbo: (interrupted$|terminated$|{SAVED.pattern})")


class Signals:
    """case(number): a command that a signal stops: 130 or 143, one line, no half and no litter."""

    def __init__(self, folder: Path) -> None:
        self.source, self.place, self.names = folder, folder / "signals", list(COMMANDS)
        self.whole: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        for name, words in COMMANDS.items():
            self._fill()
            code, _, err = ended(self.place, words.split())  # here, so that all is imported
            self.whole[name] = _outcome(self.place)
            self._fill()
            begun = time.monotonic()
            if code != 0 or Command(self.place, words.split()).ended(LIMIT) != 0:
                raise AssertionError(f"{name} fails by itself: {err}")
            self.seconds[name] = time.monotonic() - begun

    def __call__(self, number: int) -> str:
        draw, name = random.Random(number), self.names[number % len(self.names)]
        before, moment = self._fill(), draw.uniform(0, self.seconds[name])
        numbers = [draw.choice(ENDINGS)]
        command = Command(self.place, COMMANDS[name].split())
        time.sleep(moment)
        os.kill(command.process.pid or 0, numbers[0])
        if draw.random() < 0.4 or name == "train slowly":
            command.process.join(AGAIN + draw.uniform(0.05, 0.5))
            if command.process.exitcode is None:
                numbers.append(draw.choice(ENDINGS))
                os.kill(command.process.pid or 0, numbers[1])
        code = command.ended(LIMIT if len(numbers) == 1 else AT_ONCE)
        text = "".join(path.read_text() for path in command.streams)
        messages = re.findall(r"(?m)^nelbo: .*$", text)
        lines = [bool(LINE.match(message)) for message in messages]
        if code == 0:
            what = _other(_outcome(self.place), self.whole[name])
        elif code not in {128 + number for number in numbers} or "Traceback" in text:
            what = f"exit {code}"
        elif lines != [True] and (lines or len(numbers) == 1):
            what = f"{len(lines)} lines"
        else:
            what = self._half(name, before, len(numbers)) or self._again(name, messages)
        case = f"for {name}, {numbers} after {moment:.3f} s: {text[-300:]!r}"
        return f"{what} {case}" if what else "not killed" if code == 0 else "stopped"

    def _fill(self) -> dict[str, bytes]:
        """The folder as it is before a command; its contents."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.source / "run", self.place / "run")
        for file in ("result.json", "images.csv", "data.npy"):
            shutil.copyfile(self.source / file, self.place / file)
        return _outcome(self.place)

    def _half(self, name: str, before: dict[str, bytes], signals: int) -> str:
        """What is there and not whole; a second signal may leave a part, which is swept later."""
        for path in self.place.glob("new/**/[!.]*.safetensors"):
            checkpoint.load(path)
        grows = r"^(record|new)(?!.*/\.)" if signals == 1 else r"^(record|new)/|(^|/)\."
        left = {path: x for path, x in _outcome(self.place).items() if not re.search(grows, path)}
        known = {path: x for path, x in self.whole[name].items() if left.get(path) == x}
        return _other(left, before | known)

    def _again(self, name: str, messages: list[str]) -> str:
        """The step that it names is saved, and the same command goes on to the same bytes."""
        for step in SAVED.findall("".join(messages)):
            if not (self.place / f"new/checkpoints/step-{int(step):06d}.safetensors").exists():
                return "not saved"
        if not name.startswith(("train", "evaluate --record")):
            return ""
        words = COMMANDS[name].split() + ["--resume"] * name.startswith("train")
        code, _, err = ended(self.place, words)
        return f"does not go on: {err}" if code else _other(_outcome(self.place), self.whole[name])


KEYS = ("training.seed", "training.steps", "network.width", "training.batch_size")
OTHER = ("--seed 0|1", "--steps 4|3", "--weights ema|raw", "--data digits --split test|train")
OTHERS = (  # a|b: each rank's
    *(f"train digits -o NEW --set {key}=8|{key}=16" for key in KEYS),
    "train digits|digits-ddpm -o NEW",
    "train digits -o NEW --set data.train=digits:train|data.train=digits:test",
    *(f"evaluate RUN {FEW} --json NEW {words}" for words in OTHER),
    f"evaluate RUN|OTHER {FEW} --json NEW",
    "evaluate RUN --json NEW --record RECORD --max-images 8|9",
    f"compare RUN RUN|OTHER {FEW} --json NEW",
)
ENDLESS = (
    f"train digits {SMALL} --set training.steps=1000000 -o NEW",
    "evaluate RUN --exhaustive --json NEW --record RECORD",
)


class Two:
    """case(number): two ranks of other choices are refused; beside one that fails the other ends.

    They wait for seconds, not half an hour; what hangs is killed here, not by a launcher.
    """

    def __init__(self, folder: Path) -> None:
        self.place, self.new = folder / "ranks", folder / "ranks" / "new"
        names = {"NEW": "ranks/new", "RECORD": "ranks/record", "RUN": "run", "OTHER": "other"}
        self.named = {name: str(folder / path) for name, path in names.items()}
        ended(folder, ["train", "digits", "--smoke", "-o", "other"])

    def __call__(self, number: int) -> str:
        draw, victim, moment = random.Random(number), number % 2, 0.0
        if number % 5 < 2:
            words = OTHERS[(number // 5 * 2 + number % 5) % len(OTHERS)]
            ends, code, start = self._started(words).ended(ranks.TOGETHER), 2, "rank 0 and rank 1"
        else:
            words, how = ENDLESS[draw.randrange(2)], draw.choice((signal.SIGKILL, signal.SIGSTOP))
            both, moment = self._started(words), draw.uniform(0, MOMENTS)
            time.sleep(moment)
            os.kill(both.processes[victim].pid, how)
            both.processes[1 - victim].join(ranks.TOGETHER)
            both.kill(victim)
            ends, code = [both.ended(1.0)[1 - victim]], 1
            start, words = f"rank {1 - victim} stops because", f"{words} {how.name}"
        wanted = (code, "", [f"nelbo: {start}"])
        line = f"(?m)^nelbo: (?:{start})?|Traceback"
        left = self.new.is_file() or (self.new / checkpoint.NAME).exists()
        if not left and all((e.code, e.out, re.findall(line, e.err)) == wanted for e in ends):
            return "refused" if code == 2 else "stopped"
        return f"not {code} for {words}, rank {victim} after {moment:.2f} s: {ends!r:.700}"

    def _started(self, words: str) -> ranks.Ranks:
        shutil.rmtree(self.place, ignore_errors=True)
        pairs = [(2 * word.split("|"))[:2] for word in words.split()]
        paths = (tuple(self.named.get(one, one) for one in pair) for pair in pairs)
        return ranks.Ranks(self.place, several.nelbo_within, ANSWER, *paths)


RESTORED = f"""train digits {SMALL} --set training.steps=15 --set training.checkpoint_every=4
    --set training.times=importance --set training.held_out_every=3 --set training.patience=9"""
NEWEST = "checkpoints/step-000012.safetensors"
TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "of another shape": lambda x: torch.cat([x.flatten(), x.flatten()[:1]]),
    "of another type": lambda x: x.to(torch.float64 if x.dtype != torch.float64 else torch.float32),
    "not finite": lambda x: torch.full_like(x, nan),
    "below 0": lambda x: torch.full_like(x, -1),
    "all 0": torch.zeros_like,
}
ENTRIES = {"a text": "text", "a list": [None], "null": None, "not finite": nan, "below 0": -1}


class Restored:
    """case(number): a checkpoint without one of its parts, whose digests are right, is refused."""

    def __init__(self, folder: Path) -> None:
        self.begun, self.place = folder / "to resume", folder / "restored"
        ended(folder, [*RESTORED.split(), "-o", self.begun.name])
        (self.begun / checkpoint.NAME).unlink(missing_ok=True)  # as a kill before its end leaves it
        self.stored = checkpoint.load(self.begun / NEWEST)
        self.cases: list[tuple[tuple[str, ...], str]] = []
        for path, value in [*_entries(self.stored.tensors), *_entries(self.stored.description)]:
            self.cases += [(path, what) for what in _wrong(path, value)]
        random.Random(0).shuffle(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __call__(self, number: int) -> str:
        path, what = self.cases[number]
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.begun, self.place / "run")
        self._alter(path, what)
        before = _contents(self.place)
        code, out, err = ended(self.place, ["train", "--resume", "run"])
        case = f"{'.'.join(path)} for {what}: {err[-300:]!r}"
        if code == 0:
            return f"goes on without {case}"
        if code != 2 or out or err.count("\n") != 1 or not err.startswith("nelbo: "):
            return f"exit {code} with {case}"
        other = _other(_contents(self.place), before)
        return f"{other} with {case}" if other else "refused"

    def _alter(self, path: tuple[str, ...], what: str) -> None:
        tensors, tree = dict(self.stored.tensors), json.loads(json.dumps(self.stored.description))
        *way, key = path
        tensor = key in tensors and not way
        parts: dict[str, Any] = tensors if tensor else tree
        for step in way:
            parts = parts[step]
        value = parts.pop(key)
        made = TENSORS.get(what, torch.clone)(value) if tensor else ENTRIES.get(what, value)
        if what != "removed":
            parts[key + "-" * (what == "renamed")] = made
        if tensor:
            tree["state"]["tensors"] = {name: state._sha256(x) for name, x in tensors.items()}
        checkpoint.save(self.place / "run" / NEWEST, checkpoint.Checkpoint(tensors, tree))


def _entries(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys, value) of all that it holds, however deep."""
    for key, value in tree.items():
        yield (key,), value
        if isinstance(value, Mapping):
            yield from (((key, *way), x) for way, x in _entries(value))


def _wrong(path: tuple[str, ...], x: Any) -> list[str]:
    """What the part cannot be; null may as well be left out, and recipes of before lack a key."""
    wrong = [] if x is None else ["renamed", *["removed"] * (path[0] != "recipe")]
    if isinstance(x, torch.Tensor):  # it counts, or is a mean of squares, or a generator
        counts = path[0].endswith((".step", ".seen", "updates.ema"))
        wrong += ["of another shape", "of another type", *["not finite"] * x.is_floating_point()]
        wrong += ["below 0"] * (counts or path[0].endswith("exp_avg_sq"))
        return wrong + ["all 0"] * (counts or path[0].startswith("generator"))
    number, own = isinstance(x, int | float), path[0] == "state"
    wrong += ["a list" if isinstance(x, str) else "a text"] + ["not finite"] * number
    wrong += ["below 0"] * (number and own and path[-1] != "smoothed")  # of densities it may be
    return wrong + ["null"] * (own and x is not None)


STARTS: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {
    "eight starts at once": (100, _eight),
    "signals": (100, Signals),
    "ranks that fail or differ": (30, Two),
    "parts that are restored": (0, Restored),
}

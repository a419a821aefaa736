"""Ranks as torchrun starts them, but forked from a process that has imported everything: 0.3 s."""

import multiprocessing
import multiprocessing.connection
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from nelbo.estimation import evaluator

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["accelerate", "torch", "nelbo.formats", "nelbo.tasks.evaluate"])
TOGETHER = 60.0  # seconds after the death of a rank in which all have ended
LIMIT = 600.0  # seconds for anything else


@dataclass(frozen=True)
class Ended:
    """What a rank left: its exit code, negative for a signal, and its two streams."""

    code: int
    out: str
    err: str


class Ranks:
    """Running ranks of one launch; what each prints goes to files in the folder."""

    def __init__(self, folder, target, *arguments, size=2):
        self.folder, self.size = Path(folder), size
        self.folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = [
            CONTEXT.Process(target=_rank, args=(rank, size, port, self.folder, target, arguments))
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def kill(self, rank):
        self.processes[rank].kill()

    def end_together(self, patience=10.0):
        """Ends the others some time after one has failed, as every launcher does.

        One that waits for it in the library that connects them would not hear a SIGTERM.
        """
        while any(process.is_alive() for process in self.processes):
            multiprocessing.connection.wait([process.sentinel for process in self.processes], 0.1)
            if any(process.exitcode for process in self.processes):
                for process in self.processes:
                    process.join(patience)
                    process.kill()

    def ended(self, limit=LIMIT):
        """Every rank's end, by rank; one that outlives the limit fails the test."""
        until = time.monotonic() + limit
        for process in self.processes:
            process.join(max(until - time.monotonic(), 0))
        late = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        for rank in late:
            self.kill(rank)
            self.processes[rank].join()
        assert not late, f"ranks {late} went on for {limit} s: {self._streams()}"
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.close()
        return [Ended(code, *texts) for code, texts in zip(codes, self._streams(), strict=True)]

    def _streams(self):
        paths = [(self.folder / f"out-{r}", self.folder / f"err-{r}") for r in range(self.size)]
        return [tuple(p.read_text() if p.exists() else "" for p in pair) for pair in paths]


def results(folder, target, *arguments, size=2):
    """What target(processes, *arguments) returns in each rank, by rank."""
    ends = Ranks(folder, _returning, target, Path(folder), arguments, size=size).ended()
    assert [end.code for end in ends] == [0] * size, ends
    return [torch.load(Path(folder) / f"result-{rank}.pt") for rank in range(size)]


def wait_for(condition):
    """Until it holds."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def nelbo(*arguments, folder=None):
    """The command line; each argument is a text, or one for each rank."""
    from nelbo.__main__ import main

    if folder is not None:
        os.chdir(folder)
    rank = int(os.environ["RANK"])
    chosen = [x[rank] if isinstance(x, tuple) else x for x in arguments]
    sys.argv = ["nelbo", *map(str, chosen)]
    sys.exit(main())


def _rank(rank, size, port, folder, target, arguments):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    evaluator.CELLS = 1  # every batch is a chunk of its own: more of them, and more meetings
    target(*arguments)


def _returning(target, folder, arguments):
    from nelbo.estimation import Processes

    processes = Processes.started()
    torch.save(target(processes, *arguments), folder / f"result-{processes.rank}.pt")

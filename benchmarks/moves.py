"""How many files one `nelbo evaluate` walks through, and how often it moves from one to another.

    python benchmarks/moves.py RUN [--output benchmarks/results/NAME.json]

What a reader has to follow: calls are counted by a profile hook, without those while modules are
imported. The run is trained for some seconds where it is not there.
"""

import argparse
import itertools
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from timing import write

import nelbo
from nelbo.__main__ import main as command_line

PACKAGE = Path(nelbo.__file__).parent
BUDGET = 2000  # the fewest evaluations that 500 images take


def importing(frame) -> bool:
    """Whether a module of ours is being imported."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and Path(code.co_filename).is_relative_to(PACKAGE):
            return True
        frame = frame.f_back
    return False


def walked(*arguments: str) -> list[str]:
    """The file of each call of ours, in their order."""
    files = []

    def seen(frame, event, arg):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)) and not importing(frame):
            files.append(str(Path(file).relative_to(PACKAGE)))

    sys.argv = ["nelbo", *arguments]
    sys.setprofile(seen)
    try:
        with redirect_stdout(StringIO()):
            command_line()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.setprofile(None)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    if not chosen.run.exists():
        train = ["-m", "nelbo", "train", "digits", "--smoke", "-o", chosen.run]
        subprocess.run([sys.executable, *train], check=True)
    command = ["evaluate", "--budget", str(BUDGET), "-q"]
    files = walked(*command, str(chosen.run))
    moves = [there for here, there in itertools.pairwise(files) if here != there]
    results = {
        "command": " ".join(["nelbo", *command, "RUN"]),
        "files": len(set(files)),
        "moves between files": len(moves),
        "moves into": dict(Counter(moves).most_common(10)),
    }
    write(results, chosen.output)


if __name__ == "__main__":
    main()

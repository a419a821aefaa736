"""What a shell is offered for a word; where nothing of ours fits, its own file names.

A word is completed while somebody waits: nothing heavy is imported here.
"""

import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from nelbo.cli.start import runs
from nelbo.errors import BadInput, printable

__all__ = ["SHELLS", "data", "devices", "models", "recipes", "splits", "with_shell"]

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")  # those that typer writes scripts for
OPTIONS = frozenset({"--show-completion", "--install-completion"})


def with_shell(arguments: Sequence[str]) -> list[str]:
    """The same arguments, with the shell's name behind an option that writes a completion script.

    typer looks for a shell among the parent processes and takes no name; under setsid, cron and
    job runners there is none. Without a name the shell is the parent's, else that of $SHELL.

    Raises:
        BadInput: the shell is none of SHELLS, or none is named and none is found.
    """
    place = next((i for i, argument in enumerate(arguments) if argument in OPTIONS), None)
    if place is None:
        return list(arguments)
    option, others = arguments[place], arguments[place + 1 :]
    named = bool(others) and not others[0].startswith("-")
    shell = others[0] if named else _shell()
    if shell not in SHELLS:
        raise BadInput(f"{option} takes one of {', '.join(SHELLS)}; got {shell or 'no shell'}")
    os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # the option takes a name
    return [*arguments[: place + 1], shell, *others[named:]]


def _shell() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return Path(os.environ.get("SHELL", "")).name


def models(incomplete: str) -> list[str]:
    """The run folders here and in runs/, and the diffusers folders here."""
    pipelines = (path.parent for path in Path().glob("*/model_index.json"))
    return _fitting(incomplete, [*(str(run.path) for run in runs(Path())), *map(str, pipelines)])


def recipes(incomplete: str) -> list[str]:
    """Those of the package, .toml files here and in recipes/, and runs to go on with."""
    folder = resources.files("nelbo") / "recipes"
    names = [file.name.removesuffix(".toml") for file in folder.iterdir()]
    own = [str(path) for place in (".", "recipes") for path in Path(place).glob("*.toml")]
    begun = [str(run.path) for run in runs(Path()) if run.begun]
    return _fitting(incomplete, [*sorted(names), *sorted(own), *begun])


def data(incomplete: str) -> list[str]:
    """Named data sets, and folders here that hold MNIST's files."""
    idx = sorted({f"mnist:{path.parent}" for path in Path().glob("*/*-idx3-ubyte*")})
    return _fitting(incomplete, ["digits", "digits:train", "digits:test", *idx])


def splits(incomplete: str) -> list[str]:
    """The parts of a named data set."""
    return _fitting(incomplete, ["train", "test"])


def devices(incomplete: str) -> list[str]:
    """The kinds of devices."""
    return _fitting(incomplete, ["auto", "cpu", "cuda"])


def _fitting(incomplete: str, words: Iterable[str]) -> list[str]:
    """Those that begin so; one that a terminal would obey is not offered."""
    return [word for word in words if word.startswith(incomplete) and printable(word) == word]

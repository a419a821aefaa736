"""What a shell is offered for a word; where nothing of ours fits, its own file names.

A word is completed while somebody waits: nothing heavy is imported here.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from nelbo.cli.start import runs

__all__ = ["data", "devices", "models", "recipes", "splits"]


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
    return [word for word in words if word.startswith(incomplete)]

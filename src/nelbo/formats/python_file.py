"""The model that a function of a Python file returns: file.py:function, as the user typed it.

It runs code, so it is for what a person typed, and never for what a folder or the hub names.
"""

import contextlib
import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from nelbo.errors import BadInput, closest
from nelbo.files import near
from nelbo.model import Model

__all__ = ["is_function", "load_function"]

NAME = re.compile(r"(?P<file>.+\.py):(?P<function>[^/\\:]*)", re.DOTALL)
IMPORTED: set[str] = set()  # modules that lie beside the files that were run


def is_function(path: str | Path) -> bool:
    """Whether it is file.py:function, and no file of that very name."""
    return NAME.fullmatch(str(path)) is not None and not Path(path).exists()


def load_function(path: str | Path) -> Model:
    """The Model that the function returns, called without arguments; the file is run as a module.

    What it prints goes to stderr, and modules beside the file can be imported, as by `python file`.
    The model's name is file.py:function; the digest of the file is in its facts, and so in results.

    Raises:
        BadInput: no such file or function; the function needs arguments, fails, or returns
            something else than a Model.
    """
    match = NAME.fullmatch(str(path))
    if match is None:
        raise BadInput(f"{path} is not file.py:function")
    file, name = Path(match["file"]), match["function"]
    if not file.is_file():
        meant = near(file)
        hint = "" if meant is None else f"; did you mean {meant}:{name}?"
        raise BadInput(f"no Python file at {file}{hint}")
    source = file.read_bytes()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        module = _module(file)
        function = _function(module, file, name)
        with _in_one_line(file):
            model = function()
    if not isinstance(model, Model):
        raise BadInput(
            f"{file}: {name}() returns {_shown(model)} and no Model: return "
            "nelbo.wrap(network, ...) (docs/measuring-your-model.md)"
        )
    about = {"file": file.name, "function": name, "sha256": hashlib.sha256(source).hexdigest()}
    return replace(model, name=f"{file.name}:{name}", settings=model.settings.noting(python=about))


def _module(file: Path) -> ModuleType:
    """The file, run as a module of its own."""
    folder = str(file.resolve().parent)
    for name in IMPORTED & set(sys.modules):  # another file's neighbour may have the same name
        del sys.modules[name]
    IMPORTED.clear()
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    name = f"nelbo_file_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput(f"{file} cannot be run as a Python file")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # so that what it defines can be pickled
    try:
        with _in_one_line(file):
            spec.loader.exec_module(module)
    finally:
        for new in sys.modules.keys() - before - {name}:
            place = getattr(sys.modules[new], "__file__", None)
            if place and Path(place).is_relative_to(folder):
                IMPORTED.add(new)
    return module


def _function(module: ModuleType, file: Path, name: str) -> Callable[[], object]:
    """The function of that name, which can be called without arguments.

    Raises:
        BadInput: there is none, or it is something else.
    """
    functions = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    if not hasattr(module, name):
        meant = closest(name, functions)
        known = f"it has {', '.join(functions[:5])}" if functions else "it has none"
        hint = known if meant is None else f"did you mean {file}:{meant}?"
        raise BadInput(f"{file} has no function {name or 'without a name'}: {hint}")
    function: Callable[[], object] = getattr(module, name)
    if not callable(function) or isinstance(function, Model):
        raise BadInput(
            f"{file}: {name} is {_shown(function)} and no function: return it from one, "
            f"def model(): return {name}"
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise BadInput(
            f"{file}: {name} is called without arguments and needs some ({error}): give them "
            "defaults, or write a function that calls it"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    return function


@contextmanager
def _in_one_line(file: Path) -> Iterator[None]:
    """What the file raises, with the line of the file that it came from.

    Raises:
        BadInput: in place of any error of the file, and of sys.exit.
    """
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except SyntaxError as error:
        raise BadInput(f"{file}, line {error.lineno}: {error.msg}") from error
    except BaseException as error:
        place = str(file)
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == place or Path(frame.filename) == file.resolve()
        ]
        where = f", line {lines[-1]}" if lines else ""
        text = " ".join(str(error).split())
        what = text if isinstance(error, BadInput) else f"{type(error).__name__}: {text}"
        raise BadInput(f"{file}{where}: {what}") from error


def _shown(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

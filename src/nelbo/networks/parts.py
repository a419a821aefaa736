"""The networks that a callable uses: those its code reaches through what it names."""

import functools
import inspect
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from torch import Tensor, nn

__all__ = ["modules_of"]

ATOMS = (bool, int, float, complex, str, bytes, Tensor, np.ndarray, np.generic, type(None))
DYNAMIC = frozenset({"getattr", "vars", "__dict__", "__getattr__", "attrgetter"})
MOST = 20_000  # things that are looked at; a network has far fewer


def modules_of(call: object) -> list[nn.Module]:
    """The modules that a call may evaluate, in the order in which they are met.

    Looked through: closures, default arguments, functools.partial, bound methods, wrapped and
    compiled functions, the globals and attributes that the code names, callable objects, lists and
    dicts of all these, and of a module what it holds or names without having it among its parts.
    A part of another module of the list is not in it.
    """
    modules: dict[int, nn.Module] = {}
    known: set[int] = set()
    for module in _Search().modules(call):
        if id(module) not in known:
            modules[id(module)] = module
            inside = [id(part) for part in module.modules()]
            known.update(inside)
            for part in inside[1:]:
                modules.pop(part, None)
    return list(modules.values())


class _Search:
    """Every thing is looked at once, for the names by which it is reached."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, frozenset[str] | None]] = set()
        self.kept: list[object] = []  # so that no two of them have the same id

    def modules(self, root: object) -> Iterator[nn.Module]:
        todo: list[tuple[object, frozenset[str]]] = [(root, frozenset({"__call__"}))]
        while todo and len(self.seen) < MOST:
            thing, names = todo.pop()
            narrow = names if _has_attributes(thing) else None
            if (id(thing), narrow) in self.seen:
                continue
            self.seen.add((id(thing), narrow))
            self.kept.append(thing)
            if isinstance(thing, nn.Module):
                yield thing
            reached = [pair for pair in _reached(thing, names) if not isinstance(pair[0], ATOMS)]
            todo += reversed(reached)


def _has_attributes(thing: object) -> bool:
    """Whether what it reaches depends on the names by which one looks at it."""
    of_python = (types.FunctionType, types.MethodType, functools.partial, list, tuple, set, dict)
    return not isinstance(thing, of_python)


def _reached(thing: object, names: frozenset[str]) -> Iterable[tuple[object, frozenset[str]]]:
    """What a thing leads to, with the names of the code that leads there."""
    if isinstance(thing, types.FunctionType):
        return _of_function(thing)
    if isinstance(thing, types.MethodType):
        return [(thing.__func__, names), (thing.__self__, _names(thing.__func__))]
    if isinstance(thing, functools.partial):
        return [(x, names) for x in (thing.func, *thing.args, *thing.keywords.values())]
    if isinstance(thing, Mapping):
        return [(x, names) for x in thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return [(x, names) for x in thing]
    if isinstance(thing, nn.Module):
        return _of_module(thing, names)
    if isinstance(thing, types.ModuleType):
        inside = vars(thing)
        return [(inside[name], names) for name in sorted(names & inside.keys())]
    return _of_object(thing, names)


def _of_function(function: types.FunctionType) -> Iterator[tuple[object, frozenset[str]]]:
    names = _names(function)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents, names
        except ValueError:  # not filled yet
            continue
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield default, names
    for value in vars(function).values():  # __wrapped__, what torch.compile keeps
        yield value, names
    if not _of_library(function.__globals__.get("__name__")):
        for name in sorted(names & function.__globals__.keys()):
            value = function.__globals__[name]
            if not _of_library(getattr(value, "__module__", getattr(value, "__name__", None))):
                yield value, names


def _of_module(module: nn.Module, names: frozenset[str]) -> Iterator[tuple[object, frozenset[str]]]:
    """What its parts use without having it among their own parts."""
    for part in module.modules():
        hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
        yield from ((hook, frozenset({"__call__"})) for hook in hooks)
        called = {"forward"} | (names if part is module else frozenset())
        if "forward" in vars(part) or not _of_library(type(part).__module__):
            yield from _of_object(part, frozenset(called))


def _of_object(thing: object, names: frozenset[str]) -> Iterator[tuple[object, frozenset[str]]]:
    """Its attributes of these names, and the code of its own that bears one of them."""
    if isinstance(thing, type):
        return
    todo, done = {*names, "__call__"}, set[str]()
    while todo - done and not _of_library(type(thing).__module__):
        name = min(todo - done)
        done.add(name)
        for code in _definitions(type(thing), name):
            yield code, names
            inside = _names(code)
            todo |= inside
    own, done = _attributes(thing), done | names
    everything = bool(done & DYNAMIC)
    for name in own if everything else sorted(done & own.keys()):
        yield own[name], frozenset(done)


def _definitions(kind: type, name: str) -> Iterator[types.FunctionType]:
    """The functions of that name of a class and its bases, also where they are properties."""
    for base in kind.__mro__:
        if _of_library(base.__module__):
            continue
        value = vars(base).get(name)
        if isinstance(value, property):
            value = value.fget
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, functools.cached_property):
            value = value.func
        if isinstance(value, types.FunctionType):
            yield value


def _attributes(thing: object) -> dict[str, object]:
    """Of the object itself: its __dict__ and its slots."""
    attributes = dict(getattr(thing, "__dict__", {}))
    for base in type(thing).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name not in attributes and inspect.getattr_static(thing, name, None) is not None:
                attributes[name] = getattr(thing, name, None)
    return attributes


def _names(function: Callable[..., object]) -> frozenset[str]:
    """All that a function's code names, with the functions that are written inside it."""
    code = getattr(function, "__code__", None)
    names: set[str] = set()
    todo = [] if code is None else [code]
    while todo:
        code = todo.pop()
        names.update(code.co_names)
        todo += [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return frozenset(names)


def _of_library(module: object) -> bool:
    """Whether a module is an installed package's: its globals hold no network of a person's."""
    return isinstance(module, str) and _installed(module.partition(".")[0])


@functools.cache
def _installed(package: str) -> bool:
    if package in sys.stdlib_module_names:
        return True
    places = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")]
    loaded = sys.modules.get(package)
    origin = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", ())), "")
    return any(str(origin).startswith(place) for place in places)

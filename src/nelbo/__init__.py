"""nelbo: the negative evidence lower bound of diffusion models, term by term, with intervals."""

import importlib

TYPE_CHECKING = False  # of typing, whose import `nelbo` would wait for
if TYPE_CHECKING:
    from nelbo import data, recipe, results
    from nelbo.errors import BadInput, NonFinite
    from nelbo.formats import load
    from nelbo.model import Model, loss
    from nelbo.results import Comparison, Evaluation
    from nelbo.tasks.check import check
    from nelbo.tasks.classify import classify
    from nelbo.tasks.compare import compare
    from nelbo.tasks.compare_all import compare_all
    from nelbo.tasks.compress import compress, decompress
    from nelbo.tasks.derive import derive
    from nelbo.tasks.evaluate import evaluate
    from nelbo.tasks.improve import improve
    from nelbo.tasks.inspect import inspect
    from nelbo.tasks.merge import merge
    from nelbo.tasks.ode import ode_likelihood
    from nelbo.tasks.order_bounds import order_bounds
    from nelbo.tasks.plan import evaluate_plan
    from nelbo.tasks.rank import rank
    from nelbo.tasks.report import page
    from nelbo.tasks.sample import sample
    from nelbo.tasks.train import train
    from nelbo.types import Grid
    from nelbo.wrapping import wrap, wrap_categorical

    __version__: str

__all__ = [
    "BadInput",
    "Comparison",
    "Evaluation",
    "Grid",
    "Model",
    "NonFinite",
    "check",
    "classify",
    "compare",
    "compare_all",
    "compress",
    "data",
    "decompress",
    "derive",
    "evaluate",
    "evaluate_plan",
    "improve",
    "inspect",
    "load",
    "loss",
    "merge",
    "ode_likelihood",
    "order_bounds",
    "page",
    "rank",
    "recipe",
    "results",
    "sample",
    "train",
    "wrap",
    "wrap_categorical",
]

# Names are imported when they are first used, so that `nelbo --help` does not wait for torch.
_HOME = {
    "BadInput": "nelbo.errors",
    "Comparison": "nelbo.results",
    "Evaluation": "nelbo.results",
    "Grid": "nelbo.types",
    "Model": "nelbo.model",
    "NonFinite": "nelbo.errors",
    "check": "nelbo.tasks.check",
    "classify": "nelbo.tasks.classify",
    "compare": "nelbo.tasks.compare",
    "compare_all": "nelbo.tasks.compare_all",
    "compress": "nelbo.tasks.compress",
    "decompress": "nelbo.tasks.compress",
    "derive": "nelbo.tasks.derive",
    "evaluate": "nelbo.tasks.evaluate",
    "evaluate_plan": "nelbo.tasks.plan",
    "improve": "nelbo.tasks.improve",
    "inspect": "nelbo.tasks.inspect",
    "load": "nelbo.formats",
    "loss": "nelbo.model",
    "merge": "nelbo.tasks.merge",
    "ode_likelihood": "nelbo.tasks.ode",
    "order_bounds": "nelbo.tasks.order_bounds",
    "page": "nelbo.tasks.report",
    "rank": "nelbo.tasks.rank",
    "sample": "nelbo.tasks.sample",
    "train": "nelbo.tasks.train",
    "wrap": "nelbo.wrapping",
    "wrap_categorical": "nelbo.wrapping",
}
_MODULES = ("data", "recipe", "results")


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("nelbo")
    if name in _MODULES:
        return importlib.import_module(f"nelbo.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'nelbo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

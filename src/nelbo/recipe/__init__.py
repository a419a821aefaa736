"""A training run as a file: TOML to a checked tree of choices, and the tree to a model."""

from nelbo.recipe.build import build
from nelbo.recipe.changed import on_data, own_data, smoke
from nelbo.recipe.choices import Recipe, Training
from nelbo.recipe.fitted import fitted
from nelbo.recipe.objective import Objective, objective
from nelbo.recipe.read import names, parse, problem, read, subject, text

__all__ = [
    "Objective",
    "Recipe",
    "Training",
    "build",
    "fitted",
    "names",
    "objective",
    "on_data",
    "own_data",
    "parse",
    "problem",
    "read",
    "smoke",
    "subject",
    "text",
]

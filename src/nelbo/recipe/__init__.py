"""A training run as a file: TOML to a checked tree of choices, and the tree to a model."""

from nelbo.recipe.build import build
from nelbo.recipe.changed import on_data, own_data, smoke
from nelbo.recipe.choices import Recipe, Training
from nelbo.recipe.fitted import fitted
from nelbo.recipe.objective import Objective, objective
from nelbo.recipe.plan import Plan, parse_plan, read_plan
from nelbo.recipe.read import names, parse, problem, read, subject, text

__all__ = [
    "Objective",
    "Plan",
    "Recipe",
    "Training",
    "build",
    "fitted",
    "names",
    "objective",
    "on_data",
    "own_data",
    "parse",
    "parse_plan",
    "problem",
    "read",
    "read_plan",
    "smoke",
    "subject",
    "text",
]

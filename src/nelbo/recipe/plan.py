"""A plan: several models on several data sets, as one TOML file that is checked like a recipe."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nelbo.errors import BadInput
from nelbo.recipe.part import LIST, Part
from nelbo.recipe.read import as_toml, content_of, problem

__all__ = ["Plan", "PlannedData", "PlannedModel", "parse_plan", "read_plan"]

Whole = Annotated[int, Field(ge=1)]
NAME = re.compile(r"\w[\w.+-]*")
LONGEST = 255  # bytes of a file's name
OF_THE_CHAIN = ("path", "name", "steps", "spacing", "continuous")


class PlannedModel(Part):
    """A model: its path, and how it is read; as the command line has it.

    name: of its row and its files; by default the end of the path.
    """

    path: str
    name: str | None = None
    steps: Whole | None = None
    spacing: Literal["even", "quadratic", "log-snr"] | None = None
    continuous: bool = False
    weights: Literal["ema", "raw"] | None = None
    levels: int | None = None
    range: Annotated[tuple[float, float], LIST] | None = None
    variance: Literal["learned-range", "drop"] | None = None
    clip: bool | None = None
    V_1: float | str | None = None
    label: int | None = None
    size: int | Annotated[tuple[int, int], LIST] | None = None
    scheduler: str | None = None
    decoder: Literal["discretized-gaussian", "density"] | None = None
    latent: Literal["sample", "mean"] | None = None
    condition: str | None = None
    guidance: float | None = None
    variant: str | None = None
    log_snr: Annotated[tuple[float, float], LIST] | None = None

    @property
    def title(self) -> str:
        """Its name, or what its path gives for one."""
        return self.name or _as_name(self.path)

    @property
    def options(self) -> dict[str, Any]:
        """As `nelbo.load` takes them."""
        return {name: x for name, x in self if name not in OF_THE_CHAIN and x is not None}


class PlannedData(Part):
    """A data set: its spec, which part of it, and what its column is called."""

    spec: str
    name: str | None = None
    split: str | None = None
    max_images: Whole | None = None

    @property
    def title(self) -> str:
        """Its name, or what its spec and split give for one."""
        return self.name or _as_name(
            self.spec if self.split is None else f"{self.spec}-{self.split}"
        )


class Plan(Part):
    """Every model on every data set, by the same settings; results: the folder of the files."""

    results: Annotated[str, Field(min_length=1)]
    model: Annotated[tuple[PlannedModel, ...], LIST, Field(min_length=1)]
    data: Annotated[tuple[PlannedData, ...], LIST, Field(min_length=1)]
    precision: Annotated[float, Field(gt=0)] = 0.01
    budget: Whole | None = None
    exhaustive: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_size: Whole | None = None
    check: bool = True

    def file_of(self, model: PlannedModel, data: PlannedData) -> Path:
        """Where the result of the pair is; its table of images is beside it, as .csv."""
        return Path(self.results) / f"{model.title}--{data.title}.json"

    def files(self) -> list[Path]:
        """Those of all pairs, in the order in which they are measured."""
        return [self.file_of(model, data) for model in self.model for data in self.data]


def read_plan(source: str | Path) -> Plan:
    """The plan in a TOML file.

    Raises:
        BadInput: no such file, no TOML, an unknown key, a value of another type, settings that
            exclude each other, or two models or data sets of one name.
    """
    return parse_plan(content_of(source, "plan"), str(source))


def parse_plan(content: str, source: str = "the plan") -> Plan:
    """The plan that a text of TOML holds, which messages call `source`.

    Raises:
        BadInput: as `read_plan`.
    """
    try:
        with as_toml(source):
            plan = Plan.model_validate(tomllib.loads(content))
    except ValidationError as error:
        raise BadInput(f"{source}: {problem(error, Plan)}") from None
    wrong = _contradiction(plan)
    if wrong is not None:
        raise BadInput(f"{source}: {wrong}")
    return plan


def _contradiction(plan: Plan) -> str | None:
    """What one setting says against another."""
    if plan.budget is not None and plan.exhaustive:
        return "budget and exhaustive exclude each other: give one"
    for model in plan.model:
        if model.spacing is not None and model.steps is None:
            return f"model {model.title}: spacing needs steps: say how many steps to spread"
        if model.spacing is not None and model.continuous:
            return f"model {model.title}: continuous and spacing exclude each other: give one"
    return _wrong_names(plan)


def _wrong_names(plan: Plan) -> str | None:
    """What is wrong with the names of the rows and of the files that they make."""
    paths = [plan.results, *(m.path for m in plan.model), *(data.spec for data in plan.data)]
    if any("\0" in path for path in paths):
        return "a path with a NUL character is no path: leave it out"
    for kind, rows in (("models", plan.model), ("data sets", plan.data)):
        titles = [row.title for row in rows]
        for title in titles:
            if NAME.fullmatch(title) is None:
                return (
                    f"{title!r} cannot be part of a file's name: letters, digits and . + - _ can; "
                    "give it a name"
                )
            if titles.count(title) > 1:
                return f"two {kind} are called {title}: give each a name of its own"
    names = [path.name for path in plan.files()]
    if len({name.casefold() for name in names}) < len(names):
        return "two pairs have one file, MODEL--DATA.json: give them names without two dashes"
    long = max(names, key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(long)) > LONGEST:
        return f"no file can be called {long[:40]}...: give its model and data shorter names"
    return None


def _as_name(text: str) -> str:
    """The end of a path or spec, without what a file's name would not hold."""
    end = text.rstrip("/").rpartition("/")[2] or text
    return re.sub(r"[^\w.+-]+", "-", end).strip("-.+")

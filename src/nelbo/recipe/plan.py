"""A plan: several models on several data sets, as one TOML file that is checked like a recipe."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field, ValidationError

from nelbo.errors import BadInput
from nelbo.recipe.part import LIST, Part
from nelbo.recipe.read import as_toml, content_of, problem

__all__ = ["Amount", "Plan", "PlannedData", "PlannedModel", "parse_plan", "read_plan"]

Whole = Annotated[int, Field(ge=1)]
Precision = Annotated[float, Field(gt=0)]
NAME = re.compile(r"\w[\w.+-]*")
LONGEST = 255  # bytes of a file's name
AMOUNTS = ("exhaustive", "budget", "precision")
OF_THE_CHAIN = ("steps", "spacing", "continuous", "order", "calls")
OWN = ("path", "name", "dtype", *OF_THE_CHAIN, *AMOUNTS)
"""What a model of a plan has that `nelbo.load` does not take."""


class Amount(TypedDict, total=False):
    """How much is evaluated, as `evaluate` takes it: one of the three."""

    precision: float
    budget: int | None
    exhaustive: bool


class PlannedModel(Part):
    """A model: its path, and how it is read and measured; as the command line has it.

    name: of its row and its files; by default the end of the path. precision, budget, exhaustive:
    of this model, in place of what the plan says.
    """

    path: str
    name: str | None = None
    steps: Whole | None = None
    spacing: Literal["even", "quadratic", "log-snr"] | None = None
    continuous: bool = False
    order: str | None = None
    calls: Whole | None = None
    precision: Precision | None = None
    budget: Whole | None = None
    exhaustive: bool = False
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
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
        return {name: x for name, x in self if name not in OWN and x is not None}


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
    precision: Precision = 0.01
    budget: Whole | None = None
    exhaustive: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    batch_size: Whole | None = None
    check: bool = True
    baselines: bool = False

    def amount_of(self, model: PlannedModel) -> Amount:
        """How much is evaluated of the model: what its own row says goes before the plan."""
        return _amount(model) or _amount(self)

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


def _amount(row: PlannedModel | Plan) -> Amount:
    """What the row says of it, which may be nothing."""
    if row.exhaustive:
        return {"exhaustive": True}
    if row.budget is not None:
        return {"budget": row.budget}
    return {} if row.precision is None else {"precision": row.precision}


def _contradiction(plan: Plan) -> str | None:
    """What one setting says against another."""
    if plan.budget is not None and plan.exhaustive:
        return "budget and exhaustive exclude each other: give one"
    for model in plan.model:
        wrong = _contradiction_of(model)
        if wrong is not None:
            return f"model {model.title}: {wrong}"
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


def _contradiction_of(model: PlannedModel) -> str | None:
    """The same, of one model: as the command line has it."""
    amounts = [name for name in AMOUNTS if getattr(model, name) not in (None, False)]
    if len(amounts) > 1:
        return f"{' and '.join(amounts)} exclude each other: give one"
    if model.spacing is not None and model.steps is None:
        return "spacing needs steps: say how many steps to spread"
    if model.spacing is not None and model.continuous:
        return "continuous and spacing exclude each other: give one"
    if model.order is not None and model.calls is None:
        return "order needs calls: say in how many groups the positions are revealed"
    if model.calls is not None and (model.continuous or model.steps is not None):
        return "order and calls say which steps there are: leave steps and continuous out"
    if model.order is not None and amounts:
        return f"order evaluates every call of every image: leave {amounts[0]} out"
    return None


def _as_name(text: str) -> str:
    """The end of a path or spec, without what a file's name would not hold."""
    end = text.rstrip("/").rpartition("/")[2] or text
    return re.sub(r"[^\w.+-]+", "-", end).strip("-.+")

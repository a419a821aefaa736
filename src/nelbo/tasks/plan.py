"""Several models on several data sets: each pair measured once, and what is there kept."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from nelbo import files
from nelbo.data import Examples, Images, load_for
from nelbo.errors import BadInput, NonFinite
from nelbo.estimation import Progress
from nelbo.formats import load, trained_on
from nelbo.model import Model, revealing
from nelbo.recipe.plan import Amount, Plan, PlannedData, PlannedModel, read_plan
from nelbo.results import per_image
from nelbo.results.context import environment
from nelbo.results.evaluation import Evaluation
from nelbo.results.neighbours import Neighbours, neighbours
from nelbo.results.plan import PlanEntry, PlanResults
from nelbo.results.ranking import Entry
from nelbo.results.reading import read
from nelbo.tasks.evaluate import described_data, evaluate
from nelbo.typed_json import Json
from nelbo.types import Grid

__all__ = ["evaluate_plan"]

Made = TypeVar("Made")
Start = Callable[[str], Progress]
FAILURES = (BadInput, NonFinite, OSError, RuntimeError)
"""What one pair may end in without an end of the others."""


def silent(label: str) -> Progress:
    """Of nobody who watches."""
    return lambda done, expected, text: None


def evaluate_plan(
    plan: str | Path | Plan,
    *,
    device: str | None = None,
    command: str = "",
    progress: Start = silent,
    say: Callable[[str], None] = lambda text: None,
) -> PlanResults:
    """The bound of every model of a plan on every data set of it; one result a pair.

    plan: a TOML file, or what `nelbo.recipe.read_plan` made of one. Results are written into the
    plan's folder as they come, MODEL--DATA.json with the table of images beside it, as .csv.
    A pair whose file is there, of the same weights, data and settings, is not computed again; one
    that fails has its error in place of a result, and the others are measured all the same.

    device: as of `nelbo.load`. progress: of a label what is called with the progress of that pair.
    say: called with a line for each pair that was kept or that failed.

    Raises:
        BadInput: the plan itself is wrong, or its folder cannot be made.
    """
    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    folder = Path(plan.results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"the folder {folder} cannot be written to: name another as results")
    entries = []
    for choice in plan.model:
        model, why = _attempt(lambda choice=choice: _model(choice, device))  # type: ignore[misc]
        for data in plan.data:
            entry = _entry(plan, choice, data, model, why, command, progress)
            if entry.status != "measured":
                say(f"{entry.name}: {entry.status}" + (f": {entry.error}" if entry.error else ""))
            entries.append(entry)
    settings = plan.model_dump(mode="json", exclude_none=True)
    links = [link for data in plan.data for link in _neighbours(data.title, entries)]
    return PlanResults(entries, settings, command, links)


def _neighbours(data: str, entries: Sequence[PlanEntry]) -> list[Neighbours]:
    """Of the results on one data set, each with the table that is beside it."""
    rows = [
        Entry(entry.model, entry.result, per_image.read(_table(entry.file)))
        for entry in entries
        if entry.data == data and entry.result is not None
    ]
    return neighbours(data, rows)


def _table(file: Path) -> Path:
    """Of single images, beside the result in this file."""
    return file.with_name(f"{file.name.removesuffix('.json')}.csv")


def _entry(
    plan: Plan,
    choice: PlannedModel,
    data: PlannedData,
    model: Model | None,
    why: str | None,
    command: str,
    progress: Start,
) -> PlanEntry:
    """The pair's result, kept or measured; its error where either of the two fails."""
    names, file = (choice.title, data.title), plan.file_of(choice, data)
    if model is None:
        return PlanEntry(*names, "failed", file, error=why)
    pair, why = _attempt(
        lambda: _kept_or_measured(
            plan,
            plan.amount_of(choice),
            file,
            model,
            _images(choice.path, model, data),
            command,
            progress(" on ".join(names)),
        )
    )
    if pair is None:
        return PlanEntry(*names, "failed", file, error=why)
    result, kept = pair
    return PlanEntry(*names, "kept" if kept else "measured", file, result)


def _attempt(work: Callable[[], Made]) -> tuple[Made | None, str | None]:
    """(what the work makes, None), or (None, why it fails)."""
    try:
        return work(), None
    except FAILURES as error:
        return None, str(error) or type(error).__name__


def _model(choice: PlannedModel, device: str | None) -> Model:
    model = load(choice.path, device=device, **choice.options)
    if choice.dtype is not None:
        model.network.to(getattr(torch, choice.dtype))
    model = revealing(model, choice.order, choice.calls)
    model = model if choice.steps is None else model.every(choice.steps, choice.spacing)
    return model.in_the_limit() if choice.continuous else model


def _images(path: str, model: Model, data: PlannedData) -> Examples:
    """As the command line finds them; marked where the model was trained on them."""
    images = load_for(
        model.support,
        data.spec,
        split=data.split,
        labels=isinstance(model.support, Grid) and model.classes is not None,
        shape=model.shape,
        alphabet=model.alphabet,
    )
    if data.max_images is not None and isinstance(images, Images) and images.mapped:
        return images.first(data.max_images)  # so many are read, and no digest of all is known
    if not model.settings.foreign and trained_on(path) == images.sha256:
        images = replace(images, origin={**images.origin, "trained_on": True})
    return images if data.max_images is None else images.first(data.max_images)


def _kept_or_measured(
    plan: Plan,
    amount: Amount,
    file: Path,
    model: Model,
    images: Examples,
    command: str,
    progress: Progress,
) -> tuple[Evaluation, bool]:
    """(the result of the pair, whether it was there already)."""
    table = _table(file)
    if file.is_file() and table.is_file():
        result = read(file)
        if _settings(result) == _wanted(plan, amount, model, images) and _is_of(table, result):
            return result, True
    made = evaluate(
        model,
        images,
        **amount,
        seed=plan.seed,
        batch_size=plan.batch_size,
        distortion=True,
        check=plan.check,
        baselines=plan.baselines,
        command=command,
        progress=progress,
    )
    files.write(table, per_image.content(made.per_image, table.name))
    files.write(file, made.to_json().encode())
    return made, False


def _is_of(table: Path, result: Evaluation) -> bool:
    """Whether the table of images is that of the result: a kill may have come between the two."""
    try:
        return bool(per_image.digest(per_image.read(table)) == result.tree.get("per_image_sha256"))
    except BadInput:  # damaged, and so measured again
        return False


def _settings(result: Evaluation) -> dict[str, Json]:
    """What decides a result's figures, as its file has it."""
    how = result.estimator
    return {
        "model": result.model,
        "data": result.data,
        "budget": how.get("budget"),
        "precision": how.get("precision"),
        "exhaustive": how["name"] in ("exact", "exhaustive"),
        "seed": how.get("seed"),
        "check": how.get("check") is not None,
        "baselines": "baselines" in result.tree,
        **{name: result.environment.get(name) for name in ("nelbo", "dtype")},
    }


def _wanted(plan: Plan, amount: Amount, model: Model, images: Examples) -> dict[str, Json]:
    """The same as the plan would have it now, through JSON as a file is."""
    exhaustive = "exhaustive" in amount or model.exact
    here = environment(model.device, model.dtype)
    settings = {
        "model": model.described(),
        "data": described_data(model, images),
        "budget": None if exhaustive else amount.get("budget"),
        "precision": None if exhaustive else amount.get("precision"),
        "exhaustive": exhaustive,
        "seed": plan.seed,
        "check": plan.check,
        "baselines": plan.baselines,
        **{name: here[name] for name in ("nelbo", "dtype")},
    }
    read_back: dict[str, Json] = json.loads(json.dumps(settings))
    return read_back

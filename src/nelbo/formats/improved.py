"""A model of another library with what was found for it: its own files, and one of ours beside.

The folder is a model folder of diffusers, which diffusers itself reads, with improved.safetensors:
the variances and steps, and how the files are to be read.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nelbo import checkpoint, files
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import CONFIG, find
from nelbo.formats.diffusers.networks import files_of
from nelbo.formats.foreign import Options
from nelbo.formats.foreign_folder import load_foreign
from nelbo.formats.hub import place_of
from nelbo.formats.python_file import is_function
from nelbo.formats.run import file_of
from nelbo.gaussian.by_value import ByValue, tables_of, variance_of
from nelbo.gaussian.variance import Tabulated
from nelbo.model import Model, improved
from nelbo.typed_json import Json, object_at, text_at

__all__ = ["is_improved", "keep_improved", "load_improved"]

NAME = "improved.safetensors"


def is_improved(place: Path) -> bool:
    """Whether the folder is one that `keep_improved` made of a diffusers folder."""
    return (place / NAME).is_file()


def keep_improved(
    path: str | Path,
    model: Model,
    plan: Mapping[str, Json],
    variance: Tabulated | ByValue,
    folder: str | Path,
) -> Path:
    """Makes the folder: the improvement of the model that was read from the path; the folder.

    That of a function has what was found alone, which `load_improved` takes with its model.

    Raises:
        BadInput: the folder exists, or the path holds another model.
    """
    kept = {f"improved.{name}": table for name, table in tables_of(variance).items()}
    if is_function(path):
        about: dict[str, Json] = {
            "function": str(path),
            "sha256": model.sha256(),
            "improved": dict(plan),
        }
        with files.whole_folder(folder) as part:
            checkpoint.save(part / NAME, Checkpoint(kept, about))
        return Path(folder)
    place = place_of(path)
    if not model.settings.foreign:
        ours = checkpoint.load(file_of(place))
        made = Checkpoint({**ours.tensors, **kept}, {**ours.description, "improved": dict(plan)})
        with files.whole_folder(folder) as part:
            checkpoint.save(part / checkpoint.NAME, made)
        return Path(folder)
    if model.settings.options is None:
        raise BadInput(f"{model.name} is of no folder: keep its network and this plan yourself")
    options = dict(model.settings.options)
    scheduler, variant = (
        None if options.get(name) is None else text_at(options, name)
        for name in ("scheduler", "variant")
    )
    options.pop("scheduler", None)
    sets: dict[str, Literal["ema", "raw"]] = {"ema": "ema", "raw": "raw"}
    weights = None if is_improved(place) else sets.get(model.weights)  # there, it has one set
    source = find(place, weights, scheduler)
    about = {"options": options, "sha256": model.sha256(), "improved": dict(plan)}
    with files.whole_folder(folder) as part:
        checkpoint.save(part / NAME, Checkpoint(kept, about))
        own = files_of(source.network, variant)
        copied = {file.name: file for file in own}
        for name, file in {**copied, CONFIG: source.scheduler}.items():
            with files.naming(part / name, file.stat().st_size):
                shutil.copyfile(file, part / name)
    return Path(folder)


def load_improved(
    place: Path, name: str, weights: Literal["ema", "raw"] | None, of: Model | None = None
) -> Model:
    """The model of a folder that `keep_improved` made.

    of: the model that was improved, where a function made it: no folder names code that is run.

    Raises:
        BadInput: a damaged folder, weights that it was not improved for, or no model, or another,
            for an improvement of a function's.
    """
    stored = checkpoint.load(place / NAME)
    about, plan = stored.description, object_at(stored.description, "improved")
    variance = variance_of(text_at(plan, "variance"), stored.part("improved"))
    if "function" in about:
        if of is None:
            raise BadInput(
                f"{place} is what was found for {about['function']}, and no folder runs code: "
                f'return nelbo.load("{place}", of=model) from a function of that file'
            )
        if of.sha256() != about["sha256"]:
            raise BadInput(
                f"{place} was found for other weights than those of {of.name}: improve it again"
            )
        return improved(of, plan, variance)
    if of is not None:
        raise BadInput(f"{place} has the model that it was found for: leave of= out")
    if weights not in (None, plan["weights"]):
        raise BadInput(
            f"{place} was improved for its weights {plan['weights']}: its variances are not for "
            f"{weights}; improve the original with those"
        )
    model = load_foreign(place, name, Options.of(object_at(about, "options")), None)
    if model.sha256() != about["sha256"]:
        raise BadInput(
            f"the weights in {place} are not those that it was improved for: restore a copy, or "
            "improve them again"
        )
    model = replace(model, weights=text_at(plan, "weights"))
    return improved(model, plan, variance)

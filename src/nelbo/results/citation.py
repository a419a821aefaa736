"""BibTeX of what a result is made of: each reference with the reasons that it is there.

The references are in references.bib, in the order of their keys; what a result says of its model,
estimator, data and training decides which of them are due.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from nelbo.errors import BadInput, printable
from nelbo.results.reading import read_tree
from nelbo.results.saved import require_intact
from nelbo.typed_json import Json, at, number_at, object_at, part_at

__all__ = ["bibtex", "read_result", "reasons"]

RESULTS = ("evaluation", "comparison", "improvement", "derivation")
SCHEDULES = {
    "cosine": ("nichol2021iddpm", "the cosine schedule"),
    "cosine-d3pm": ("austin2021d3pm", "the cosine schedule without a square"),
    "linear-by-T": ("nichol2021iddpm", "the linear schedule for any T"),
    "scaled-linear": ("rombach2022ldm", "the scaled-linear schedule"),
    "sigmoid": ("xu2022geodiff", "the sigmoid schedule"),
}
SETTINGS = (
    ("time", "continuous", "kingma2021vdm", "the bound of continuous time"),
    ("decoder", "level-likelihood", "kingma2021vdm", "the decoder by the likelihood of each level"),
    ("parametrization", "v", "salimans2022distillation", "prediction of v"),
    ("parametrization", "levels", "austin2021d3pm", "logits over the levels"),
    ("parametrization", "levels", "kingma2021vdm", "the likelihood of each level"),
    ("variance", "learned-range", "nichol2021iddpm", "the learned variance"),
)
DATA = {
    "digits": ("alpaydin1998digits", "the digits"),
    "mnist": ("lecun1998mnist", "MNIST"),
}

Reason = tuple[str, str]
"""(the key of a reference, why it is due)."""


def read_result(path: Path) -> Mapping[str, Json]:
    """The object that a command wrote by --json.

    Raises:
        BadInput: no file, no JSON, no result, or anything else than what was written.
    """
    result = read_tree(path)
    schema = result.get("schema") if isinstance(result, Mapping) else None
    if schema not in [f"nelbo.{name}/1" for name in RESULTS]:
        raise BadInput(
            f"{path} is no result: its schema is {schema}; cite takes what evaluate, compare, "
            "improve or derive wrote by --json, or a run folder"
        )
    require_intact(object_at(result), path)
    return object_at(result)


def bibtex(result: Mapping[str, Json]) -> str:
    """An entry for nelbo, then one for each reference that is due, under a comment that says why.

    Equal results give equal bytes.
    """
    due: dict[str, list[str]] = {}
    for key, why in reasons(result):
        if why not in due.setdefault(key, []):
            due[key].append(why)
    named = re.finditer(r"^@\w+\{(\w+),\n.*?^\}$", _references(), re.M | re.S)
    entries = [f"% {'; '.join(due[e[1]])}\n{e[0]}" for e in named if e[1] in due]
    used = part_at(_comparison(result), "environment").get("nelbo", version("nelbo"))
    if not re.fullmatch(r"[\w.+!-]{1,64}", str(used), re.ASCII):
        raise BadInput(f"the result names no version of nelbo: got {printable(used)!r:.80}")
    return "\n\n".join([_own(str(used)), *entries]) + "\n"


def reasons(result: Mapping[str, Json]) -> Iterator[Reason]:
    """Every reference that is due, once for each of its reasons.

    result: as its JSON; also of a run, as {model, data, training}.
    """
    yield "sohldickstein2015thermodynamics", "the variational bound of a diffusion model"
    inner = _comparison(result)
    sides = [object_at(inner, side, "model") for side in ("a", "b") if side in inner]
    for model in sides or [part_at(inner, "model")]:
        if model:
            yield from _of_model(model)
    if str(result.get("schema", "")).startswith("nelbo.derivation"):
        yield "ho2020ddpm", "the lines D1 to D11"
        yield "burda2016iwae", "importance-weighted bounds"
    if part_at(inner, "estimator").get("controls"):
        yield "owen2013mc", "control variates and stratified draws"
    data = str(part_at(inner, "data").get("name", "")).partition(":")[0]
    if data in DATA:
        yield DATA[data]
    yield from _of_training(part_at(result, "training"))


def _comparison(result: Mapping[str, Json]) -> Mapping[str, Json]:
    """What says models and data: of an improvement its comparison, else the result itself."""
    return part_at(result, "after_minus_before") or result


def _of_model(model: Mapping[str, Json]) -> Iterator[Reason]:
    if model["family"] == "categorical":
        yield "austin2021d3pm", "the categorical chain"
    else:
        yield "ho2020ddpm", "the Gaussian chain"
        yield from _of_gaussian(model)
    if number_at(model, "steps") < number_at(model, "T") and "improved" not in model:
        yield "nichol2021iddpm", "the chain of some of the steps"
    if "improved" in model:
        yield "bao2022analytic", "optimal variances"
        yield "bao2022imperfect", "optimal variances from the network's own errors"
        if number_at(model, "steps") < number_at(model, "T"):
            yield "watson2021learning", "the best steps, by dynamic programming"
    if "scheduler" in model:
        yield from _of_diffusers(model)


def _of_gaussian(model: Mapping[str, Json]) -> Iterator[Reason]:
    schedule = object_at(model, "schedule")
    name = str(schedule["name"]).removesuffix("-zero-snr")
    if name in SCHEDULES:
        yield SCHEDULES[name]
    if name != schedule["name"]:
        yield "lin2024flawed", "zero terminal SNR"
    if "first" in schedule or name == "log-snr-linear":
        yield "kingma2021vdm", "the schedule as a log SNR"
    for setting, value, key, why in SETTINGS:
        if model.get(setting) == value:
            yield key, why


def _of_diffusers(model: Mapping[str, Json]) -> Iterator[Reason]:
    yield "vonplaten2022diffusers", "the network and its configs"
    if str(model["scheduler"]).startswith("DDIM"):
        yield "song2021ddim", "the scheduler that the config names"
    network = str(at(model, "network", "name"))
    if network.startswith("DiT"):
        yield "peebles2023dit", "the network"
    if network == "UNet2DConditionModel" or "latent" in part_at(model, "sources"):
        yield "rombach2022ldm", "diffusion of latents"


def _of_training(training: Mapping[str, Json]) -> Iterator[Reason]:
    if training.get("objective") == "simple":
        yield "ho2020ddpm", "training by L_simple"
    if training.get("objective") == "hybrid":
        yield "nichol2021iddpm", "training by the hybrid loss"
    if training.get("times") == "importance":
        yield "nichol2021iddpm", "times drawn by importance"


def _own(used: str) -> str:
    """The entry of this library, as CITATION.cff has it, in the version that made the result."""
    return "\n".join(
        [
            "% what trained or measured the model",
            "@software{nelbo,",
            "  author = {{The nelbo authors}},",
            "  title = {nelbo: the variational bound of diffusion models},",
            f"  version = {{{used}}},",
            "}",
        ]
    )


def _references() -> str:
    return (files("nelbo.results") / "references.bib").read_text(encoding="utf-8")

"""The bound of a data set under a model, as precisely as wanted."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nelbo.arguments import flag
from nelbo.data import Examples, Images, Points, packed, sizes_of
from nelbo.errors import BadInput
from nelbo.estimation import (
    Evaluator,
    Exhaustive,
    Processes,
    Progress,
    Sampling,
    Settings,
    Sum,
    examine,
    measuring,
    require_budget,
)
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results import Evaluation
from nelbo.results.evaluation import environment
from nelbo.results.per_image import PerImage
from nelbo.tasks.warnings import warnings_of

__all__ = ["described_data", "evaluate"]


def evaluate(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    distortion: bool = False,
    check: bool = True,
    baselines: bool = False,
    record: str | Path | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Evaluation:
    """The bound of the images with two 95 % intervals: sampling of images, and Monte Carlo.

    By default a pilot, whose values are thrown away, says how many evaluations bring the 95 % Monte
    Carlo half-width to `precision` bits/dim or a tenth of what the spread between images leaves, at
    most 1,000 of each image (T where T is more); `budget` is a number of network evaluations in
    all; `exhaustive` evaluates every t of every image, as a model of one order always is, whose
    -log p is exact. A model of real numbers has a density: then the unit, of `precision` too, is
    nats/dim. data: Images, or a tensor, array or Dataset of levels
    (N, C, H, W), or of numbers on the model's grid; for a density Points or floats (N, *dims), or
    images where the model encodes them; or a spec or path. model: also a path, a name of the hub
    or a pipeline, as `nelbo.load` takes them. distortion: the reconstruction error at each t too.
    check: whether a few rows are first evaluated together, again and alone, and a network whose
    output for an image depends on other images or on chance is refused; `estimator` says so.
    baselines: also what the images cost without a model: uniform, PNG, WebP, xz.
    record: a folder that keeps the outputs, from which the same call goes on after a kill.

    Raises:
        BadInput: a precision, budget or batch size that is not positive, a budget below two
            evaluations of L_0 and two later ones for each image, data of another shape, grid or
            kind, a record of something else; a network that fails, or that the check refuses.
        NonFinite: a term is NaN or infinite; the message names t, the images and the rank.
    """
    given = Settings(
        precision=precision,
        budget=budget,
        seed=seed,
        batch_size=batch_size,
        check=check,
        record=record,
        processes=Processes() if processes is None else processes,
        progress=progress,
    )
    exhaustive, distortion = flag("exhaustive", exhaustive), flag("distortion", distortion)
    started, model = time.perf_counter(), as_model(model)
    images = examples_of(model, data, given.seed)
    of_levels = _of_levels(images) if flag("baselines", baselines) else None
    exhaustive = exhaustive or model.exact
    mode = {"exhaustive": True} if exhaustive else given.mode
    require_budget(None if exhaustive else given.budget, len(images), model.T)
    with measuring([model]):
        evaluator = Evaluator(
            [model], images, given.seed, given.batch_size, given.processes, progress=given.progress
        )
        checked = examine([model], images, given.processes, given.check)
    with evaluator.agreed({**mode, "distortion": distortion}, given.record), measuring([model]):
        estimate = (Exhaustive if exhaustive else Sampling)(evaluator, distortion=distortion)
        estimator = _run(estimate, given.budget, given.precision)
    total, described = estimate.total(), model.described()
    on_average, exactly = total.means(sizes := sizes_of(images))
    parts = {"L_T": estimate.L_T(), "L_mid": estimate.later(), "L_0": estimate.first()}
    return Evaluation(
        total=on_average,
        monte_carlo=exactly,
        terms={name: part.means(sizes) for name, part in parts.items()},
        per_step=estimate.steps(),
        per_image=_per_image(evaluator, total, parts),
        looks=estimate.looks,
        distortion=estimate.curve(),
        images=len(images),
        dims=model.dims,
        network_evaluations=evaluator.done,
        seconds=time.perf_counter() - started,
        estimator=estimator | {"seed": given.seed, **_settings_of(evaluator), "check": checked},
        model=described,
        data=described_data(model, images),
        environment=environment(model.device, model.dtype, given.processes.size),
        command=command,
        unit=evaluator.unit,
        log_snr=model.log_snr,
        warnings=warnings_of(evaluator, 0, parts, described),
        baselines=None if of_levels is None else packed.baselines(of_levels),
    )


def _of_levels(images: Examples) -> Images:
    """Refuses what has no levels, of which baselines are bits."""
    if not isinstance(images, Images):
        raise BadInput(f"{images.name}: baselines are bits of the levels of images")
    return images


def _settings_of(evaluator: Evaluator) -> dict[str, Any]:
    """Of the evaluations: rows in a batch, and how far x0-hat is off at t = 1, where known."""
    at_1 = evaluator.at_1()
    return {"batch_size": evaluator.batch, **({} if at_1 is None else {"x_0_hat_at_1": at_1})}


def _per_image(evaluator: Evaluator, total: Sum, parts: Mapping[str, Sum]) -> PerImage:
    """The bound of each image and its terms."""
    return PerImage(
        ids=evaluator.images.ids,
        total=total.values,
        se=total.variance.sqrt(),
        **{name: part.values for name, part in parts.items()},
        dims=evaluator.models[0].dims,
        unit=evaluator.unit,
        sources=evaluator.images.sources,
    )


def described_data(model: Model, data: Examples) -> dict[str, Any]:
    """What a report says of the data."""
    made_of = data.made_of if isinstance(data, Points) else None
    return {
        "name": data.name,
        "sha256": data.sha256,
        "split": data.split,
        **data.origin,
        "images": len(data),
        **({} if model.classes is None else {"labels": data.labels_sha256}),
        **({"conditions": data.conditions_sha256} if model.conditions else {}),
        **model.support.facts,
        **({} if made_of is None else {"encoded": dict(made_of)}),
    }


def _run(estimate: Exhaustive | Sampling, budget: int | None, precision: float) -> dict[str, Any]:
    """Runs an estimate to its end; what a report says of the estimator."""
    if isinstance(estimate, Exhaustive):
        return {"name": "exact" if estimate.exact else "exhaustive", **estimate.seen()}
    estimator: dict[str, Any] = {"name": "adaptive stratified"}
    evaluator = estimate.evaluator
    if budget is not None:
        estimate.spend(budget)
        estimator["budget"] = budget
    else:
        estimator["precision"] = precision
        estimator["stopped_by"] = estimate.until(
            precision * evaluator.models[0].dims * evaluator.unit.nats
        )
    estimator |= estimate.seen()
    estimator["phases"] = [len(rows) // len(evaluator.images) for rows in estimate.rows]
    estimator["controls"] = [
        {"name": test.name, "z": test.z, "passed": test.passed} for test in estimate.tests()
    ]
    return estimator

"""The likelihood by the probability-flow ODE, with its errors, beside the bound of the images."""

import math
import time
from pathlib import Path

import torch

from nelbo import arguments
from nelbo.bound.statistics import Mean
from nelbo.data import Examples
from nelbo.errors import BadInput
from nelbo.estimation import Evaluator, Processes, Progress, Settings, examine, measuring
from nelbo.estimation.ode import OdeSampling
from nelbo.estimation.ode_convention import Convention
from nelbo.formats import Pipeline, as_model
from nelbo.gaussian.ode import TOLERANCE
from nelbo.model import Model, examples_of
from nelbo.results import Evaluation
from nelbo.results.context import environment
from nelbo.results.ode import OdeLikelihood
from nelbo.tasks.evaluate import evaluate
from nelbo.typed_json import Json

__all__ = ["ode_likelihood"]

EXACT = "exact"


def ode_likelihood(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    precision: float = 0.01,
    steps: int | None = None,
    draws: int | None = None,
    dequantise: str = "model",
    importance: int = 1,
    probes: int | str = 1,
    solver: str = "rk4",
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    record: str | Path | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> OdeLikelihood:
    """-log p by the probability-flow ODE of a Gaussian model: what its users compare, not a bound.

    With two 95 % intervals, sampling of images and Monte Carlo; the latter is made of the error of
    the steps, measured with twice as many, of the trace, and of the points that an image starts
    from. Steps are doubled and images drawn again until it is `precision`, in the model's unit, or
    a tenth of what the spread between images leaves. The bound of the same images stands beside it.

    steps: of the solver; draws: of each image, at least 2, in place of the precision. dequantise:
    model, points of q(z_1 | x_0) and the bound's own decoder, so that bound and ODE are of one
    model; uniform, noise on each level's bin, as figures are published. importance: points whose
    weights are averaged, by which the figure falls to -log p. probes: random directions of the
    trace at each step, or "exact". solver: rk4, or rk45 at 1e-5 with probes kept along the path, by
    which figures are published; its error is not known, so there is no Monte Carlo interval, and
    the precision is of trace and dequantisation alone. check, record, data and model: as for
    `evaluate`.

    Source: Song et al. 2021, "Score-Based Generative Modeling through SDEs", section 4.3.

    Raises:
        BadInput: a model that has no such ODE, with the reason; a value out of range; data of
            another kind; a network that cannot be differentiated, or that the check refuses.
        NonFinite: a figure is NaN or infinite.
    """
    given = Settings(
        precision=precision,
        budget=None,
        seed=seed,
        batch_size=batch_size,
        check=check,
        record=record,
        processes=Processes() if processes is None else processes,
        progress=progress,
    )
    steps, draws = (
        None if number is None else _at_least(name, number, least)
        for name, number, least in (("steps", steps, 5), ("draws", draws, 2))
    )
    points = arguments.whole("importance", importance)
    convention = Convention(dequantise, points, _probes(probes), solver)
    if convention.adaptive and steps is not None:
        raise BadInput("solver rk45 chooses its steps itself: leave steps out, or take rk4")
    started, model = time.perf_counter(), as_model(model)
    images = examples_of(model, data, given.seed)
    sampling, estimator = _measured(model, images, given, convention, steps, draws)
    seconds = time.perf_counter() - started
    bound = _bound(model, images, given, sampling.evaluator.done)
    total, monte_carlo = sampling.means()
    return OdeLikelihood(
        total=total,
        monte_carlo=monte_carlo,
        shares=sampling.shares(),
        looks=_looks(sampling),
        bound=bound,
        difference=_difference(sampling, bound),
        images=len(images),
        dims=model.dims,
        network_evaluations=sampling.evaluator.done,
        seconds=seconds,
        estimator=estimator,
        model=model.described(),
        data=bound.data,
        environment=environment(model.device, model.dtype, given.processes.size),
        command=command,
        unit=sampling.evaluator.unit,
        warnings=_warnings(sampling, bound),
    )


def _measured(
    model: Model,
    images: Examples,
    given: Settings,
    convention: Convention,
    steps: int | None,
    draws: int | None,
) -> tuple[OdeSampling, dict[str, Json]]:
    """The estimate, run to its end, and what a report says of how."""
    with measuring([model]):
        evaluator = Evaluator(
            [model], images, given.seed, given.batch_size, given.processes, progress=given.progress
        )
        sampling = OdeSampling(evaluator, convention)
        checked = examine([model], images, given.processes, given.check)
        if given.check:
            sampling.check()
    mode = {**vars(convention), "steps": steps, "draws": draws, "precision": given.precision}
    with evaluator.agreed(mode, _part(given, "ode")), measuring([model]):
        precision = given.precision * model.dims * evaluator.unit.nats
        if not convention.adaptive:
            sampling.look(precision, steps)
        if draws is None:
            stopped: dict[str, Json] = {
                "stopped_by": sampling.until(precision),
                "precision": given.precision,
            }
        else:
            sampling.spend(draws)
            stopped = {"stopped_by": "draws"}
    return sampling, {
        "name": "probability-flow ODE",
        "solver": convention.solver,
        **(_own_steps(sampling) if convention.adaptive else _even_steps(sampling)),
        "log_snr": [sampling.flow.first, sampling.flow.last],
        "dequantise": convention.dequantise,
        "importance": convention.importance,
        "probes": convention.probes or EXACT,
        "draws": len(sampling.values),
        **stopped,
        "seed": given.seed,
        "batch_size": evaluator.batch,
        "check": checked,
    }


def _even_steps(sampling: OdeSampling) -> dict[str, Json]:
    """Of rk4: how many, what doubling them has added, and on how many images that is known."""
    looked = sampling.looked
    added = sampling.evaluator.unit.per_dim(looked.difference.mean, sampling.model.dims)
    return {"steps": looked.steps, "steps_added": added, "compared_on": looked.images}


def _own_steps(sampling: OdeSampling) -> dict[str, Json]:
    """Of rk45: the tolerance, and the evaluations of the ODE that a point took by it."""
    slopes = torch.cat(sampling.slopes)
    return {
        "tolerance": TOLERANCE,
        "ode_evaluations": {"mean": float(slopes.double().mean()), "most": int(slopes.max())},
    }


def _looks(sampling: OdeSampling) -> dict[int, float]:
    """The figure by each number of steps; none by rk45."""
    if sampling.looks is None:
        return {}
    return {number: float(nats.mean()) for number, nats in sampling.looks.nats.items()}


def _bound(model: Model, images: Examples, given: Settings, before: int) -> Evaluation:
    """That of the same images, to the same precision; progress goes on after `before`."""

    def progress(done: int, expected: int | None, text: str) -> None:
        of_both = None if expected is None else before + expected
        given.progress(before + done, of_both, f"the bound {text}")

    return evaluate(
        model,
        images,
        precision=given.precision,
        seed=given.seed,
        batch_size=given.batch_size,
        check=False,
        record=_part(given, "bound"),
        processes=given.processes,
        progress=progress,
    )


def _part(given: Settings, name: str) -> Path | None:
    """A folder of its own in that of the record, if there is one."""
    return None if given.record is None else Path(given.record) / name


def _at_least(name: str, number: object, least: int) -> int:
    result = arguments.whole(name, number)
    if result < least:
        raise BadInput(f"{name} must be at least {least}; got {result}")
    return result


def _probes(probes: object) -> int | None:
    """Their number, None for the exact trace."""
    return None if probes == EXACT else arguments.whole("probes", probes)


def _difference(sampling: OdeSampling, bound: Evaluation) -> tuple[Mean, Mean]:
    """The ODE's figure minus the bound's, image by image; the bound's own error comes on top."""
    paired, monte_carlo = sampling.means(bound.per_image.total)
    own, other = monte_carlo.se, bound.monte_carlo.se
    error = None if own is None or other is None else math.hypot(own, other)
    return paired, Mean(monte_carlo.mean, error, min(monte_carlo.dof, bound.monte_carlo.dof))


def _warnings(sampling: OdeSampling, bound: Evaluation) -> list[str]:
    """Why the figure may not be the model's, or not what it is taken for."""
    warnings = list(bound.warnings)
    if sampling.convention.adaptive:
        warnings.append(
            "rk45 at a tolerance is how such figures are published: the error that it leaves is "
            "not known, so that there is no Monte Carlo interval; solver rk4 has one"
        )
    if sampling.convention.dequantise == "uniform":
        warnings.append(
            "uniform dequantisation is not the model's own: it charges for the shape of a bin, "
            "and the figure is not comparable with the bound"
        )
    return warnings

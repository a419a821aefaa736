"""Two models on the same images, times and noise: what remains is what differs."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nelbo.data import Examples
from nelbo.estimation import (
    Evaluator,
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
from nelbo.model import Model
from nelbo.results import Comparison, Side
from nelbo.results.context import environment
from nelbo.tasks.paired import Pairs, pairs_of
from nelbo.tasks.warnings import warnings_of
from nelbo.typed_json import Json

__all__ = ["compare"]


def compare(
    a: Model | str | Path | Pipeline,
    b: Model | str | Path | Pipeline,
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    record: str | Path | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Comparison:
    """The bound of A minus that of B with two 95 % intervals: sampling of images, and Monte Carlo.

    Where both chains have the same number of steps, both are evaluated at the same images, t and
    noise, and the difference is estimated as such; otherwise they share the images alone. The
    precision is that of the difference. A model against itself gives exactly 0. check: as for
    `evaluate`, of both networks.

    Models of text that cut it into other windows or other symbols are paired by document, in
    bits/byte: data is then a spec with documents=apart, or two `Tokens`, as each model takes them.

    Raises:
        BadInput: models of different shape, grid or latents, data of another, windows of several
            documents where these are paired, a precision or budget that is too small; a network
            that fails, or that the check refuses.
        NonFinite: a term is NaN or infinite.
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
    started, a, b = time.perf_counter(), as_model(a), as_model(b)
    seed, processes = given.seed, given.processes
    pairs = pairs_of(a, b, data, seed)
    require_budget(given.budget, max(map(len, pairs.sets)), max(a.T, b.T), 2)
    groups = [[a, b]] if len(pairs.sets) == 1 else [[a], [b]]
    with measuring([a, b]):
        evaluators = [
            Evaluator(g, images, seed, given.batch_size, processes, progress=given.progress)
            for g, images in zip(groups, pairs.sets, strict=True)
        ]
        checked = _checked(groups, pairs, given)
        samplings, estimator = _estimates(evaluators, given)
    *sums, difference = _sums(samplings, pairs)
    total, monte_carlo = difference.means(sizes := pairs.sizes)
    sides = [
        Side(*own.means(sizes), model.described()) for own, model in zip(sums, (a, b), strict=True)
    ]
    return Comparison(
        total=total,
        monte_carlo=monte_carlo,
        a=sides[0],
        b=sides[1],
        images=pairs.count,
        dims=pairs.dims,
        network_evaluations=sum(evaluator.done for evaluator in evaluators),
        seconds=time.perf_counter() - started,
        estimator={
            "name": "adaptive stratified",
            "seed": seed,
            "paired": pairs.names,
            "check": checked,
            **estimator,
        },
        data=pairs.facts,
        environment=environment(a.device, a.dtype, processes.size),
        command=command,
        unit=pairs.unit(a),
        warnings=[*pairs.warnings, *_warnings(samplings, sides)],
    )


def _estimates(
    evaluators: list[Evaluator], given: Settings
) -> tuple[list[Sampling], dict[str, Json]]:
    """One for each group of models, run to its end; what a result says of how."""
    samplings, stopped, seen = [], [], []
    with ExitStack() as agreed:
        for number, evaluator in enumerate(evaluators):
            part = None if given.record is None else Path(given.record) / str(number)
            agreed.enter_context(evaluator.agreed(given.mode, part))
        for evaluator in evaluators:
            sampling = Sampling(evaluator)
            stopped.append(_run(sampling, given.precision, given.budget, len(evaluators)))
            seen.append(sampling.seen())
            samplings.append(sampling)
    return samplings, {"stopped_by": stopped, "seen": seen}


def _checked(groups: Sequence[list[Model]], pairs: Pairs, given: Settings) -> Json:
    """What a look at both networks in company says, each on what it is measured on."""
    looks: dict[int, tuple[Examples, list[Model]]] = {}
    for models, examples in zip(groups, pairs.sets, strict=True):
        looks.setdefault(id(examples), (examples, []))[1].extend(models)
    seen = [examine(m, x, given.processes, given.check) for x, m in looks.values()]
    return seen if len(seen) > 1 and given.check else seen[0]


def _sums(samplings: list[Sampling], pairs: Pairs) -> list[Sum]:
    """Of A, B and their difference."""
    sums = [s.total(column) for s in samplings for column in range(len(s.columns))]
    if len(sums) == 2:  # each on times and noise of its own
        sums = [pairs.paired(own, number) for number, own in enumerate(sums)]
        first, second = sums
        both = first + second
        sums.append(Sum(first.values - second.values, both.variance, both.dof))
    return sums


def _warnings(samplings: list[Sampling], sides: Sequence[Side]) -> list[str]:
    """Why the figure of either may not be its own."""
    models = [(s, number) for s in samplings for number in range(len(s.evaluator.models))]
    warnings = []
    for name, side, (sampling, number) in zip("AB", sides, models, strict=True):
        parts = {
            "L_T": sampling.L_T(number),
            "L_mid": sampling.later(number),
            "L_0": sampling.first(number),
        }
        own = warnings_of(sampling.evaluator, number, parts, side.model)
        warnings += [f"{name}: {warning}" for warning in own]
    return warnings


def _run(sampling: Sampling, precision: float, budget: int | None, groups: int) -> str:
    """Spends this group's part of the budget, or goes on until its part of the precision."""
    if budget is not None:
        sampling.spend(budget // groups)
        return "budget"
    evaluator = sampling.evaluator
    nats = precision * evaluator.models[0].dims * evaluator.unit.nats
    return sampling.until(nats / math.sqrt(groups))

"""Two models on the same images, times and noise: what remains is what differs."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Unpack, final, overload

from nelbo.arguments import flag
from nelbo.data import Examples
from nelbo.errors import BadInput
from nelbo.estimation import (
    Evaluator,
    Exhaustive,
    Processes,
    Progress,
    Replay,
    Sampling,
    Settings,
    Share,
    SharedOptions,
    Sum,
    examine,
    measuring,
    require_budget,
)
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model
from nelbo.results import Comparison, Side
from nelbo.results.context import environment
from nelbo.results.part import Part
from nelbo.tasks.paired import Pairs, SameExamples, pairs_of
from nelbo.tasks.warnings import warnings_of
from nelbo.typed_json import Json, object_at

__all__ = ["Paired", "compare"]


@overload
def compare(
    a: Model | str | Path | Pipeline,
    b: Model | str | Path | Pipeline,
    data: object,
    *,
    part: None = None,
    **options: Unpack[SharedOptions],
) -> Comparison: ...


@overload
def compare(
    a: Model | str | Path | Pipeline,
    b: Model | str | Path | Pipeline,
    data: object,
    *,
    part: tuple[int, int] | None,
    **options: Unpack[SharedOptions],
) -> Comparison | Part: ...


def compare(
    a: Model | str | Path | Pipeline,
    b: Model | str | Path | Pipeline,
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    check: bool = True,
    record: str | Path | None = None,
    part: tuple[int, int] | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Comparison | Part:
    """The bound of A minus that of B with two 95 % intervals: sampling of images, and Monte Carlo.

    Where both chains have the same number of steps, both are evaluated at the same images, t and
    noise, and the difference is estimated as such; otherwise they share the images alone. The
    precision is that of the difference. A model against itself gives exactly 0. check: as for
    `evaluate`, of both networks. exhaustive: every t of every image, by both.

    Models of text that cut it into other windows or other symbols are paired by document, in
    bits/byte: data is then a spec with documents=apart, or two `Tokens`, as each model takes them.

    part: (number, of), of an exhaustive comparison: evaluates every `of`-th batch, and returns a
    `Part` to save; `nelbo.merge(parts, (a, b), data)` makes the comparison of all parts.

    Raises:
        BadInput: models of different shape, grid or latents, data of another, windows of several
            documents where these are paired, a precision or budget that is too small; a network
            that fails, or that the check refuses; parts of what is not evaluated together.
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
    exhaustive = flag("exhaustive", exhaustive)
    given.require_one(exhaustive)
    share = None if part is None else Share.stated(part)
    a, b = as_model(a), as_model(b)
    pairs = pairs_of(a, b, data, given.seed)
    if share is not None:
        _check_part(exhaustive, pairs)
    paired = Paired(a, b, pairs, given, exhaustive, share=share)
    return paired.comparison(command) if share is None else paired.part(share)


def _check_part(exhaustive: bool, pairs: Pairs) -> None:
    """Refuses parts of what values decide, and of models that are not evaluated together."""
    if not exhaustive:
        raise BadInput(
            "parts of a comparison are of every t: give exhaustive=True (--exhaustive); what "
            "budget and precision take is decided by values"
        )
    if not isinstance(pairs, SameExamples) or not pairs.together:
        raise BadInput(
            "parts of a comparison are of two chains of as many steps on the same examples: "
            "evaluate each in parts, and give both results to nelbo report"
        )


@final
class Paired:
    """Two models measured on the same pairs: one comparison, or a part, or what all parts make.

    replay: all parts, in which case the networks are not evaluated.
    """

    def __init__(
        self,
        a: Model,
        b: Model,
        pairs: Pairs,
        given: Settings,
        exhaustive: bool,
        *,
        share: Share | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.started = time.perf_counter()
        self.models, self.pairs, self.replay = (a, b), pairs, replay
        if not exhaustive:
            require_budget(given.budget, max(map(len, pairs.sets)), max(a.T, b.T), 2)
        groups = [[a, b]] if len(pairs.sets) == 1 else [[a], [b]]
        how = given.seed, given.batch_size, given.processes
        with measuring([a, b]):
            self.evaluators = [
                Evaluator(g, images, *how, progress=given.progress, share=share)
                for g, images in zip(groups, pairs.sets, strict=True)
            ]
            self.checked = _checked(groups, pairs, given) if replay is None else replay.check
            self.samplings, self.estimator = _estimates(self.evaluators, given, exhaustive, replay)

    @property
    def seconds(self) -> float:
        """Since it began; of parts, those of all together."""
        return time.perf_counter() - self.started if self.replay is None else self.replay.seconds

    @property
    def environment(self) -> dict[str, Json]:
        """Where it is, and where the parts were."""
        a, first = self.models[0], self.evaluators[0]
        here = environment(a.device, a.dtype, first.processes.size)
        return here if self.replay is None else {**here, "parts": self.replay.machines}

    def part(self, share: Share) -> Part:
        """What this part of the comparison has of the networks."""
        (evaluator,) = self.evaluators
        check = None if self.checked is None else object_at(self.checked)
        return share.part(evaluator.plan, evaluator.done, self.seconds, check, self.environment)

    def comparison(self, command: str) -> Comparison:
        """A minus B."""
        pairs, (a, b) = self.pairs, self.models
        *sums, difference = _sums(self.samplings, pairs)
        total, monte_carlo = difference.means(sizes := pairs.sizes)
        sides = [
            Side(*own.means(sizes), model.described())
            for own, model in zip(sums, (a, b), strict=True)
        ]
        own: dict[str, Json] = {
            "seed": self.evaluators[0].seed,
            "paired": pairs.names,
            "check": self.checked,
        }
        return Comparison(
            total=total,
            monte_carlo=monte_carlo,
            a=sides[0],
            b=sides[1],
            images=pairs.count,
            dims=pairs.dims,
            network_evaluations=sum(evaluator.done for evaluator in self.evaluators),
            seconds=self.seconds,
            estimator={"name": self.estimator["name"], **own, **self.estimator},
            data=pairs.facts,
            environment=self.environment,
            command=command,
            unit=pairs.unit(a),
            warnings=[*pairs.warnings, *_warnings(self.samplings, sides)],
        )


Estimate = Exhaustive | Sampling


def _estimates(
    evaluators: list[Evaluator], given: Settings, exhaustive: bool, replay: Replay | None
) -> tuple[list[Estimate], Mapping[str, Json]]:
    """One for each group of models, run to its end; what a result says of how."""
    mode: Mapping[str, Json] = given.mode
    if exhaustive:
        mode = {"exhaustive": True, "distortion": False}
    with ExitStack() as agreed:
        for number, evaluator in enumerate(evaluators):
            part = None if given.record is None else Path(given.record) / str(number)
            agreed.enter_context(evaluator.agreed(mode, replay or part))
        if exhaustive:
            all_t = [Exhaustive(evaluator) for evaluator in evaluators]
            name = "exact" if all(estimate.exact for estimate in all_t) else "exhaustive"
            return [*all_t], {"name": name, "seen": [estimate.seen() for estimate in all_t]}
        some, stopped, seen = list[Estimate](), [], []
        for evaluator in evaluators:
            sampling = Sampling(evaluator)
            stopped.append(_run(sampling, given.precision, given.budget, len(evaluators)))
            seen.append(sampling.seen())
            some.append(sampling)
    return some, {"name": "adaptive stratified", "stopped_by": stopped, "seen": seen}


def _checked(groups: Sequence[list[Model]], pairs: Pairs, given: Settings) -> Json:
    """What a look at both networks in company says, each on what it is measured on."""
    looks: dict[int, tuple[Examples, list[Model]]] = {}
    for models, examples in zip(groups, pairs.sets, strict=True):
        looks.setdefault(id(examples), (examples, []))[1].extend(models)
    seen = [examine(m, x, given.processes, given.check) for x, m in looks.values()]
    return seen if len(seen) > 1 and given.check else seen[0]


def _sums(samplings: Sequence[Estimate], pairs: Pairs) -> list[Sum]:
    """Of A, B and their difference."""
    sums = [s.total(column) for s in samplings for column in range(len(s.columns))]
    if len(sums) == 2:  # each on times and noise of its own
        sums = [pairs.paired(own, number) for number, own in enumerate(sums)]
        first, second = sums
        both = first + second
        sums.append(Sum(first.values - second.values, both.variance, both.dof))
    return sums


def _warnings(samplings: Sequence[Estimate], sides: Sequence[Side]) -> list[str]:
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

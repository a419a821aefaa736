"""The parts of an evaluation made into it: the bytes of one process that evaluates all."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, overload

from nelbo.arguments import flag, seed_of
from nelbo.errors import BadInput
from nelbo.estimation import Replay, Settings
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results import Comparison, Evaluation
from nelbo.results.part import Part
from nelbo.tasks.compare import Paired
from nelbo.tasks.evaluate import Measured, of_levels
from nelbo.tasks.paired import pairs_of
from nelbo.typed_json import whole_at

__all__ = ["merge"]


AnyModel: TypeAlias = Model | str | Path | Pipeline


@overload
def merge(
    parts: Sequence[Part | str | Path],
    model: AnyModel,
    data: object,
    *,
    baselines: bool = False,
    command: str = "",
) -> Evaluation: ...


@overload
def merge(
    parts: Sequence[Part | str | Path],
    model: tuple[AnyModel, AnyModel],
    data: object,
    *,
    baselines: bool = False,
    command: str = "",
) -> Comparison: ...


def merge(
    parts: Sequence[Part | str | Path],
    model: AnyModel | tuple[AnyModel, AnyModel],
    data: object,
    *,
    baselines: bool = False,
    command: str = "",
) -> Evaluation | Comparison:
    """The evaluation that these parts are of, in any order, also where some are given twice.

    parts: of `evaluate(..., part=(k, N))`, or their files. model, data: those of the parts, held
    against their digests; the network is not evaluated. Of parts of `compare`, model is both, as
    (a, b), and what comes is the comparison. The result is that of one process on the same machine,
    but for `seconds`, which are those of all parts, and `environment["parts"]`, which says where
    they were computed.

    Raises:
        BadInput: parts that are missing, of another evaluation, or that contradict each other; a
            file that is no part, or is damaged; another model, data or version than the parts'.
    """
    if isinstance(parts, str | Path) or not isinstance(parts, Sequence):
        raise BadInput("parts are a list of parts or of their files: give all of one evaluation")
    replay = Replay([part if isinstance(part, Part) else Part.read(part) for part in parts])
    plan = replay.plan
    given = Settings(
        precision=1.0,
        budget=None,
        seed=seed_of(plan["seed"]),
        batch_size=None if plan["batch_size"] is None else whole_at(plan, "batch_size"),
        check=False,
    )
    baselines = flag("baselines", baselines)
    if replay.parts[0].of_two or isinstance(model, tuple):
        a, b = _both(replay, model, baselines)
        pairs = pairs_of(a, b, data, given.seed)
        return Paired(a, b, pairs, given, True, replay=replay).comparison(command)
    model = as_model(model)
    images = examples_of(model, data, given.seed)
    levels = of_levels(images) if baselines else None
    distortion = flag("distortion", plan["distortion"])
    measured = Measured(model, images, given, True, distortion, replay=replay)
    return measured.evaluation(levels, command)


def _both(
    replay: Replay, model: AnyModel | tuple[AnyModel, AnyModel], baselines: bool
) -> tuple[Model, Model]:
    """The two models of a comparison."""
    first = replay.parts[0]
    if not isinstance(model, tuple) or len(model) != 2 or not first.of_two:
        of = "a comparison: give both models, as (a, b)" if first.of_two else "one model: give it"
        raise BadInput(f"{first.source} is a part of {of}")
    if baselines:
        raise BadInput("baselines are of one model's images: a comparison has none")
    a, b = map(as_model, model)
    return a, b

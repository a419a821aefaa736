"""The parts of an evaluation made into it: the bytes of one process that evaluates all."""

from collections.abc import Sequence
from pathlib import Path

from nelbo.arguments import flag, seed_of
from nelbo.errors import BadInput
from nelbo.estimation import Replay, Settings
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results import Evaluation
from nelbo.results.part import Part
from nelbo.tasks.evaluate import Measured, of_levels
from nelbo.typed_json import whole_at

__all__ = ["merge"]


def merge(
    parts: Sequence[Part | str | Path],
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    baselines: bool = False,
    command: str = "",
) -> Evaluation:
    """The evaluation that these parts are of, in any order, also where some are given twice.

    parts: of `evaluate(..., part=(k, N))`, or their files. model, data: those of the parts, held
    against their digests; the network is not evaluated. The result is that of one process on the
    same machine, but for `seconds`, which are those of all parts, and `environment["parts"]`, which
    says where they were computed.

    Raises:
        BadInput: parts that are missing, of another evaluation, or that contradict each other; a
            file that is no part, or is damaged; another model, data or version than the parts'.
    """
    if isinstance(parts, str | Path) or not isinstance(parts, Sequence):
        raise BadInput("parts are a list of parts or of their files: give all of one evaluation")
    replay = Replay([part if isinstance(part, Part) else Part.read(part) for part in parts])
    plan = replay.plan
    model = as_model(model)
    given = Settings(
        precision=1.0,
        budget=None,
        seed=seed_of(plan["seed"]),
        batch_size=None if plan["batch_size"] is None else whole_at(plan, "batch_size"),
        check=False,
    )
    images = examples_of(model, data, given.seed)
    levels = of_levels(images) if flag("baselines", baselines) else None
    distortion = flag("distortion", plan["distortion"])
    measured = Measured(model, images, given, True, distortion, replay=replay)
    return measured.evaluation(levels, command)

"""All that decides the steps to come, as a checkpoint, and back: everything or an error."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from nelbo import checkpoint
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput, NonFinite
from nelbo.estimation import Processes
from nelbo.training.batches import Batches
from nelbo.training.learner import Learner
from nelbo.training.log import Log
from nelbo.training.times import Times
from nelbo.typed_json import Finite, Json, Typed, Whole, as_typed, object_at, part_at

__all__ = ["Position", "State", "require_same"]


@final
@dataclass
class Position:
    """How far a run has come.

    smoothed: the loss; by_quarter: that of the t in each quarter of 1..T, None where it has none;
    best: the step with the best held-out bound, and that bound in bits/dim; worse: measurements
    since then; measured: the step of the last one.
    """

    step: int = 0
    smoothed: float | None = None
    by_quarter: tuple[float | None, ...] = (None,) * 4
    best: tuple[int, float] | None = None
    worse: int = 0
    measured: int = 0


class _Stored(Typed):
    """A position as a checkpoint has it: every key, of its type."""

    step: Annotated[Whole, Field(ge=0)]
    smoothed: Finite | None
    by_quarter: Annotated[tuple[Finite | None, ...], Field(min_length=4, max_length=4)]
    best: tuple[Whole, Finite] | None
    worse: Annotated[Whole, Field(ge=0)]
    measured: Annotated[Whole, Field(ge=0)]

    @property
    def possible(self) -> bool:
        """Whether a run can have come there."""
        best = 0 if self.best is None else self.best[0]
        return (
            (self.smoothed is None) == (self.step == 0)
            and (best > 0) == (self.measured > 0)
            and best <= self.measured <= self.step
            and (self.worse == 0) == (best == self.measured)
        )


@final
@dataclass(frozen=True)
class State:
    """The parts of a run that change. `about` says what it is a run of, as JSON."""

    about: Mapping[str, Json]
    learner: Learner
    times: Times
    batches: Batches
    position: Position
    log: Log
    processes: Processes

    def save(self, path: Path) -> None:
        """Writes the checkpoint whole or not at all, by the first process.

        Raises:
            NonFinite: a tensor holds NaN or infinity; nothing is written.
            OSError: the disk refuses; nothing is written.
        """
        generators = self.processes.gather(self._generators())
        if not self.processes.first:
            return
        tensors = {name: x.detach().cpu() for name, x in self._tensors().items()}
        for rank, states in enumerate(generators):
            tensors |= {f"generator.{kind}.{rank}": x for kind, x in states.items()}
        for name, x in tensors.items():
            if x.is_floating_point() and not x.isfinite().all():
                raise NonFinite(f"{name} is not finite after step {self.position.step} (rank 0)")
        state = {
            **self._derived(),
            "position": asdict(self.position),
            "log": self.log.mark(),
            "tensors": {name: _sha256(x) for name, x in tensors.items()},
        }
        checkpoint.save(path, Checkpoint(tensors, {**self.described(), "state": state}))

    def described(self) -> dict[str, Json]:
        """What a checkpoint says of the run and its step."""
        return {**self.about, "step": self.position.step}

    def restore(self, path: Path) -> None:
        """Puts every part back as it was when the checkpoint was written.

        Raises:
            BadInput: the checkpoint is damaged, of another run, or lacks a part; the message names
                the part.
        """
        stored = checkpoint.load(path)
        refusal = f"cannot go on from {path}: "
        state = part_at(stored.description, "state")
        if not state:
            raise BadInput(f"{refusal}it holds weights alone, no state of a run")
        require_same(refusal, self.about, stored.description)
        parts = self._tensors()
        rank = self.processes.rank
        own = {f"generator.{kind}.{rank}": x for kind, x in self._generators().items()}
        digests = {name: str(digest) for name, digest in object_at(state, "tensors").items()}
        self._require_tensors(refusal, stored.tensors, digests, {**parts, **own})
        with torch.no_grad():
            for name, x in parts.items():
                x.copy_(stored.tensors[name])
        self._set_generators(stored.part("generator"))
        self._set_position(refusal, part_at(state, "position"), stored.description)
        require_same(refusal, self._derived(), state)
        self._require_counts(refusal, stored.tensors)
        if not (mark := part_at(state, "log")):
            raise BadInput(f"{refusal}it lacks the mark of its log")
        if self.processes.first:
            self.log.begin(self.position.step, mark)

    def _require_tensors(
        self,
        refusal: str,
        saved: Mapping[str, Tensor],
        digests: Mapping[str, str],
        wanted: Mapping[str, Tensor],
    ) -> None:
        for name, x in wanted.items():
            if name not in saved:
                raise BadInput(f"{refusal}it lacks {name}")
            if saved[name].shape != x.shape or saved[name].dtype != x.dtype:
                raise BadInput(
                    f"{refusal}{name} is {saved[name].dtype} {tuple(saved[name].shape)}, not "
                    f"{x.dtype} {tuple(x.shape)}"
                )
        others = [n for n in saved if n not in wanted and not n.startswith("generator.")]
        if others:
            raise BadInput(f"{refusal}it holds {others[0]}, which this run has not")
        for name, x in saved.items():
            if digests.get(name) != _sha256(x):
                raise BadInput(f"{refusal}{name} is not what was saved")
            if x.is_floating_point() and not x.isfinite().all():
                raise BadInput(f"{refusal}{name} is not finite")

    def _set_position(
        self, refusal: str, tree: Mapping[str, Json], description: Mapping[str, Json]
    ) -> None:
        values = {key: tuple(x) if isinstance(x, list) else x for key, x in tree.items()}
        stored = as_typed(_Stored, values, f"{refusal}its position")
        unknown = tree.keys() - _Stored.model_fields.keys()
        if unknown or not stored.possible or description.get("step") != stored.step:
            raise BadInput(f"{refusal}its position contradicts itself or its step")
        for key in tree:
            setattr(self.position, key, getattr(stored, key))

    def _require_counts(self, refusal: str, tensors: Mapping[str, Tensor]) -> None:
        """What was counted is of this step; a parameter without a gradient has no updates."""
        step, choice = self.position.step, self.learner.choice
        for name, x in tensors.items():
            right = True
            if name == "updates.ema":
                right = int(x) == step
            elif name == "times.seen":
                right = bool((x >= 0).all()) and int(x.sum()) == step * choice.batch_size
            elif name.startswith("optimizer.") and name.endswith(".exp_avg_sq"):
                right = bool((x >= 0).all())
            elif name.startswith("optimizer.") and name.endswith(".step"):
                moved = bool(tensors[f"{name.removesuffix('step')}exp_avg"].any())
                right = float(x) == step or (float(x) == 0 and not moved)
            if not right:
                raise BadInput(f"{refusal}{name} is not of step {step}")

    def _tensors(self) -> dict[str, Tensor]:
        times = {f"times.{name}": x for name, x in self.times.tensors().items()}
        return {**self.learner.tensors(), **times}

    def _derived(self) -> dict[str, Json]:
        """What follows from the step and the settings, and so is checked and not set."""
        step = self.position.step
        return {
            "sampler": self.batches.position(step),
            "schedule": {"step": step, "learning_rate": self.learner.rate(step)},
            "processes": self.processes.size,
        }

    def _generators(self) -> dict[str, Tensor]:
        """The states of torch's generators that this process draws from."""
        device = next(iter(self.learner.parameters.values())).device
        states = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(device)
        return states

    def _set_generators(self, saved: Mapping[str, Tensor]) -> None:
        rank = self.processes.rank
        torch.set_rng_state(saved[f"cpu.{rank}"])
        device = next(iter(self.learner.parameters.values())).device
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved[f"cuda.{rank}"], device)


def require_same(refusal: str, wanted: Mapping[str, Json], stored: Mapping[str, Json]) -> None:
    """Names the first of the wanted values, however deep, that differs from what was found.

    Raises:
        BadInput: one does.
    """
    for key, value in wanted.items():
        _same(refusal, key, value, stored.get(key))


def _same(refusal: str, where: str, wanted: object, stored: object) -> None:
    if isinstance(wanted, Mapping) and isinstance(stored, Mapping):
        for key in dict.fromkeys([*wanted, *stored]):
            _same(refusal, f"{where}.{key}", wanted.get(key), stored.get(key))
    elif wanted != stored:
        raise BadInput(f"{refusal}its {where} is {stored}, this run's is {wanted}")


def _sha256(x: Tensor) -> str:
    """Of type, shape and bytes."""
    digest = hashlib.sha256(f"{x.dtype} {tuple(x.shape)}\n".encode())
    digest.update(x.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

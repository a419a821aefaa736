"""The steps of a run: a batch, its loss and gradient over all processes, an update, what is due."""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, final

import torch
from torch import Tensor

from nelbo import checkpoint
from nelbo.bound.noise import KeyedNoise, Part
from nelbo.checkpoint import Checkpoint
from nelbo.data import Discrete
from nelbo.errors import NonFinite, Stopped
from nelbo.model import Model
from nelbo.recipe import Objective, Training
from nelbo.results import bits_per_dim
from nelbo.training import log as logs
from nelbo.training.draws import Draw, Draws
from nelbo.training.folder import RunFolder
from nelbo.training.held_out import HeldOut
from nelbo.training.pictures import Pictures
from nelbo.training.signals import Signals
from nelbo.training.state import State
from nelbo.typed_json import Json
from nelbo.types import Nats, Time

__all__ = ["Loop", "Progress"]

LOOK_EVERY = 10  # steps between looks at the loss by t, which take as long as a small layer
Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, the smoothed loss)."""


class _Interrupted(Exception):
    """A signal came during a measurement or drawing, which can be made again."""


@final
@dataclass
class Loop:
    """Takes a run from where its state is to its end."""

    choice: Training
    model: Model
    objective: Objective
    images: Discrete
    held_out: HeldOut | None
    pictures: Pictures | None
    state: State
    folder: RunFolder
    signals: Signals
    progress: Progress
    saved: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        processes, size = self.state.processes, self.choice.batch_size
        self.ids = self.images.ids
        self.all_rows = torch.ones(size, dtype=torch.bool)
        self.condition = self.model.condition(self.images.labels, self.images.name)
        self.mine = torch.arange(size).tensor_split(processes.size)[processes.rank]
        self.draws = Draws(
            self.state.batches,
            self.state.times,
            KeyedNoise.of(self.choice.seed, self.ids),  # keys alone, eight bytes each
            self.choice.seed,
            self.choice.steps,
            [_slice(part) for part in self.mine.tensor_split(self.choice.accumulate)],
            self.model.dims,
        )

    def run(self) -> None:
        """Steps until the last one, or until no better weights come.

        Raises:
            NonFinite: a loss or gradient is NaN or infinite; no checkpoint holds what came of it.
            Stopped: a signal came; a checkpoint of the last step is there.
            OSError: the disk refuses; the checkpoints from before are as they were.
        """
        position = self.state.position
        measured = position.measured
        self._measure()  # what a signal may have put off
        self._draw()
        if position.measured != measured and position.step % self.choice.checkpoint_every == 0:
            self._save()  # again: it was saved without that measurement
        while position.step < self.choice.steps and not self._enough():
            value, norm, stop = self._step(position.step)
            position.step += 1
            position.smoothed = _smoothed(position.smoothed, value)
            if position.step % logs.EVERY == 0 or position.step == self.choice.steps:
                self._record(norm)
            if stop:
                self._stop()
            self._measure()
            self._draw()
            if position.step % self.choice.checkpoint_every == 0:
                self._save()
            self.progress(position.step, self.choice.steps, self._text())
        if self.state.processes.first:
            self.folder.prune(self.choice.keep)  # what a start that failed left to do
            if self._enough():
                why = f"no better held-out bound in {position.worse} measurements"
                self.state.log.write({"step": position.step, "stopped": why})

    def _step(self, step: int) -> tuple[float, float, bool]:
        """One update: (loss, gradient's norm, whether a process got a signal to stop)."""
        choice, learner, times = self.choice, self.state.learner, self.state.times
        draw = self.draws.at(step)
        index, t, weight = draw.index, draw.t, draw.weight
        learner.optimizer.zero_grad()
        terms = [self._part(draw, rows, noise) for rows, noise in draw.parts]
        losses, stop, bad = self._add_up(torch.cat(terms))
        weighted = losses if weight is None else losses * weight.to(losses)
        value = float(weighted.sum() / choice.batch_size / self.model.dims)
        if not math.isfinite(value):
            raise NonFinite(self._where("the loss", step, t, index, ~losses.isfinite().cpu()))
        norm = learner.update(step)
        if not math.isfinite(norm):
            raise NonFinite(self._where(self._gradient(), step, t, index, bad))
        if times.learns:
            times.update(t, losses.cpu())
        if step % LOOK_EVERY == 0:
            self._quarters(t, losses)
        return bits_per_dim(value, 1) if self.objective.nats else value, norm, stop

    def _quarters(self, t: Time, losses: Nats) -> None:
        """Smooths the mean loss of the t in each quarter of 1..T, where the batch has some."""
        position, means = self.state.position, losses.double().cpu() / self.model.dims
        quarter = 4 * (t - 1) // self.model.T
        quarters = [float(means[quarter == q].mean()) for q in range(4)]
        values = [bits_per_dim(x, 1) if self.objective.nats else x for x in quarters]
        pairs = zip(position.by_quarter, values, strict=True)
        position.by_quarter = tuple(a if b != b else _smoothed(a, b, 0.9) for a, b in pairs)

    def _part(self, draw: Draw, rows: slice, noise: Part) -> Nats:
        """Adds the gradient of these rows' share of the loss; their losses."""
        index = draw.index[rows]
        condition = [c[index] for c in self.condition]
        losses = self.objective(
            self.model.x_0(self.images.levels[index]), noise.t, noise, condition
        )
        weighted = losses if draw.weight is None else losses * draw.weight[rows].to(losses)
        (weighted.sum() / self.choice.batch_size / self.model.dims).backward()
        return losses.detach()

    def _add_up(self, losses: Tensor) -> tuple[Nats, bool, Tensor]:
        """The gradient and the losses of all processes, in this one too.

        (losses of the whole batch, whether some process got a signal, rows of processes whose
        gradient is not finite). One sum of one row of numbers: DistributedDataParallel overlaps its
        sums with the backward pass, but cuts them otherwise in its first step than later, so that
        a resumed run of three processes would round otherwise.
        """
        processes, size = self.state.processes, self.choice.batch_size
        if processes.size == 1:
            return losses, self.signals.number > 0, self.all_rows
        parameters = list(self.state.learner.parameters.values())
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        gradients = [p.grad for p in parameters if p.grad is not None]
        parts = [g.flatten() for g in gradients]
        own = losses.new_zeros(2 * size + 1)
        own[self.mine.to(own.device)] = losses
        finite = torch.stack([part.sum() for part in parts]).isfinite().all()
        own[size + self.mine.to(own.device)] = (~finite).to(own)
        own[-1] = self.signals.number > 0
        row = processes.add_up(torch.cat([*parts, own]))
        *summed, own = row.split([*(len(part) for part in parts), len(own)])
        views = [part.view_as(g) for part, g in zip(summed, gradients, strict=True)]
        torch._foreach_copy_(gradients, views)
        return own[:size], bool(own[-1] > 0), (own[size:-1] > 0).cpu()

    def _gradient(self) -> str:
        """What is not finite of the gradient."""
        named = self.state.learner.parameters.items()
        bad = [n for n, p in named if p.grad is not None and not p.grad.isfinite().all()]
        return f"the gradient of {bad[0]}" if bad else "the gradient's norm"

    def _where(self, what: str, step: int, t: Time, index: Tensor, bad: Tensor) -> str:
        rows = bad.nonzero()[:, 0] if bad.any() else torch.arange(len(bad))
        processes = self.state.processes.size
        shares = torch.arange(len(bad)).tensor_split(processes)
        ranks = [rank for rank, share in enumerate(shares) if bad[share].any()] or [0]
        return (
            f"{what} is not finite at step {step + 1}, t = {t[rows].tolist()[:5]}, images "
            f"{self.ids[index[rows]].tolist()[:5]} of {self.images.name} (rank {ranks[0]})"
        )

    def _record(self, norm: float) -> None:
        position = self.state.position
        if not self.state.processes.first:
            return
        entry = {
            "step": position.step,
            "loss": position.smoothed,
            "loss_by_quarter": position.by_quarter,
            "unit": self.objective.unit,
            "gradient_norm": norm,
            "learning_rate": self.state.learner.rate(position.step),
        }
        self.state.log.write(entry)
        self.state.log.write_speed(position.step, self.choice.batch_size)

    def _measure(self) -> None:
        """The held-out bound, where it is due; the weights are kept where it is the best."""
        position = self.state.position
        due = position.step and position.step % self.choice.held_out_every == 0
        if self.held_out is None or not due or position.measured == position.step:
            return
        average = self.state.learner.average.network
        try:
            value, half = self.held_out.measure(average, self._interrupt)
        except _Interrupted:
            self._stop()
        better = position.best is None or value < position.best[1]
        if better:
            position.best = (position.step, value)
        position.worse = 0 if better else position.worse + 1
        position.measured = position.step
        if not self.state.processes.first:
            return
        if better:
            made = Checkpoint(self.folder.weights(self.state), self.state.described())
            checkpoint.save(self.folder.best(), made)
        entry: dict[str, Json] = {
            "step": position.step,
            "held_out": value,
            "ci95_half": half,
            "unit": "bits/dim",
        }
        self.state.log.write(entry | {"best_step": position.best[0] if position.best else None})

    def _draw(self) -> None:
        """The picture of samples, where it is due, by the first process."""
        every, step = self.choice.samples_every, self.state.position.step
        if self.pictures is None or not step or step % every or not self.state.processes.first:
            return
        average = self.state.learner.average.network
        try:
            self.pictures.draw(average, self.folder.picture(step), self._interrupt)
        except _Interrupted:
            self._stop()

    def _interrupt(self) -> None:
        # of several processes each would stop elsewhere: those go on to the end
        if self.signals.number and self.state.processes.size == 1:
            raise _Interrupted

    def _text(self) -> str:
        position, log = self.state.position, self.state.log
        best = "" if position.best is None else f", held-out {position.best[1]:.3f} at best"
        rate = log.rate(position.step) * self.choice.batch_size
        return f"{self.objective.unit} {position.smoothed:.3f}{best}, {rate:,.0f} images/s"

    def _enough(self) -> bool:
        patience = self.choice.patience
        return patience is not None and self.state.position.worse >= patience

    def _save(self) -> None:
        step = self.state.position.step
        if self.saved != step:
            self.state.save(self.folder.at(step))
            self.saved = step
            if self.state.processes.first:
                self.folder.prune(self.choice.keep)

    def _stop(self) -> NoReturn:
        """Saves and stops, after a signal to one of the processes."""
        self._save()
        number = max(self.state.processes.gather(self.signals.number))
        raise Stopped(
            f"stopped by a signal after step {self.state.position.step}, which is saved",
            f"nelbo train --resume {shlex.quote(str(self.folder.path))}",
            number,
        )


def _smoothed(before: float | None, value: float, memory: float = 0.98) -> float:
    return value if before is None else memory * before + (1 - memory) * value


def _slice(consecutive: Tensor) -> slice:
    return slice(int(consecutive[0]), int(consecutive[-1]) + 1)

"""Training by the bound, from a recipe to a run folder."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nelbo import checkpoint, files
from nelbo import recipe as recipes
from nelbo.bound.estimators import low_discrepancy_times
from nelbo.bound.noise import KeyedNoise
from nelbo.checkpoint import Checkpoint
from nelbo.data import Images, load
from nelbo.errors import NonFinite
from nelbo.model import Model, clip_gradients, parameter_groups
from nelbo.recipe import Objective, Recipe, Training
from nelbo.report import bits_per_dim
from nelbo.types import Time

__all__ = ["LOG", "Progress", "train"]

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, the smoothed loss)."""

LOG = "log.jsonl"
LOG_EVERY = 50


def train(
    recipe: Recipe,
    folder: str | Path,
    *,
    device: torch.device | None = None,
    progress: Progress = lambda done, expected, text: None,
) -> Path:
    """Trains the recipe's model into a new folder: model.safetensors and log.jsonl; its path.

    The same recipe gives the same weights on the same machine: images, times, noise and dropout
    are functions of the recipe's seed.

    Raises:
        BadInput: the folder exists, the data cannot be read, or the recipe's choices clash.
        NonFinite: a loss or gradient is NaN or infinite; the message names t and the images.
    """
    images = load(recipe.data.train, levels=recipe.data.levels)
    model = recipes.build(recipe, tuple(images.levels.shape[1:]), images.n)
    objective = recipes.objective(recipe, model)
    model.network.to(device or torch.device("cpu"))
    folder = files.new_folder(folder)
    with torch.random.fork_rng(), open(folder / LOG, "w", encoding="utf-8") as log:
        torch.manual_seed(recipe.training.seed)
        average = _Loop(recipe.training, model, objective, images, log, progress).run()
    raw = {f"network.{name}": x for name, x in model.network.state_dict().items()}
    ema = {f"ema.{name}": x for name, x in average.state_dict().items()}
    description = {
        "recipe": recipe.model_dump(mode="json"),
        "shape": list(model.shape),
        "levels": images.n,
        "step": recipe.training.steps,
        "data": {"name": images.name, "split": images.split, "sha256": images.sha256},
    }
    return checkpoint.save(folder / checkpoint.NAME, Checkpoint({**raw, **ema}, description)).parent


@final
@dataclass
class _Loop:
    """The steps of one training run."""

    choice: Training
    model: Model
    objective: Objective
    images: Images
    log: IO[str]
    progress: Progress

    def run(self) -> nn.Module:
        """Trains the model's network in place; its exponential moving average."""
        network, choice = self.model.network.train(), self.choice
        average = AveragedModel(network, multi_avg_fn=_warmed_average(choice.ema))
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, choice.weight_decay),
            lr=choice.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        smoothed, started = math.nan, time.perf_counter()
        for step in range(choice.steps):
            value, norm = self._step(step, optimizer)
            rate.step()
            average.update_parameters(network)
            smoothed = value if step == 0 else 0.98 * smoothed + 0.02 * value
            if (step + 1) % LOG_EVERY == 0 or step + 1 == choice.steps:
                self._record(step + 1, smoothed, norm, float(rate.get_last_lr()[0]), started)
            self.progress(step + 1, choice.steps, f"{self.objective.unit} {smoothed:.3f}")
        network.eval()
        return average.module.eval()

    def _step(self, step: int, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
        """One update; the loss, in bits/dim where it is the bound, and the gradient's norm."""
        choice = self.choice
        index = _batch(step, choice.batch_size, len(self.images), choice.seed)
        ids = self.images.ids[index]
        noise = KeyedNoise.of(choice.seed, ids).draw(torch.full_like(ids, step))
        once = KeyedNoise.of(choice.seed, torch.tensor([step]))
        offset = float(once.uniform(torch.empty(1, 1)))
        t = low_discrepancy_times(self.model.T, choice.batch_size, offset)
        losses = self.objective(self.model.x_0(self.images.levels[index]), t, noise)
        loss = losses.mean() / self.model.dims
        value = float(loss.detach())
        if not math.isfinite(value):
            self._stop(step, losses, t, ids)
        optimizer.zero_grad()
        loss.backward()
        norm = clip_gradients(optimizer, choice.gradient_clip)
        if not math.isfinite(norm):
            raise NonFinite(f"the gradient is not finite at step {step + 1} (rank 0)")
        optimizer.step()
        return bits_per_dim(value, 1) if self.objective.nats else value, norm

    def _stop(self, step: int, losses: Tensor, t: Time, ids: Tensor) -> None:
        bad = ~losses.detach().isfinite().cpu()
        raise NonFinite(
            f"the loss is not finite at step {step + 1}, t = {t[bad].tolist()[:5]}, "
            f"images {ids[bad].tolist()[:5]} of {self.images.name} (rank 0)"
        )

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 0."""
        warm = min(1.0, (step + 1) / (self.choice.warmup + 1))
        return warm * 0.5 * (1 + math.cos(math.pi * step / max(self.choice.steps, 1)))

    def _record(self, step: int, loss: float, norm: float, rate: float, started: float) -> None:
        entry = {
            "step": step,
            "loss": loss,
            "unit": self.objective.unit,
            "gradient_norm": norm,
            "learning_rate": rate,
            "seconds": round(time.perf_counter() - started, 3),
        }
        self.log.write(json.dumps(entry) + "\n")
        self.log.flush()


def _batch(step: int, size: int, count: int, seed: int) -> Int64[Tensor, " B"]:
    """The images of a step: epochs of seeded permutations, cut into batches across their ends."""
    position = torch.arange(step * size, (step + 1) * size)
    epochs, place = position // count, position % count
    index = torch.empty_like(position)
    for epoch in epochs.unique().tolist():
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        index[epochs == epoch] = torch.randperm(count, generator=generator)[place[epochs == epoch]]
    return index


def _warmed_average(decay: float) -> Callable[..., None]:
    """average <- d average + (1 - d) weights, d = min(decay, (1 + n)/(10 + n)) at update n.

    The warm-up keeps the weights of the first steps from lingering.
    """

    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        d = min(decay, (1 + float(updates)) / (10 + float(updates)))
        get_ema_multi_avg_fn(d)(averaged, current, updates)

    return update

"""The bound of a data set under a model: which rows to ask for, the batches, and the sums."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float64
from torch import Tensor

from nelbo import report
from nelbo.bound.chain import constant_time
from nelbo.bound.estimators import Design, Exhaustive, Rows, Stratified, term
from nelbo.bound.noise import KeyedNoise
from nelbo.bound.statistics import Mean, clustered_means, mean_over_images
from nelbo.bound.terms import prior_term
from nelbo.data import Images, as_images
from nelbo.errors import BadInput, NonFinite
from nelbo.model import Model
from nelbo.report import Evaluation

__all__ = ["Progress", "evaluate"]

Progress = Callable[[int, int | None, str], None]
"""Called with (evaluations done, evaluations expected if known, the running result)."""

SHORT = 10  # a chain of fewer steps is run twice, having too few neighbours
STRATA = 24  # evaluations per image and round, but one for L_0; two rounds make an interval
ROUND = 2**20  # the most evaluations between two looks at the interval
CELLS = 2**18  # numbers in a batch of images: 4096 digits, 85 CIFAR images


def evaluate(
    model: Model,
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Evaluation:
    """The bound of the images, with an interval for them and one for images like them.

    By default rounds of evaluations go on until the 95 % Monte Carlo half-width is `precision`
    bits/dim or a tenth of the half-width for images like these; `budget` is a number of network
    evaluations in all, spent at once; `exhaustive` asks for every t of every image. data: Images,
    or a tensor, array or Dataset of levels (N, C, H, W), or of numbers on the model's grid.

    Raises:
        BadInput: a precision, budget or batch size that is not positive, a budget below two
            evaluations of L_0 and one t for each image, images of another shape or grid.
        NonFinite: a term is NaN or infinite; the message names t and the images.
    """
    started = time.perf_counter()
    images = data if isinstance(data, Images) else as_images(data, n=model.grid.n, grid=model.grid)
    _check(model, images, precision, batch_size)
    run = _Run(model, images, seed, batch_size or max(1, CELLS // model.dims), progress)
    with _measuring(model):
        if exhaustive:
            estimator = run.exhaust()
        elif budget is not None:
            estimator = run.spend(budget)
        else:
            estimator = run.until(precision)
        return run.result(estimator, command, started)


def _check(model: Model, data: Images, precision: float, batch_size: int | None) -> None:
    if not precision > 0:
        raise BadInput(f"precision must be positive; got {precision}")
    if batch_size is not None and batch_size < 1:
        raise BadInput(f"the batch size must be at least 1; got {batch_size}")
    if data.n != model.grid.n:
        raise BadInput(f"the model is of {model.grid.n} levels, {data.name} has {data.n}")
    model.x_0(data.levels[:1])


@contextmanager
def _measuring(model: Model) -> Iterator[None]:
    """No dropout, no gradients; the network's mode is put back afterwards."""
    training = model.network.training
    model.network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.network.train(training)


@final
@dataclass
class _Run:
    """One evaluation on its way: (t, image) asked so far, the values that came back, their sums.

    `mid` and `first` hold one sum per replicate: over t > 1, and L_0.
    """

    model: Model
    data: Images
    seed: int
    batch_size: int
    progress: Progress
    asked: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    values: list[Float64[Tensor, " R"]] = field(default_factory=list)
    mid: list[Float64[Tensor, " N"]] = field(default_factory=list)
    first: list[Float64[Tensor, " N"]] = field(default_factory=list)
    noise_variance: Float64[Tensor, " N"] | None = None
    done: int = 0

    def __post_init__(self) -> None:
        batches = [
            prior_term(self.model.chain, self.model.x_0(levels)).double().cpu()
            for levels in torch.split(self.data.levels, self.batch_size)
        ]
        self.prior = torch.cat(batches)
        self._require_finite(self.prior, constant_time(self.model.T, self.prior), self.data.ids)

    def exhaust(self) -> dict[str, Any]:
        """Every t of every image once; the noise is seen in differences between neighbouring t."""
        design, count = Exhaustive(), len(self.data)
        replicates = 2 if self.model.T < SHORT else 1
        self._replicate(design, replicates)
        if replicates == 1:
            L_0 = self.values[0][: 2 * count].reshape(2, count)
            by_t = self.values[0][2 * count :].reshape(self.model.T - 1, count)
            # Half the square of a difference holds the mean of two noises, and the change of the
            # mean on top; the ends, in one difference only, count again: never too narrow.
            squares = by_t.diff(dim=0).square()
            ends = squares[0] + squares[-1]
            self.noise_variance = 0.5 * (squares.sum(0) + ends) + 0.25 * (L_0[0] - L_0[1]).square()
        return {"name": design.name, "replicates": replicates}

    def spend(self, budget: int) -> dict[str, Any]:
        """Two replicates of as many times per image as the budget buys."""
        per_image = budget // (2 * len(self.data))
        least = min(2, self.model.T)
        if per_image < least:
            raise BadInput(
                f"a budget for {len(self.data)} images starts at {2 * least * len(self.data)} "
                f"evaluations; got {budget}"
            )
        design = Stratified(max(per_image - 1, 1), self.model.importance)
        self._replicate(design, 2)
        return {"name": design.name, "strata": design.strata, "replicates": 2, "budget": budget}

    def until(self, precision: float) -> dict[str, Any]:
        """Replicates until the Monte Carlo interval is narrow enough, two at least."""
        design = Stratified(min(STRATA, max(self.model.T - 1, 1)), self.model.importance)
        most = max(1, ROUND // (design.evaluations(self.model.T) * len(self.data)))
        self._replicate(design, 2)
        while True:
            data, noise = self._total()
            half = report.bits_per_dim(noise.half_width() or 0.0, self.model.dims)
            tenth = report.bits_per_dim(data.half_width() or 0.0, self.model.dims) / 10
            if half <= max(precision, tenth):
                break
            lacking = len(self.mid) * ((half / max(precision, tenth)) ** 2 - 1)
            self._replicate(design, min(most, math.ceil(lacking / 2)), math.ceil(lacking))
        return {
            "name": design.name,
            "strata": design.strata,
            "replicates": len(self.mid),
            "precision": precision,
            "stopped_by": "precision" if half <= precision else "a tenth of the interval ci95",
        }

    def _replicate(self, design: Design, replicates: int, lacking: int = 0) -> None:
        """That many independent replicates of the design over all images, in common batches.

        lacking: how many are thought to be needed, for the progress alone.
        """
        count = len(self.data)
        number = len(self.mid) + torch.arange(replicates).repeat_interleave(count)
        key = KeyedNoise.of(self.seed, self.data.ids.repeat(replicates)).draw(number)
        rows = design.rows(self.model.T, key.uniform(torch.empty(len(number), 1))[:, 0])
        expected = self.done + len(rows) * max(replicates, lacking) // replicates
        parts = []
        for batch in torch.split(torch.arange(len(rows)), self.batch_size):
            parts.append(self._terms(rows, batch, key))
            self.done += len(batch)
            self.progress(self.done, expected, self._running())
        values = torch.cat(parts)
        self.asked.append((rows.t, rows.image % count))
        self.values.append(values)
        first = rows.t == 1
        self.first.extend(_by_image(rows, values, first, len(number)).split(count))
        self.mid.extend(_by_image(rows, values, ~first, len(number)).split(count))

    def _terms(self, rows: Rows, batch: Tensor, key: KeyedNoise) -> Float64[Tensor, " R"]:
        image, t = rows.image[batch], rows.t[batch]
        noise = key.rows(image).draw(rows.draw[batch])
        image = image % len(self.data)
        x_0 = self.model.x_0(self.data.levels[image])
        values = term(self.model.chain, x_0, t, noise).double().cpu()
        self._require_finite(values, t, self.data.ids[image])
        return values

    def _require_finite(self, values: Tensor, t: Tensor, ids: Tensor) -> None:
        bad = ~values.isfinite()
        if bad.any():
            times, images = sorted(set(t[bad].tolist())), sorted(set(ids[bad].tolist()))
            raise NonFinite(
                f"the bound is not finite at t = {_some(times)} for images {_some(images)} "
                f"of {self.data.name} (rank 0): the network gave NaN or infinity"
            )

    def _replicates(self) -> Float64[Tensor, "N R"]:
        return torch.stack(self.mid, 1) + torch.stack(self.first, 1) + self.prior[:, None]

    def _total(self) -> tuple[Mean, Mean]:
        return mean_over_images(self._replicates(), self.noise_variance)

    def _running(self) -> str:
        if not self.mid:
            return ""
        bits = report.bits_per_dim(self._total()[0].mean, self.model.dims)
        return f"{bits:.3f} bits/dim"

    def result(self, estimator: dict[str, Any], command: str, started: float) -> Evaluation:
        """The sums as an `Evaluation`."""
        data, noise = self._total()
        terms = {
            "L_T": mean_over_images(self.prior[:, None])[0],
            "L_mid": mean_over_images(torch.stack(self.mid, 1))[0],
            "L_0": mean_over_images(torch.stack(self.first, 1))[0],
        }
        t, image = (torch.cat(parts) for parts in zip(*self.asked, strict=True))
        steps = clustered_means(t, image, torch.cat(self.values))
        model = self.model
        return Evaluation(
            total=data,
            monte_carlo=noise,
            terms=terms,
            per_step=[report.Step(t, mean, se) for t, mean, se in steps],
            images=len(self.data),
            dims=model.dims,
            network_evaluations=self.done,
            seconds=time.perf_counter() - started,
            estimator={**estimator, "seed": self.seed, "batch_size": self.batch_size},
            model={
                "name": model.name,
                "sha256": model.sha256(),
                "weights": model.weights,
                "T": model.facts["schedule"].get("T", model.T),
                "steps": model.T,
                **model.facts,
            },
            data={
                "name": self.data.name,
                "sha256": self.data.sha256,
                "split": self.data.split,
                "images": len(self.data),
                "levels": model.grid.n,
                "grid": [model.grid.lo, model.grid.hi],
            },
            environment=report.environment(model.device, torch.float32),
            command=command,
        )


def _by_image(rows: Rows, values: Tensor, chosen: Tensor, count: int) -> Float64[Tensor, " N"]:
    """The weighted sum of each image's chosen rows."""
    sums = torch.zeros(count, dtype=torch.float64)
    return sums.index_add_(0, rows.image[chosen], (rows.weight * values)[chosen])


def _some(numbers: list[int]) -> str:
    """The first few, and how many more there are."""
    shown = ", ".join(str(number) for number in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"

"""Rows become batches, batches go to processes, and what the networks say comes back in order."""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from nelbo.bound.control import Control
from nelbo.bound.estimators import Rows
from nelbo.bound.noise import KeyedNoise
from nelbo.data import Examples
from nelbo.errors import BadInput, NonFinite
from nelbo.estimation.excess import Excess
from nelbo.estimation.parts import Replay, Share
from nelbo.estimation.processes import Processes
from nelbo.estimation.record import Record
from nelbo.estimation.replies import Replies
from nelbo.model import Model
from nelbo.model.model import Context
from nelbo.networks.batches import in_batches
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.results import Unit
from nelbo.typed_json import Json
from nelbo.types import Batch

__all__ = ["Evaluator", "Progress", "measuring"]

Progress = Callable[[int, int | None, str], None]
"""Called with (evaluations done, evaluations expected if known, the running result)."""

CELLS = 2**16  # numbers in the images of a chunk: 1024 digits, 21 CIFAR images; more on a GPU
SYMBOLS = 64  # logits of a dimension that CELLS counts as one number
CONTEXT = 2**27  # numbers that may be kept of what a network says of the images
TURNS = 8  # batches of each process between two meetings, where the end of one is noticed


@contextmanager
def measuring(models: Sequence[Model]) -> Iterator[None]:
    """No dropout, gradients or autocast; the networks' modes are put back afterwards."""
    devices = [model.device for model in models]
    with evaluating(*(model.network for model in models)), without_gradients(*devices):
        yield


@final
@dataclass
class Evaluator:
    """Asks models of one shape for terms at the same (image, t, noise).

    Noise is a function of (seed, image id, stage or draw, t) alone, so the answers are the same,
    to rounding, for every batch size and number of processes. `done` counts network evaluations,
    `cost` for each model, image and t, also those that a record remembers. share: the batches that
    are evaluated where this is one of several parts; zeros stand for the others.

    Raises:
        BadInput: a batch size below 1, or no labels where a model has classes, or no
            condition that it needs.
    """

    models: Sequence[Model]
    images: Examples
    seed: int = 0
    batch_size: int | None = None
    processes: Processes = field(default_factory=Processes)
    progress: Progress = lambda done, expected, text: None
    done: int = 0
    expected: int | None = None
    text: str = ""
    share: Share | None = None
    plan: dict[str, Json] = field(default_factory=dict, init=False)
    cost: int = field(default=1, init=False)
    record: Record | Replay | None = field(default=None, init=False)
    misfits: list[Tensor] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise BadInput(f"the batch size must be at least 1; got {self.batch_size}")
        cells = CELLS if self.models[0].device.type == "cpu" else 16 * CELLS
        most = max(1, cells // (self.models[0].dims * _widths(self.models[0])))
        self.batch = self.batch_size or most  # rows that a network takes at once
        self.chunk = max(1, most // self.batch) * self.batch  # that anything else is done on
        self.limit = self.chunk  # halved where memory does not suffice
        self.key = KeyedNoise.of(self.seed, self.images.ids)
        self.yardsticks = [m.yardstick(self.images.values) for m in self.models]
        self.excess = [
            None if yardstick is None else Excess(model.importance, len(self.images))
            for model, yardstick in zip(self.models, self.yardsticks, strict=True)
        ]
        self.chains = [m.chain.given(*m.condition_of(self.images)) for m in self.models]

    @property
    def unit(self) -> Unit:
        """What the bound is given in."""
        return Unit.of(self.models[0].support, self.images)

    @contextmanager
    def agreed(
        self, settings: Mapping[str, Json], record: str | Path | Replay | None
    ) -> Iterator[None]:
        """Begins only where all processes do the same; keeps a record in the folder, if any.

        record: also the parts of the same evaluation, which are then all that is evaluated.

        Raises:
            BadInput: processes differ, or the record is of something else.
        """
        plan = {
            "nelbo": version("nelbo"),
            **_of_data(self.images),
            **self._of_conditions(),
            "seed": self.seed,
            "batch_size": self.batch,
            "device": self.models[0].device.type,
            **settings,
        }
        for number, model in enumerate(self.models, 1):
            place = f"model {number}" if len(self.models) > 1 else "model"
            plan |= {f"{place}, {key}": value for key, value in _of_model(model).items()}
        self.processes.require_same(plan)
        self.plan = plan
        if record is None:
            yield
            return
        if isinstance(record, Replay):
            record.agree(plan)
            self.record = record
        else:
            own = {} if self.share is None else {"part": str(self.share)}
            self.record = Record.open(record, plan | own, self.processes)
        try:
            yield
        finally:
            self.record.close()
            self.record = None

    def first(
        self, draws: range, some: Int64[Tensor, " n"] | None = None
    ) -> tuple[Float64[Tensor, "draws N models"], list[Tensor | None]]:
        """L_0 of every image, or some, by each of the draws; what draw 0, alone, gives controls.

        The batches are of images and draws together: many draws of few images take few calls.
        """
        images = torch.arange(len(self.images)) if some is None else some
        chosen = images.repeat(len(draws))
        number = torch.tensor(draws).repeat_interleave(len(images))
        wanted = [self._context(model) if draws == range(1) else None for model in self.models]

        def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
            image = chosen[row]
            noise = self.key.rows(image).draw(number[row])
            values, contexts = [], []
            misfits: list[Tensor] = []
            t = torch.ones_like(image)
            for model, whole, context in zip(self.models, self.chains, wanted, strict=True):
                x_0, chain = self._x_0(model, image), whole.rows(image)
                x_1 = model.arithmetic.state(chain, x_0, t, noise.at(t))
                decoder = model.arithmetic.decoder(chain, x_1)
                values.append(-decoder.log_prob(x_0))
                misfits += model.arithmetic.misfit(decoder, x_0)
                if context is not None:
                    contexts.append(context(decoder, x_1).cpu())
            return [self._finite(values, t, image), _columns(misfits, len(image)), *contexts]

        outputs = self.ask(2 * draws.start, len(chosen), compute)
        size = (len(draws), len(images), -1)
        if some is None:
            self.misfits += [part.reshape(-1, 2) for part in outputs[1].reshape(size).mean(1)]
        given = iter(outputs[2:])
        contexts = [None if context is None else next(given) for context in wanted]
        return outputs[0].reshape(size), contexts

    def at_1(self, model: int = 0) -> dict[str, float] | None:
        """The root mean square error of x0-hat at t = 1, and that in units of sqrt(V_1).

        None where the model's decoder has no V_1. Over the images and draws of `first` so far.
        """
        squares = torch.stack(self.misfits)[:, model].mean(0) / self.models[model].dims
        error, units = squares.sqrt().tolist()
        return {"rms": error, "in_deviations": units} if math.isfinite(units) else None

    def _x_0(self, model: Model, image: Int64[Tensor, " B"]) -> Batch:
        return model.x_0(self.images.values[image], torch.float64)

    def _context(self, model: Model) -> Context | None:
        """What the model keeps of the images for its controls, where that is not too much."""
        context = model.context()
        if context is None or len(self.images) * model.dims * model.grid.n > CONTEXT:
            return None
        return context

    def later(
        self,
        stage: int,
        rows: Rows,
        controls: Sequence[Sequence[Control]],
        distortion: bool = False,
    ) -> list[Tensor]:
        """[L_{t-1} (R, models), every model's controls (R, k)], then |x_0 - x0-hat|^2 if wanted."""
        count = len(self.images)
        key = self.key.draw(torch.full((count,), stage))

        def compute(row: Int64[Tensor, " B"]) -> list[Tensor]:
            image, t = rows.image[row], rows.t[row]
            noise = key.rows(image).draw(rows.draw[row]).at(t)
            values, predictors, errors, excess = [], [], [], []
            parts = zip(self.models, self.chains, controls, self.yardsticks, strict=True)
            for model, whole, own, yardstick in parts:
                x_0, chain = self._x_0(model, image), whole.rows(image)
                moment = model.arithmetic.moment(t, noise)
                x_t = model.arithmetic.state(chain, x_0, moment, noise)
                value, error = model.arithmetic.transition(chain, x_0, x_t, moment)
                values.append(value)
                predictors += [control.value(x_0, x_t, moment, image) for control in own]
                if distortion and error is not None:
                    errors.append(error)
                if yardstick is not None and error is not None:
                    excess.append(yardstick.excess(x_0, x_t, moment, image, error))
            outputs = [values, predictors, errors, excess]
            columns = [_columns(part, len(row)) for part in outputs[1:]]
            return [self._finite(values, t, image), *columns]

        values, predictors, errors, excess = self.ask(2 * stage + 1, len(rows), compute)
        columns = iter(excess.unbind(1))
        for outputs, own in zip(self.excess, values.unbind(1), strict=True):
            if outputs is not None:
                outputs.update(rows, own, next(columns))
        return [values, predictors, errors] if distortion else [values, predictors]

    def ask(
        self, stage: int, count: int, compute: Callable[[Int64[Tensor, " B"]], list[Tensor]]
    ) -> list[Tensor]:
        """compute(0..count-1), batch by batch, each by one process and once.

        stage numbers the calls: even for L_0, odd for what comes later.

        Raises:
            NonFinite: compute's, in every process, whichever of them met it.
        """
        batches = torch.split(torch.arange(count), self.chunk)
        replies = Replies([len(batch) for batch in batches])
        replies.put(self._kept(stage, len(batches)))
        before, rank, size = self.done, self.processes.rank, self.processes.size
        self._advance(before, replies.rows)
        todo = [b for b in self._own(len(batches)) if b not in replies.there]
        for start in range(0, len(todo), size * TURNS):
            turn, results, failed = todo[start : start + size * TURNS], {}, None
            for b in turn[rank::size]:
                try:
                    results[b] = tuple(self._within_memory(batches[b], compute))
                except NonFinite as error:
                    failed = error
                    break
                if self.record is not None:
                    self.record.put(stage, b, results[b])
                # of the others is known at the next meeting what this one supposes of them
                own = sum(len(batches[mine]) for mine in results)
                self._advance(before, min(replies.rows + own * size, count))
            for entries, failure in self.processes.gather((results, failed)):
                if failure is not None:
                    raise failure
                replies.put(entries)
            self._advance(before, replies.rows)
        if self.share is not None:
            one = partial(self._within_memory, batches[0][:1], compute)
            kept = {b: replies.of(b) for b in replies.there}
            replies.put(self.share.filled(stage, kept, replies.sizes, one))
        return replies.columns

    def _kept(self, stage: int, count: int) -> dict[int, tuple[Tensor, ...]]:
        """Of so many batches, those that the record has."""
        if self.record is None:
            return {}
        remembered = [(b, self.record.get(stage, b)) for b in range(count)]
        return {b: entry for b, entry in remembered if entry is not None}

    def _own(self, count: int) -> Sequence[int]:
        """Of so many batches, those that are evaluated here."""
        return range(count) if self.share is None else self.share.own(count)

    def _within_memory(
        self, batch: Int64[Tensor, " B"], compute: Callable[[Int64[Tensor, " B"]], list[Tensor]]
    ) -> list[Tensor]:
        """compute in parts that fit, smaller ones from now on where these did not."""
        while True:
            size = min(self.limit, len(batch))
            try:
                with ExitStack() as batched:
                    for model in self.models:
                        batched.enter_context(in_batches(model.called, self.batch))
                    parts = [compute(part) for part in batch.split(size)]
                return [torch.cat(columns) for columns in zip(*parts, strict=True)]
            except RuntimeError as error:
                if size == 1 or not out_of_memory(error):
                    raise
            self.limit = -(-size // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def count(self, evaluations: int) -> None:
        """Adds evaluations whose number only the rows themselves could say, where `cost` is 0."""
        self._advance_to(self.done + evaluations)

    def _advance(self, before: int, rows: int) -> None:
        self._advance_to(before + rows * len(self.models) * self.cost)

    def _advance_to(self, number: int) -> None:
        done, self.done = self.done, number
        if self.processes.first and self.done > done:
            expected = self.expected
            if expected is not None and self.share is not None:
                expected = -(-expected // self.share.of)
            shown = self.done if expected is None else min(self.done, expected)
            self.progress(shown, expected, self.text)

    def _of_conditions(self) -> dict[str, Json]:
        hashes: dict[str, Json] = {}
        if any(model.classes is not None for model in self.models):
            hashes["labels"] = self.images.labels_sha256
        names = {name for model in self.models for name in model.conditions}
        digests = self.images.conditions_sha256 if names else {}
        return hashes | {f"condition {name}": digests[name] for name in sorted(names)}

    def finite(self, values: Tensor, t: Tensor, image: Tensor, what: str) -> Tensor:
        """The values in float64 on the CPU, a row for each (t, image).

        Raises:
            NonFinite: one is NaN or infinite; the message names t, the images and the rank.
        """
        values = values.double().cpu()
        bad = ~values.isfinite().all(1)
        if bad.any():
            times, ids = t[bad].tolist(), self.images.ids[image[bad]].tolist()
            raise NonFinite(
                f"{what} is not finite at t = {_some(times)} for images {_some(ids)} of "
                f"{self.images.name} (rank {self.processes.rank}): the network gave NaN or infinity"
            )
        return values

    def _finite(self, values: list[Tensor], t: Tensor, image: Tensor) -> Tensor:
        return self.finite(_columns(values, len(t)), t, image, "the bound")


def _widths(model: Model) -> int:
    """How many times 64 logits a dimension has: 4 for levels of 8 bits, 785 for 50,257 tokens."""
    of_states = model.facts.get("family") == "categorical"
    return max(1, model.grid.n // SYMBOLS) if of_states else 1


def _of_model(model: Model) -> dict[str, Json]:
    """All that changes its bound."""
    description = {key: value for key, value in model.described().items() if key != "name"}
    if model.log_snr is not None:  # of the steps that are kept
        description["log_snr"] = zlib.crc32(model.log_snr.numpy().tobytes())
    return description


def _of_data(images: Examples) -> dict[str, Json]:
    ids = zlib.crc32(images.ids.to(torch.int64).numpy().tobytes())
    return {"data": f"{len(images)} images, sha256 {images.sha256}", "data ids": ids}


def _columns(columns: Sequence[Tensor], rows: int) -> Float64[Tensor, "R columns"]:
    """Side by side, in float64 on the CPU."""
    if not columns:
        return torch.empty(rows, 0, dtype=torch.float64)
    return torch.stack([column.double() for column in columns], dim=1).cpu()


def out_of_memory(error: Exception) -> bool:
    """Whether fewer rows at once may help, by the words of the allocators."""
    messages = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in messages)


def _some(numbers: list[int]) -> str:
    """The first few that differ, and how many more there are."""
    numbers = sorted(set(numbers))
    shown = ", ".join(str(number) for number in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"

"""Whether a network's answer for an image is its own: not its company's, and not chance's.

A bound adds up what a network says of one image at a time. One whose output also depends on the
other images of the batch, or on chance, has another figure for every batch size and is no model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from nelbo.bound.noise import KeyedNoise
from nelbo.data import Examples
from nelbo.errors import BadInput, NonFinite
from nelbo.estimation.evaluator import out_of_memory
from nelbo.estimation.processes import Processes
from nelbo.model import Model
from nelbo.model.condition import NOTHING
from nelbo.typed_json import Json

__all__ = ["Examination", "examine"]

ROWS = (4, 2)  # different images and t, the first and last among them; fewer where memory ends
LIMIT = 1e-3  # of the output's rms: 1,000 times float32's rounding in networks that were tried
COARSE_LIMIT = 2e-2  # where products are of 8 or 11 bits: bfloat16, float16, TF32
COARSE = (torch.float16, torch.bfloat16)


@final
@dataclass(frozen=True)
class Examination:
    """What was seen: by how much of its rms the output changed, at most over a few images.

    `again`: at a second call with the same batch; `alone`: without the other images. `limit` is
    what is allowed. The calls count as so many network evaluations, which are in no other count.
    """

    again: float
    alone: float
    limit: float
    network_evaluations: int

    def to_dict(self) -> dict[str, Json]:
        """As JSON."""
        return dict(vars(self))


def examine(
    models: Sequence[Model],
    images: Examples | None,
    processes: Processes,
    check: bool,
    conditions: Mapping[str, Tensor] = NOTHING,
) -> dict[str, Json] | None:
    """Evaluates a few rows together, again, and alone; what a result says of it, None without.

    Within `measuring`. images: of which the first are taken; None for noise of the prior, with
    these conditions. The first process does it for all, on each network once.

    Raises:
        BadInput: an output depends on other images or on chance by more than the limit, or the
            network fails.
    """
    if not check:
        return None
    networks = {id(model.called): model for model in models}
    examinations = processes.once(
        lambda: [_examined(model, images, conditions) for model in networks.values()]
    )
    made = [one for one in examinations if one is not None]
    if not made:
        return None
    worst = Examination(
        max(one.again for one in made),
        max(one.alone for one in made),
        max(one.limit for one in made),
        sum(one.network_evaluations for one in made),
    )
    return worst.to_dict()


def _examined(
    model: Model, images: Examples | None, conditions: Mapping[str, Tensor]
) -> Examination | None:
    """With as many rows as fit; None for a chain that does not call the network itself."""
    for count in ROWS:
        try:
            return _examined_in(count, model, images, conditions)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
    raise BadInput(
        f"{model.name}: two images at once do not fit into memory, which the check needs; go on "
        "without it with --no-check, check=False in Python"
    )


def _examined_in(
    count: int, model: Model, images: Examples | None, conditions: Mapping[str, Tensor]
) -> Examination | None:
    network = model.called
    devices = [] if model.device.type == "cpu" else [model.device]
    with torch.random.fork_rng(devices), _buffers_kept(network):
        inputs = _inputs(count, model, images, conditions)
        if inputs is None:
            return None
        together = _called(model, inputs)
        again = _called(model, inputs)
        rows = [tuple(x[i : i + 1] for x in inputs) for i in range(count)]
        alone = torch.cat([_called(model, row) for row in rows])
    limit = _limit(model, together)
    change = Examination(_change(again, together), _change(alone, together), limit, 4 * count)
    if change.again > limit:
        raise BadInput(
            f"{model.name}: the network's output changes by {change.again:.2g} of its rms when the "
            "same batch is evaluated a second time: dropout, noise or a counter in it? Its bound "
            "would be another at each call; mend it, or go on all the same with --no-check, "
            "check=False in Python"
        )
    if change.alone > limit:
        raise BadInput(
            f"{model.name}: the network's output for an image changes by {change.alone:.2g} of its "
            "rms with the other images of its batch and their t: BatchNorm without statistics or "
            "in training mode, another mean over the batch, one t for all? Its bound would be "
            "another for each batch size; mend it, or go on all the same with --no-check, "
            "check=False in Python"
        )
    return change


def _inputs(
    count: int, model: Model, images: Examples | None, conditions: Mapping[str, Tensor]
) -> tuple[Tensor, ...] | None:
    """What the chain calls the network with, for so many images at as many t."""
    last = model.T - 1
    t = torch.tensor([1 + last * i // (count - 1) for i in range(count)])
    index = torch.arange(count) % (count if images is None else len(images))
    noise = KeyedNoise.of(0, torch.arange(count))
    if images is None:
        labels = index % (model.classes or 1)
        own = {name: c[index % len(c)] for name, c in conditions.items()}
        chain = model.chain.given(*model.condition(labels, "the samples", own))
        like = torch.empty(count, *model.shape, dtype=torch.float32, device=model.device)
        x_t = chain.p.prior(like).sample(noise)
    else:
        chain = model.chain.given(*(c[index] for c in model.condition_of(images)))
        x_t = chain.q.marginal(model.x_0(images.values[index]), t).sample(noise.at(t))
    calls: list[tuple[Tensor, ...]] = []

    def listen(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append(inputs)

    handle = model.called.register_forward_pre_hook(listen)
    try:
        for rows in (t == 1).nonzero()[:, 0], (t > 1).nonzero()[:, 0]:
            p, x = chain.rows(rows).p, x_t[rows]
            if len(rows):
                last = int(t[rows][0]) == 1
                step = partial(p.decoder, x) if last else partial(p.step, x, t[rows])
                _or_refused(model, step, calls)
    finally:
        handle.remove()
    if not calls:
        return None
    return tuple(torch.cat(list(column)).contiguous() for column in zip(*calls, strict=True))


def _called(model: Model, inputs: tuple[Tensor, ...]) -> Tensor:
    """The network's output for these rows."""
    output = _or_refused(model, lambda: model.called(*inputs), [inputs])
    if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != len(inputs[0]):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise BadInput(
            f"{model.name}: for {len(inputs[0])} images, {tuple(inputs[0].shape)}, the network "
            f"gives {shape}: one output for each image is needed"
        )
    return output.clone()


def _or_refused(
    model: Model, call: Callable[[], object], calls: Sequence[tuple[Tensor, ...]]
) -> object:
    """What the call gives; whatever the network raises becomes one line.

    Raises:
        BadInput: the network fails with these images and times.
    """
    try:
        return call()
    except (BadInput, NonFinite, MemoryError):
        raise
    except Exception as error:
        if not calls or out_of_memory(error):  # nothing of the network, or of fewer rows neither
            raise
        x_t, time, *rest = calls[-1]
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(
            f"{model.name}: the network fails on images {tuple(x_t.shape)} in {_word(x_t.dtype)} "
            f"and times {tuple(time.shape)} in {_word(time.dtype)}: {lines[0]}"
            f"{_advice(model, x_t, time, rest)}"
        ) from error


def _advice(model: Model, x_t: Tensor, time: Tensor, rest: Sequence[Tensor]) -> str:
    """What would help, where trying says so."""
    other = time.long() if time.is_floating_point() else time.to(x_t.dtype)
    try:
        model.called(x_t, other, *rest)
    except Exception:  # the same fault, or another: nothing is known of it
        dtypes = {_word(weight.dtype) for weight in model.called.parameters()}
        several = len(dtypes) > 1
        return f" (its weights are {' and '.join(sorted(dtypes))})" if several else ""
    if time.is_floating_point():
        return "; it takes whole numbers as times: time_input index or t"
    return (
        "; it takes real numbers as times: time_input a function such as "
        "lambda schedule, t: (t - 1).float()"
    )


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _limit(model: Model, output: Tensor) -> float:
    """What rounding may do: by the coarsest arithmetic that the network is known to have."""
    dtypes = {output.dtype, *(weight.dtype for weight in model.called.parameters())}
    on_gpu = output.device.type == "cuda"
    of_convolutions = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    tf32 = "tf32" in (torch.backends.cuda.matmul.fp32_precision, of_convolutions)
    return COARSE_LIMIT if dtypes & set(COARSE) or (on_gpu and tf32) else LIMIT


def _change(output: Tensor, before: Tensor) -> float:
    """The largest rms of a row's change, in units of the rms of the outputs.

    Infinite where a row is finite in one of the two alone. Rows that are finite in neither are left
    out: an evaluation names them.
    """
    if output.shape != before.shape:
        return float("inf")
    a, b = (x.double().flatten(1) for x in (output, before))
    finite = a.isfinite().all(1)
    if not torch.equal(finite, b.isfinite().all(1)):
        return float("inf")
    if not finite.any():
        return 0.0
    rms = b[finite].square().mean().sqrt()
    change = (a - b)[finite].square().mean(1).sqrt().max()
    return float(change / rms) if rms > 0 else float(change)


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Running statistics are as they were, also those of a network that is then refused."""
    stored = network.state_dict().keys()  # what else a network keeps is for its own use
    before = {name: x.clone() for name, x in network.named_buffers() if name in stored}
    try:
        yield
    finally:
        for name, x in network.named_buffers():
            old = before.get(name)
            if old is not None and old.shape == x.shape and not torch.equal(old, x):
                x.copy_(old)

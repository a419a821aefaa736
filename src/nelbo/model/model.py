"""A model as the tasks see it: a chain, what its data are, and all that changes its bound."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from nelbo.arguments import instance, shown, whole, whole_numbers
from nelbo.bound.arithmetic import Arithmetic, Plain
from nelbo.bound.chain import Chain, ReverseProcess, constant_time
from nelbo.bound.control import Control
from nelbo.bound.estimators import low_discrepancy_times, one_time
from nelbo.bound.noise import KeyedNoise, Noise
from nelbo.data import Examples, Images, Points
from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput, printable
from nelbo.gaussian.yardstick import Yardstick
from nelbo.model.digest import digest
from nelbo.model.spacing import evenly, evenly_in, quadratically
from nelbo.types import Batch, Grid, Nats, Reals, Support, Time

__all__ = ["Model", "loss"]


Step = Callable[[Batch, int, Noise], Batch]


def no_controls(levels: Tensor, context: Tensor | None) -> list[Control]:
    """Of a family that knows none."""
    return []


def no_yardstick(data: Tensor) -> Yardstick | None:
    """Of a family that knows none."""
    return None


NOTHING: Mapping[str, Tensor] = MappingProxyType({})


@final
@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A chain over data of a declared shape and kind, with what a report must say of it.

    `chain` carries the network; `respace` makes the chain of the kept steps of the original one;
    `support` is what the data are: integers on a grid, or real numbers; `embed` turns them into
    what the chain calls data, in a given dtype, and `levels` turns back;
    `importance` is proportional to the share of the bound expected in each t = 2..T, from which
    an evaluation may draw its times; `facts` is JSON: schedule, parametrisation, variance, V_1,
    clip, decoder; `spacing(T, n)` says which n of its T steps a shorter chain keeps; `log_snr` is
    that of t = 0..T, where the family has one; `encode(images, seed, device)` makes the points
    that a model of latents has in place of images.

    For cheap evaluation: `controls(levels, context)` are control variates for these images, made
    with the help of `context(decoder, x_1)`, what the network says of the images at t = 1;
    `arithmetic` forms the terms from what the network says, with as many digits as they need.

    To look at: `x_0_hat(p, x_t, t)` is what the network expects of x_0, as the chain sees data, or
    of its level where the chain's states are levels.

    In continuous time: `discretize` makes the chain of any number of steps, `limit` the model of
    infinitely many in their place, whose L_{t-1} is what its `arithmetic` forms and not its
    chain's. `apart` are groups of the network's weights whose gradients are of a kind
    of their own, such as those of a learned schedule; `inner` is the part of the network that is
    asked at (x_t, t), where that is not the whole.

    In fewer operations, where the family has such forms: `objective(p, x_0, t, noise)` is
    `one_time`, to train by; `ancestral(p, like)` makes what draws x_{t-1} from (x_t, t, noise), t a
    number and batches like the given one.

    To doubt: `yardstick(data)` is a denoiser that a network of these data should beat.

    `exact`: x_1..x_T follow from x_0, so the bound is -log p(x_0) and has no Monte Carlo error.

    `classes` is how many classes there are where p_theta is that of an image given its class, and
    `conditions` names what else of each image it is given: then the chain is called with a
    `condition`.
    """

    name: str
    network: nn.Module
    chain: Chain[Any]
    respace: Callable[[Sequence[int]], "Model"]
    importance: Float64[Tensor, " transitions"]
    shape: tuple[int, ...]
    support: Support
    embed: Callable[[Tensor, torch.dtype], Batch]
    levels: Callable[[Batch], Tensor]
    facts: Mapping[str, Any]
    weights: str = "raw"
    spacing: Callable[[int, int], Sequence[int]] = evenly
    log_snr: Float64[Tensor, " steps"] | None = None
    context: Callable[[Any, Batch], Tensor] | None = None
    controls: Callable[[Tensor, Tensor | None], list[Control]] = no_controls
    arithmetic: Arithmetic = Plain()  # noqa: RUF009
    x_0_hat: Callable[[Any, Batch, Time], Batch] | None = None
    discretize: Callable[[int], "Model"] | None = None
    limit: Callable[[], "Model"] | None = None
    apart: tuple[tuple[nn.Parameter, ...], ...] = ()
    inner: nn.Module | None = None
    encode: Callable[[Images, int, torch.device], Points] | None = None
    objective: Callable[[Any, Batch, Time, Noise], Nats] | None = None
    ancestral: Callable[[Any, Batch], Step] | None = None
    classes: int | None = None
    conditions: tuple[str, ...] = ()
    yardstick: Callable[[Tensor], Yardstick | None] = no_yardstick
    exact: bool = False

    @property
    def grid(self) -> Grid:
        """The grid of the data.

        Raises:
            BadInput: there is none, so what needs levels is not for this model.
        """
        if not isinstance(self.support, Grid):
            raise BadInput(
                f"{self.name} has a density of {self.support.name}, which have no levels: evaluate "
                "and compare take it, in nats/dim; this needs levels"
            )
        return self.support

    @property
    def asked(self) -> nn.Module:
        """What is called with (x_t, time)."""
        return self.network if self.inner is None else self.inner

    @property
    def dims(self) -> int:
        """The number of dimensions of an image."""
        return int(torch.Size(self.shape).numel())

    @property
    def T(self) -> int:
        """The number of steps of the chain."""
        return int(self.chain.q.T)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        own = next(itertools.chain(self.network.parameters(), self.network.buffers()), None)
        return torch.device("cpu") if own is None else own.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the network's first real weight; sums are float64 whatever it is."""
        dtypes = (parameter.dtype for parameter in self.network.parameters())
        return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)

    def described(self) -> dict[str, Any]:
        """What a report says of it: every choice that changes the bound, as JSON."""
        grid = self.support
        reach = max(abs(grid.lo), abs(grid.hi)) if isinstance(grid, Grid) else 1.0
        rounded = self.arithmetic.rounded(self.chain, self.dtype, reach)
        return {
            "name": self.name,
            "sha256": self.sha256(),
            "weights": self.weights,
            "T": self.facts["schedule"].get("T", self.T),
            "steps": self.T,
            **({"likelihood": f"p(x | {given})"} if (given := ", ".join(self.given)) else {}),
            **self.facts,
            **({"x_t_rounded": rounded} if rounded else {}),
        }

    def __repr__(self) -> str:
        family, shape = self.facts.get("family"), " x ".join(map(str, self.shape))
        T = "infinitely many" if self.facts.get("time") == "continuous" else f"{self.T:,}"
        of = f"{self.support.n} levels" if isinstance(self.support, Grid) else "real numbers"
        return printable(
            f"<Model {self.name}: {family}, {T} steps, {shape} of {of}, {self.weights} weights>"
        )

    def sha256(self) -> str:
        """The digest of the weights in use."""
        return digest(self.network)

    def x_0(self, levels: Tensor, dtype: torch.dtype = torch.float32) -> Batch:
        """The levels, or points, as the chain sees them, on the model's device, in a real dtype.

        Raises:
            BadInput: the images do not have the model's shape.
        """
        if tuple(levels.shape[1:]) != self.shape:
            raise BadInput(
                f"the model takes images of shape {self.shape}; got {tuple(levels.shape[1:])}"
            )
        return self.embed(levels.to(self.device), dtype)

    def one_time(self, chain: Chain[Any], x_0: Batch, t: Time, noise: Noise) -> Nats:
        """L_T + T * (the term of t): unbiased for L when t is uniform on 1..T.

        chain: this model's, given the condition of the batch where there is one.
        """
        if self.objective is None:
            return one_time(chain, x_0, t, noise)
        return self.objective(chain.p, x_0, t, noise)

    def step(self, p: ReverseProcess[Any], like: Batch) -> Step:
        """x_{t-1} ~ p(x_{t-1} | x_t) of (x_t, t >= 2, noise at t), for batches like this one.

        p: this model's p_theta, given the condition of the batch where there is one.
        """
        if self.ancestral is not None:
            return self.ancestral(p, like)
        step = p.step
        return lambda x_t, t, noise: step(x_t, constant_time(t, x_t)).sample(noise)

    @property
    def given(self) -> list[str]:
        """What p_theta is given of each image."""
        return ["class"] * (self.classes is not None) + list(self.conditions)

    def condition_of(self, examples: Examples) -> tuple[Tensor, ...]:
        """What p_theta is given with these examples.

        Raises:
            BadInput: as `condition`.
        """
        return self.condition(examples.labels, examples.name, examples.conditions)

    def condition(
        self, labels: Tensor | None, name: str, conditions: Mapping[str, Tensor] = NOTHING
    ) -> tuple[Tensor, ...]:
        """What p_theta is given with these labels, of the images of that name; of p(x) nothing.

        Raises:
            BadInput: there are classes and no labels, or a label that is none of them; a condition
                that the images do not have.
        """
        missing = next((one for one in self.conditions if one not in conditions), None)
        if missing is not None:
            raise BadInput(
                f"{self.name} is a model of p(x | {', '.join(self.given)}) and {name} has no "
                f"{missing}: give a row for each image, nelbo.data.as_images(images, "
                f"conditions={{'{missing}': tensor}})"
            )
        return (*self._class(labels, name), *(conditions[one] for one in self.conditions))

    def _class(self, labels: Tensor | None, name: str) -> tuple[Tensor, ...]:
        if self.classes is None:
            return ()
        if labels is None:
            raise BadInput(
                f"{self.name} is a model of p(x | class) and {name} has no labels: give data that "
                "have them (digits, mnist:DIR, cifar10:DIR, a .npz with labels beside images; in "
                "Python nelbo.data.load(spec, labels=True))"
            )
        labels = tensor_of(name, "labels", labels)
        if labels.is_floating_point() or labels.ndim != 1:
            raise BadInput(
                f"{name}: labels are one whole number for each image, counted from 0; got "
                f"{labels.dtype} {tuple(labels.shape)}"
            )
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            label = int(labels[(labels < 0) | (labels >= self.classes)][0])
            raise BadInput(
                f"{self.name} has the classes 0..{self.classes - 1}, and {name} the label {label}"
            )
        return (labels,)

    def every(self, steps: int, spacing: str | None = None) -> "Model":
        """The chain of `steps` of this one's steps, or of any number in continuous time.

        spacing: even, quadratic (dense at small t) or log-snr (even in log SNR); None for the
        model's own `spacing`, or even along the curve of a model in continuous time.

        Raises:
            BadInput: steps outside 1..T, an unknown spacing, or log-snr of a chain without one;
                steps below 2 in continuous time.
        """
        steps = whole("steps", steps)
        if self.discretize is not None and spacing is None:
            return self._like_this(self.discretize(steps))
        if not 1 <= steps <= self.T:
            raise BadInput(f"steps must lie in 1..{self.T} for this model; got {steps}")
        if steps == self.T:
            return self
        return self.keeping(self._kept(steps, spacing))

    def in_the_limit(self) -> "Model":
        """Infinitely many steps in place of each of the chain's: the bound of continuous time.

        Raises:
            BadInput: a chain that has no steps between its steps.
        """
        if self.limit is None:
            raise BadInput(f"{self.name} is no model in continuous time: its bound is its chain's")
        return self._like_this(self.limit())

    def keeping(self, steps: Sequence[int]) -> "Model":
        """The chain of these of this one's steps, increasing within 1..T.

        Raises:
            BadInput: others, or none.
        """
        return self._like_this(self.respace(whole_numbers("steps", steps)))

    def _like_this(self, chain: "Model") -> "Model":
        return replace(
            chain,
            weights=self.weights,
            encode=self.encode,
            classes=self.classes,
            conditions=self.conditions,
        )

    def _kept(self, steps: int, spacing: str | None) -> Sequence[int]:
        if spacing is None:
            return self.spacing(self.T, steps)
        if isinstance(spacing, str) and spacing in ("even", "quadratic"):
            return {"even": evenly, "quadratic": quadratically}[spacing](self.T, steps)
        if not isinstance(spacing, str) or spacing != "log-snr":
            raise BadInput(f"spacing is even, quadratic or log-snr; got {shown(spacing)}")
        if self.log_snr is None:
            raise BadInput(f"{self.name} has no log SNR to spread its steps over: use even")
        return evenly_in(self.log_snr[1:], steps)


def _batch(model: Model, levels: object) -> Tensor:
    """A batch as a tensor: integers for levels, floats for real numbers.

    Raises:
        BadInput: no tensor or array, or numbers of the other kind, which stand for something else.
    """
    x = tensor_of("the batch", "levels", levels) if isinstance(levels, np.ndarray) else levels
    if not isinstance(x, Tensor):
        raise BadInput(f"loss takes a batch as a tensor or an array; got {shown(levels)}")
    wanted = isinstance(model.support, Reals)
    if x.is_floating_point() != wanted or x.dtype == torch.bool or x.is_complex():
        kind = "real numbers, floats" if wanted else f"levels, integers 0..{model.grid.n - 1}"
        raise BadInput(f"{model.name} is of {kind}; got {x.dtype}")
    return x


def loss(
    model: Model,
    levels: Tensor | NDArray[Any] | Examples,
    generator: torch.Generator | None = None,
    *,
    labels: Int64[Tensor, " B"] | None = None,
    conditions: Mapping[str, Tensor] = NOTHING,
) -> Nats:
    """An unbiased estimate of L for each image, one network evaluation each, to train by.

    levels: (B, C, H, W) integers, or points (B, *dims), or Images, Points; nats per image, with a
    gradient. Times are spread evenly over the batch; randomness comes from the generator, or
    torch's own. labels: of a model of p(x | class), which are its images'; conditions: what else a
    model is given of each.

    Raises:
        BadInput: images of another shape; no labels of a model of classes, or others than it has.
    """
    instance("model", model, Model)
    if generator is not None:
        instance("generator", generator, torch.Generator)
    if isinstance(levels, Examples):
        labels = levels.labels if labels is None else labels
        conditions = conditions or levels.conditions
        levels = levels.values
    x_0 = model.x_0(_batch(model, levels))
    seed = int(torch.randint(2**62, (), generator=generator))
    offset = float(torch.rand((), generator=generator, dtype=torch.float64))
    t = low_discrepancy_times(model.T, len(x_0), offset)
    condition = model.condition(labels, "the batch", conditions)
    if any(len(rows) != len(x_0) for rows in condition):
        counts = ", ".join(str(len(rows)) for rows in condition)
        raise BadInput(f"the batch has {len(x_0)} examples and its conditions {counts} rows")
    chain = model.chain.given(*condition)
    return model.one_time(chain, x_0, t, KeyedNoise.of(seed, torch.arange(len(x_0))))

"""A D3PM of your own network: states that change by Q_t, and logits over the data's levels."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from nelbo.arguments import whole, whole_numbers
from nelbo.arguments import word as one_of
from nelbo.categorical.dense import Dense
from nelbo.categorical.reverse import Prior, TimeInput
from nelbo.categorical.transition import Transition
from nelbo.data.examples import tensor_of
from nelbo.errors import BadInput
from nelbo.model import Model, categorical_model
from nelbo.model.parts import PRIORS, STATE_TIMES, TRANSITIONS
from nelbo.model.settings import Setting, Settings, about_betas, chosen
from nelbo.networks.adapter import Adapter, tensor_in
from nelbo.typed_json import Json
from nelbo.types import Grid, Time
from nelbo.wrapping.schedules import Betas, ends, schedule_and_scheduler
from nelbo.wrapping.stated import (
    OfTheWhole,
    given_of_images,
    keywords,
    label_of,
    name_of,
    network_facts,
    shape_and_levels,
)
from nelbo.wrapping.tokens import wrap_tokens

__all__ = ["wrap_categorical"]

ALIASES = {"gaussian": "discretized-gaussian"}
Kernel: TypeAlias = str | Transition | Tensor | Sequence[Sequence[Sequence[float]]]


def _fraction(transition: Transition, t: Time) -> Tensor:
    """t/T, as `wrap` has it; a recipe's fraction is spread over -9..9."""
    return transition.kept[t - 1].double() / transition.whole_T


TIMES: dict[str, TimeInput] = {**STATE_TIMES, "fraction": _fraction}


def wrap_categorical(
    network: Callable[..., object],
    *,
    transition: Kernel | None = None,
    time_input: str | TimeInput | None,
    schedule: Betas | None = None,
    levels: int | None = None,
    shape: tuple[int, ...] | None = None,
    data: object = None,
    sees: Literal["one-hot", "states"] = "one-hot",
    logits: Literal["channels", "last"] = "channels",
    decoder: Literal["posterior", "logits"] | None = None,
    prior: str | Tensor | Sequence[float] | None = None,
    steps: Sequence[int] | None = None,
    arguments: Mapping[str, object] | None = None,
    classes: int | None = None,
    conditions: Sequence[str] = (),
    name: str | None = None,
    vocabulary: int | None = None,
    mask: int | None = None,
) -> Model:
    """p_theta(x_{t-1} | x_t) ~ Q_t[x_{t-1}, x_t] (pi Qbar_{t-1})[x_{t-1}], pi = softmax(logits).

    The x_0 parametrisation of D3PM (Austin et al. 2021, eq. 4), over K states: the data's levels
    0..levels-1 and, for an absorbing chain, one more, the mask.

    network: any callable (x_t, time[, labels], **arguments) -> logits, `levels` for each dimension.
    transition: uniform, absorbing or gaussian, whose betas the schedule says; or Q_1..Q_T as an
        array (T, K, K), Q_t[i, j] = q(x_t = j | x_{t-1} = i); or a Transition.
    time_input: what the network receives: index (0..T-1), t (1..T), fraction (t/T), or a function
        of (Transition, t), of the whole chain and its t in every sub-chain too; None, nothing: the
        network is called without a time.
    schedule: beta_1..beta_T as `wrap` takes them. An absorbing chain needs beta_T = 1.
    levels, shape, data: of the images, as for `wrap`.
    sees: whether x_t are one-hot channels (B, C K, H, W) of 0 and 1, the K of a channel together,
        or states (B, C, H, W), integers 0..K-1.
    logits: whether they are channels (B, C levels, H, W), the levels of a channel together, or on
        the last axis, (B, C, H, W, levels).
    decoder: p_theta(x_0 | x_1): posterior, the default, pi(x_0) q(x_1 | x_0) normalised, which is
        the formula above at t = 1; or logits, pi itself, as in D3PM's published code.
    prior: p(x_T): uniform, the default, target, that of an absorbing chain (the mask), or the
        probabilities of the K states.
    steps, arguments, classes, conditions: as for `wrap`.
    vocabulary, mask: of a masked model of tokens, how many ids its logits are over and the id that
        hides a token. The network gets ids (B, L) and gives logits (B, L, vocabulary), or an object
        that has them as `.logits`; shape is (L,), or the text is given as `data`. The model is that
        of any order of revealing them, one token a call: `every(calls)` and `nelbo.model.in_order`
        make others of it. Of the other choices only arguments and conditions are for it; time_input
        fraction is the share of the tokens that are masked. The id of the mask has no probability.

    Raises:
        BadInput: an unknown choice, no shape or levels, rows of Q_t that are no distributions, a
            prior without the states that q(x_T | x_0) reaches, or choices that do not go together.

    Example:
        >>> zero = lambda x_t, t: torch.zeros(len(x_t), 17, 8, 8)
        >>> choices = {"transition": "uniform", "time_input": "t", "shape": (1, 8, 8), "levels": 17}
        >>> wrap_categorical(zero, schedule={"name": "cosine", "T": 50}, **choices).T
        50
    """
    if not callable(network):
        raise BadInput(f"wrap takes a callable (x_t, time); got a {type(network).__name__}")
    if vocabulary is not None or mask is not None:
        _only_tokens(transition, schedule, levels, decoder, prior, steps, classes)
        own = partial(
            wrap_tokens, network, vocabulary=vocabulary, mask=mask, shape=shape, data=data
        )
        return own(time_input=time_input, arguments=arguments, conditions=conditions, name=name)
    name = label_of(name, network)
    given = None if shape is None else tuple(whole_numbers("shape", shape))
    shape, n = shape_and_levels(data, given, None if levels is None else whole("levels", levels))
    classes, conditions = given_of_images(classes, conditions)
    kernel, about, settings = _kernel(transition, schedule, n)
    ending, decoder_source = chosen(decoder, "posterior")
    p_T, prior_source = chosen(
        prior, "target" if settings["transition"].value == "absorbing" else "uniform"
    )
    convention = time_input if isinstance(time_input, str | None) else name_of(time_input)
    settings |= {
        "decoder": Setting(one_of("decoder", ending, ("posterior", "logits")), decoder_source),
        "prior": Setting(p_T if isinstance(p_T, str) else "table", prior_source),
        "time_input": Setting(convention, "option"),
        "sees": Setting(one_of("sees", sees, ("one-hot", "states")), "option"),
        "logits": Setting(one_of("logits", logits, ("channels", "last")), "option"),
        "levels": Setting(n, "option"),
    }
    kept = None if steps is None else whole_numbers("steps", steps)
    if kept is not None:
        settings["steps"] = Setting(f"{len(kept)} of 1..{kernel.T}", "option")
    call = network
    if time_input is None or logits == "last":
        call = _Called(network, time_input is not None, logits == "last")
    adapter = Adapter(call, keywords(arguments), conditions=conditions)
    model = categorical_model(
        adapter,
        kernel if kept is None else kernel.subchain(kept),
        prior=_prior(p_T, kernel),
        time_input=_time_input("t" if time_input is None else time_input, kernel),
        grid=Grid(n),
        shape=shape,
        name=name,
        settings=Settings(
            schedule=about,
            network=network_facts(network, arguments or {}, adapter.beside),
            sources=settings,
            notes={"transition": settings["transition"].value, "time_input": convention},
        ),
        by_logits=ending == "logits",
        ids=sees == "states",
    )
    return replace(model, classes=classes, conditions=conditions)


def _only_tokens(transition: object, *others: object) -> None:
    """Refuses the choices that a masked model of tokens does not have."""
    absorbs = transition is None or transition == "absorbing"
    if not absorbs or any(other is not None for other in others):
        raise BadInput(
            "vocabulary= and mask= make a masked model of tokens, whose chain is absorbing, in any "
            "order: leave schedule, levels, decoder, prior, steps and classes out"
        )


@final
@dataclass(frozen=True, eq=False)
class _Called:
    """A network that takes no time, or has logits on the last axis, as one that is called alike."""

    network: Callable[..., object]
    timed: bool
    last: bool

    def __call__(self, x_t: Tensor, time: Tensor, *given: Tensor, **named: object) -> Tensor:
        convention = (time, *given) if self.timed else given
        output = tensor_in(self.network(x_t, *convention, **named))
        return output.movedim(-1, 2).flatten(1, 2) if self.last else output


@final
@dataclass(frozen=True, eq=False)
class _Table:
    """p(x_T) of a table, whatever the chain."""

    log_probs: Prior

    def __call__(self, transition: Transition) -> Prior:
        return self.log_probs


def _prior(prior: object, kernel: Transition) -> Callable[[Transition], Prior]:
    """What makes log p(x_T).

    Raises:
        BadInput: an unknown name, or a table that is no distribution over the states.
    """
    if isinstance(prior, str):
        return PRIORS[one_of("prior", prior, PRIORS)]
    table = tensor_of("prior", "p(x_T)", prior).detach().to("cpu", torch.float64)
    if table.shape[-1:] != (kernel.K,) or not (table >= 0).all():
        raise BadInput(
            f"prior is {', '.join(PRIORS)}, or the probabilities of {kernel.K} states; got shape "
            f"{tuple(table.shape)}"
        )
    return _Table(table.log())


def _kernel(
    given: object, schedule: object, n: int
) -> tuple[Transition, dict[str, Json], dict[str, Setting]]:
    """The transition over the levels, and its settings.

    Raises:
        BadInput: an unknown name, no betas where one needs them or betas where none does, or
            matrices of fewer states than there are levels.
    """
    if given is None:
        raise BadInput(
            f"wrap_categorical needs transition=, one of {', '.join(_kernels())} or matrices; or "
            "vocabulary= and mask= of a masked model of tokens"
        )
    if isinstance(given, str):
        name = ALIASES.get(one_of("transition", given, _kernels()), given)
        if schedule is None:
            raise BadInput(f"transition {given} needs schedule=, which says its betas")
        beta, _ = schedule_and_scheduler(schedule)
        about = about_betas(beta)
        settings = {"schedule": Setting(beta.name, "option"), **ends(schedule, beta)}
        states = n + 1 if name == "absorbing" else n  # and the mask
        made = TRANSITIONS[name](beta.beta[1:].tolist(), states)
    else:
        if schedule is not None:
            raise BadInput(
                "a transition that is given as matrices has no betas: leave schedule out"
            )
        made = given if isinstance(given, Transition) else _dense(given)
        if n > made.K:
            raise BadInput(f"a transition of {made.K} states has no place for {n} levels")
        about = {"name": "matrices", "T": made.T}
        name, settings = _digest(made), {}
    stated: dict[str, Json] = {"transition": name, "T": made.T, "states": made.K}
    return made, about, settings | {key: Setting(x, "option") for key, x in stated.items()}


def _kernels() -> list[str]:
    """The names of transitions, each after its short one."""
    short = {name: alias for alias, name in ALIASES.items()}
    return [word for name in TRANSITIONS for word in (short.get(name), name) if word is not None]


def _dense(given: object) -> Dense:
    tables = tensor_of("transition", "Q_1..Q_T", given).detach().to("cpu", torch.float64)
    if tables.ndim != 3 or tables.shape[1] != tables.shape[2]:
        raise BadInput(
            f"transition is one of {', '.join(_kernels())}, or Q_1..Q_T of shape (T, K, K); got "
            f"shape {tuple(tables.shape)}"
        )
    return Dense(tables)


def _digest(transition: Transition) -> str:
    """A name by the matrices themselves, since a record of one chain is of no other."""
    result = hashlib.sha256()
    every = torch.arange(transition.K)[None]
    for t in range(1, transition.T + 1):
        result.update(transition.log_row(every, torch.tensor([t])).double().numpy().data)
    return f"matrices {result.hexdigest()[:16]}"


def _time_input(time_input: object, kernel: Transition) -> TimeInput:
    if callable(time_input):
        return OfTheWhole(time_input, kernel)
    return TIMES[one_of("time_input", time_input, TIMES)]

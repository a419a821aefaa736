"""A masked model of tokens of your own network: (ids[, time]) -> logits over the vocabulary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from nelbo.arguments import whole, whole_numbers
from nelbo.arguments import word as one_of
from nelbo.categorical.reverse import TIME_INPUTS, TimeInput
from nelbo.categorical.transition import Transition
from nelbo.data import Tokens, load
from nelbo.errors import BadInput
from nelbo.model import Model, masked_model
from nelbo.model.settings import Setting, Settings
from nelbo.networks.adapter import Adapter
from nelbo.networks.tokens import TokenCall
from nelbo.types import Time
from nelbo.wrapping.stated import (
    given_of_images,
    keywords,
    label_of,
    name_of,
    network_facts,
)

__all__ = ["wrap_tokens"]


def _share(transition: Transition, t: Time) -> Tensor:
    """t/T, the share of the positions that are masked."""
    return transition.kept[t - 1].double() / transition.whole_T


TIMES: dict[str, TimeInput] = {**TIME_INPUTS, "fraction": _share}


def wrap_tokens(
    network: Callable[..., object],
    *,
    vocabulary: object,
    mask: object,
    time_input: str | TimeInput | None,
    T: int | None = None,
    shape: Sequence[int] | None = None,
    data: object = None,
    arguments: Mapping[str, object] | None = None,
    conditions: Sequence[str] = (),
    name: str | None = None,
) -> Model:
    """A masked model in any order, of windows of one length, as `wrap_categorical` says.

    Raises:
        BadInput: a mask that is no id, no length, or an unknown time_input.
    """
    name = label_of(name, network)
    n = whole("vocabulary", vocabulary, least=2)
    if mask is None:
        raise BadInput("a masked model of tokens needs mask=, the id that hides a token")
    mask = whole("mask", mask, least=0)
    if mask > n:
        raise BadInput(f"mask is an id of 0..{n - 1}, or {n}, which has no logit; got {mask}")
    length = _length(shape, data)
    _, conditions = given_of_images(None, conditions)
    call = TokenCall(network, n, mask, time_input is not None)
    adapter = Adapter(call, keywords(arguments), conditions=conditions)
    convention = time_input if isinstance(time_input, str | None) else name_of(time_input)
    settings = {
        "vocabulary": Setting(n, "option"),
        "mask": Setting(mask, "option"),
        "time_input": Setting(convention, "option"),
        "T": Setting(length if T is None else T, "default" if T is None else "option", False),
    }
    model = masked_model(
        adapter,
        levels=n,
        shape=(length,),
        name=name,
        time_input=_time_input(time_input),
        T=T,
        settings=Settings(
            network=network_facts(network, arguments or {}, adapter.beside),
            sources=settings,
            notes={"mask": mask, "time_input": convention},
        ),
    )
    return replace(model, conditions=tuple(conditions))


def _length(shape: Sequence[int] | None, data: object) -> int:
    """Of a window: as shape or the data say.

    Raises:
        BadInput: neither does, they differ, or the data are no text.
    """
    given = None if shape is None else tuple(whole_numbers("shape", shape))
    if given is not None and len(given) != 1:
        raise BadInput(f"the shape of a window of tokens is (length,); got {given}")
    if data is None:
        if given is None:
            raise BadInput("a masked model of tokens needs shape=(length,), or data=")
        return given[0]
    tokens = load(data) if isinstance(data, str) else data
    if not isinstance(tokens, Tokens):
        raise BadInput("data= of a model of tokens is text: text:FILE, or nelbo.data.windows(...)")
    if given not in (None, (tokens.dims,)):
        raise BadInput(f"shape is {given} and the windows of {tokens.name} are {(tokens.dims,)}")
    return tokens.dims


def _time_input(time_input: object) -> TimeInput | None:
    if time_input is None:
        return None
    if callable(time_input):
        function: TimeInput = time_input
        return function
    return TIMES[one_of("time_input", time_input, TIMES)]

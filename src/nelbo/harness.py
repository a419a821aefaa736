"""A masked model of tokens for lm-evaluation-harness: log-likelihoods by calls that add up.

What the harness calls a log-likelihood is of one order here, left to right, one token a call, given
the context: exact, and no bound.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from nelbo.arguments import whole
from nelbo.categorical.masked import MaskedReverse
from nelbo.data.symbols import Alphabet, alphabet_of
from nelbo.errors import BadInput
from nelbo.estimation import measuring
from nelbo.formats import read_masked_lm
from nelbo.model import Model
from nelbo.wrapping import wrap_categorical

__all__ = ["Scorer", "harness_model"]

ROWS = 64  # of one call of the network


class Scorer:
    """log p(continuation | context) = sum over j of log p(token j | context, tokens before j).

    The network sees no token behind those that are summed: its input ends with the continuation.
    Where context and continuation are longer than `length` tokens, the first of the context are
    left out. network, vocabulary, mask, time_input: as for `wrap_categorical`. symbols: as for
    `nelbo.data.windows`; stride: of `loglikelihood_rolling`, half of the length by default.

    Raises:
        BadInput: as `wrap_categorical`; symbols of a larger vocabulary, or a stride outside
            1..length.
    """

    def __init__(
        self,
        network: Callable[..., object],
        *,
        vocabulary: int,
        mask: int,
        symbols: Alphabet | str = "bytes",
        length: int = 1024,
        stride: int | None = None,
        time_input: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.alphabet = alphabet_of(symbols)
        self.length = whole("length", length, least=1)
        self.stride = whole("stride", max(1, length // 2) if stride is None else stride, least=1)
        if self.stride > self.length:
            raise BadInput(f"a stride of {self.stride} is more than the length, {self.length}")
        self.options: dict[str, Any] = {"vocabulary": vocabulary, "mask": mask}
        self.options["time_input"] = time_input
        self._models: dict[int, Model] = {}

    @classmethod
    def of(cls, folder: str | Path, **options: Any) -> "Scorer":  # noqa: ANN401
        """The scorer of a transformers folder with a masked-LM head: all but the stride is its own.

        length: of what the network sees, by default as much as it takes.

        Raises:
            BadInput: as `nelbo.load` of such a folder, and as `Scorer`.
        """
        read = read_masked_lm(folder)
        own: dict[str, Any] = {"vocabulary": read.vocabulary, "mask": read.mask}
        own |= {"symbols": read.alphabet, "length": read.longest, "time_input": None}
        read.network.eval()
        return cls(read.network, **{**own, **options})

    def loglikelihood(self, requests: Sequence[object]) -> list[tuple[float, bool]]:
        """(log p of the continuation in nats, whether each token is the likeliest) of each.

        requests: objects with `args` = (context, continuation), or such pairs.

        Raises:
            BadInput: a continuation without tokens, or of more than `length`.
        """
        return [self._score(*map(self._ids, _args(one))) for one in requests]

    def loglikelihood_rolling(self, requests: Sequence[object]) -> list[float]:
        """log p of each text in nats, `stride` tokens at a time given those before them.

        requests: objects with `args` = (text,), or such tuples.
        """
        scores = []
        for one in requests:
            (text,) = _args(one)
            ids = self._ids(text)
            starts = range(0, len(ids), self.stride)
            pieces = [(ids[:start], ids[start : start + self.stride]) for start in starts]
            scores.append(sum(self._score(*piece)[0] for piece in pieces))
        return scores

    def _ids(self, text: str) -> Int64[Tensor, " n"]:
        return torch.from_numpy(self.alphabet.encode(text.encode(), "the text").ids)

    def _score(
        self, context: Int64[Tensor, " c"], continuation: Int64[Tensor, " n"]
    ) -> tuple[float, bool]:
        n = len(continuation)
        if not 0 < n <= self.length:
            raise BadInput(f"a continuation has 1..{self.length} tokens; got {n}")
        known = torch.cat([context, continuation])[-self.length :]
        model = self._model(len(known))
        total, greedy = 0.0, True
        with measuring([model]):
            for rows in torch.arange(n).split(ROWS):
                log_probs = _log_probs(model, known, n, rows)
                own = log_probs.gather(1, continuation[rows, None])[:, 0]
                total += float(own.double().sum())
                greedy &= bool((log_probs.argmax(1) == continuation[rows]).all())
        return total, greedy

    def _model(self, length: int) -> Model:
        if length not in self._models:
            made = wrap_categorical(self.network, shape=(length,), **self.options)
            if self.alphabet.n > made.grid.n:
                raise BadInput(
                    f"the symbols are {self.alphabet.n}, and the network's vocabulary {made.grid.n}"
                )
            self._models[length] = made
        return self._models[length]


def _log_probs(
    model: Model, known: Int64[Tensor, " L"], n: int, rows: Int64[Tensor, " R"]
) -> Tensor:
    """log p(token j | those before it) of all symbols, for j in rows of the last n tokens."""
    place = len(known) - n + rows
    hidden = torch.arange(len(known)) >= place[:, None]
    x_t = torch.where(hidden, model.grid.n, known).to(model.device)
    p = model.chain.p
    assert isinstance(p, MaskedReverse)
    log_probs = p.predicted(x_t, hidden.sum(1)).log_probs
    return log_probs[torch.arange(len(rows)), place].cpu()


def _args(request: Any) -> tuple[str, ...]:  # noqa: ANN401
    arguments: tuple[str, ...] = getattr(request, "args", request)
    return arguments


def harness_model(network: Callable[..., object] | str | Path, **options: Any) -> Any:  # noqa: ANN401
    """A `Scorer` that is an `lm_eval.api.model.LM`, for `lm_eval.simple_evaluate(model=...)`.

    network: as for `Scorer`, or a folder of transformers, as for `Scorer.of`. options: as for
    these.

    Raises:
        BadInput: lm-evaluation-harness is not installed, or as `Scorer`.
    """
    try:
        base = importlib.import_module("lm_eval.api.model").LM
    except ImportError:
        raise BadInput("this needs lm-evaluation-harness: pip install lm-eval") from None

    def generate_until(self: Scorer, requests: Sequence[object]) -> list[str]:
        raise BadInput("a masked model is scored here; it writes by nelbo.sample(given=...)")

    made: Any = type("MaskedLM", (Scorer, base), {"generate_until": generate_until})
    return made(network, **options) if callable(network) else made.of(network, **options)

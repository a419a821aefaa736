"""Masked language models as networks: ids to logits, and the tokens that stand round a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nelbo.errors import BadInput
from nelbo.networks.adapter import tensor_in

__all__ = ["Framed", "TokenCall"]


@final
@dataclass(frozen=True, eq=False)
class TokenCall:
    """The network with its own id for what is masked, which it never predicts."""

    network: Callable[..., object]
    vocabulary: int
    mask: int
    timed: bool

    def __call__(
        self, x_t: Int64[Tensor, "B L"], time: Tensor, *given: Tensor, **named: object
    ) -> Float[Tensor, "B symbols"]:
        ids = torch.where(x_t == self.vocabulary, self.mask, x_t)
        output: Any = self.network(ids, *((time, *given) if self.timed else given), **named)
        logits = tensor_in(getattr(output, "logits", output))
        if logits.shape != (*x_t.shape, self.vocabulary):
            raise BadInput(
                f"the network must give {self.vocabulary} logits, one for each id of the "
                f"vocabulary, at each of {tuple(x_t.shape)} places; got {tuple(logits.shape)}"
            )
        if self.mask < self.vocabulary:  # no text has it, so it has no probability
            logits = logits.index_fill(-1, torch.tensor([self.mask], device=logits.device), -1e30)
        return logits.flatten(1)


@final
class Framed(nn.Module):
    """Logits of the tokens of a text by a network that sees others round it: [CLS] ids [SEP].

    network: (input_ids, attention_mask) -> an object with `.logits` (B, length, vocabulary).
    before, behind: the ids that stand round the text; they are seen and never counted. padding: the
    id whose run at the end of a row is no text: `behind` stands before it, and no place attends to
    it. ids (B, L) -> (B, L, vocabulary).
    """

    before: Tensor
    behind: Tensor

    def __init__(
        self, network: nn.Module, before: Sequence[int], behind: Sequence[int], padding: int | None
    ) -> None:
        super().__init__()
        self.network = network
        self.padding = -1 if padding is None else padding  # -1 is no id
        for name, around in (("before", before), ("behind", behind)):
            self.register_buffer(name, torch.tensor(around, dtype=torch.int64), persistent=False)

    def forward(self, ids: Int64[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        before, behind = self.before.expand(len(ids), -1), self.behind.expand(len(ids), -1)
        first, more = before.shape[1], behind.shape[1]
        places = torch.arange(first + ids.shape[1] + more, device=ids.device)
        length = ((ids != self.padding) * (places[: ids.shape[1]] + 1)).amax(1, keepdim=True)
        framed = torch.cat([before, ids, torch.full_like(behind, self.padding)], 1)
        framed = framed.scatter(1, first + length + places[:more], behind)
        seen = (places < first + length + more).long()
        output: Any = self.network(input_ids=framed, attention_mask=seen)
        return tensor_in(output.logits)[:, first : first + ids.shape[1]]

"""A network with its moving average and its optimiser, and one update of the three."""

import copy
import math
from typing import final

import torch
from torch import Tensor, nn

from nelbo.model import Model, clip_gradients, parameter_groups
from nelbo.recipe import Training

__all__ = ["Average", "Learner"]


@final
class Average:
    """average <- d average + (1 - d) weights, d = min(decay, (1 + n)/(10 + n)) at update n.

    The warm-up keeps the weights of the first steps from lingering; the first update copies.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.updates = torch.zeros((), dtype=torch.int64)
        self._averaged: list[Tensor] = list(self.network.parameters())
        self._current = [p.detach() for p in network.parameters()]
        self._buffers = list(zip(self.network.buffers(), network.buffers(), strict=True))

    def update(self) -> None:
        """One update from the weights as they are now; buffers are copied."""
        n = int(self.updates)
        with torch.no_grad():
            if n == 0:
                torch._foreach_copy_(self._averaged, self._current)
            else:
                d = min(self.decay, (1 + n) / (10 + n))
                torch._foreach_lerp_(self._averaged, self._current, 1 - d)
            for copied, buffer in self._buffers:
                copied.copy_(buffer)
        self.updates += 1


@final
class Learner:
    """AdamW on a model's network whose moving average is kept."""

    def __init__(self, model: Model, choice: Training) -> None:
        network = model.network
        if choice.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.train()
        self.average = Average(network, choice.ema)
        self.choice = choice
        self.parameters = dict(network.named_parameters())
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, choice.weight_decay),
            lr=choice.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        for p in self.parameters.values():  # as its first step would, so that it can be restored
            self.optimizer.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
        _prepare(model.called, choice)

    def update(self, step: int) -> float:
        """One update by the gradients that are there; their norm before it was clipped.

        Nothing is updated where it is not finite.
        """
        norm = clip_gradients(self.optimizer, self.choice.gradient_clip)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(step)
            self.optimizer.step()
            self.average.update()
        return norm

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then half a cosine down to 0."""
        warm = min(1.0, (step + 1) / (self.choice.warmup + 1))
        cosine = 0.5 * (1 + math.cos(math.pi * step / max(self.choice.steps, 1)))
        return self.choice.learning_rate * (warm * cosine)

    def tensors(self) -> dict[str, Tensor]:
        """All that an update changes, by name, not copied."""
        named = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        named |= {f"ema.{name}": x for name, x in self.average.network.state_dict().items()}
        named["updates.ema"] = self.average.updates
        for name, p in self.parameters.items():
            for key, x in self.optimizer.state[p].items():
                named[f"optimizer.{name}.{key}"] = x
        return named


def _prepare(network: nn.Module, choice: Training) -> None:
    """The network in bfloat16 and compiled, where asked for; what it gives is float32."""
    if choice.precision == "bfloat16":
        forward = network.forward

        def autocast(x_t: Tensor, *inputs: Tensor) -> Tensor:
            with torch.autocast(x_t.device.type, dtype=torch.bfloat16):
                output: Tensor = forward(x_t, *inputs)
            return output.float()

        network.forward = autocast
    if choice.compile:
        network.compile()

"""One call of a network at its first and its last t, before anything is measured."""

from functools import partial

import torch

from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput, NonFinite
from nelbo.model.model import Model
from nelbo.networks.mode import evaluating, without_gradients

__all__ = ["try_network"]


def try_network(model: Model, fix: str = "") -> None:
    """Evaluates one row of noise at t = 1 and one at t = T: the network takes what the model says.

    The network is in evaluation mode meanwhile, its buffers and random states are kept. fix: what
    a refusal ends with.

    Raises:
        BadInput: the network fails there, or gives an image of another size; the line names the
            shape of the images and t.
    """
    if model.conditions:  # whose shapes the data decide
        return
    devices = [] if model.device.type == "cpu" else [model.device]
    before = {name: x.clone() for name, x in model.network.named_buffers()}
    with (
        torch.random.fork_rng(devices),
        evaluating(model.network),
        without_gradients(model.device),
    ):
        try:
            for t in sorted({1, model.T}):
                _called(model, t, fix)
        finally:
            for name, x in model.network.named_buffers():
                if name in before and not torch.equal(before[name], x):
                    x.copy_(before[name])


def _called(model: Model, t: int, fix: str) -> None:
    like = torch.empty(1, *model.shape, dtype=torch.float32, device=model.device)
    given = model.condition(torch.zeros(1, dtype=torch.int64), model.name)
    p = model.chain.given(*given).p
    x_t = p.prior(like).sample(KeyedNoise.of(0, torch.zeros(1, dtype=torch.int64)))
    step = partial(p.decoder, x_t) if t == 1 else partial(p.step, x_t, torch.tensor([t]))
    where = f"{model.name}: for images {model.shape} at t = {t} of {model.T}"
    try:
        step()
    except (NonFinite, MemoryError, torch.OutOfMemoryError):
        raise
    except BadInput as error:
        raise BadInput(f"{where}: {error}{fix}") from error
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{where} the network fails: {text:.200}{fix}") from error

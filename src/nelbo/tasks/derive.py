"""Every line of the derivation: on a model by Monte Carlo, on built-in chains exactly."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from nelbo.arguments import instance, seed_of, shown, whole
from nelbo.bound.chain import Chain, D
from nelbo.bound.distribution import StepDistribution
from nelbo.bound.estimators import trajectory
from nelbo.bound.noise import KeyedNoise
from nelbo.categorical.forward import TRANSITIONS, CategoricalForward
from nelbo.categorical.reverse import CategoricalReverse, TabularReverse
from nelbo.data import Discrete, Images, Tokens
from nelbo.derivation import Point, enumerated, sampled, weighting_curve
from nelbo.errors import BadInput
from nelbo.formats import Pipeline, as_model
from nelbo.gaussian.affine import affine_valuation
from nelbo.gaussian.decoder import Density
from nelbo.gaussian.distribution import Gaussian
from nelbo.gaussian.forward import GaussianForward
from nelbo.gaussian.mistakes import CLAMPED
from nelbo.gaussian.parametrization import X_0
from nelbo.gaussian.reverse import TIME_INPUTS, GaussianReverse
from nelbo.gaussian.schedule import from_betas
from nelbo.gaussian.variance import small
from nelbo.model import Model, examples_of
from nelbo.networks.mode import evaluating, without_gradients
from nelbo.results.context import environment
from nelbo.results.derivation import ChainDerivation, Derivation
from nelbo.typed_json import Json

__all__ = ["Progress", "derive"]

Progress = Callable[[int, int | None, str], None]
"""Called with (evaluations done, evaluations expected if known, the running result)."""

IMAGES = 2
DTYPES = {"float64": torch.float64, "float32": torch.float32}
CURVE_DRAWS = 2**15  # of the exact chains, for the curve alone
ROWS = {"cpu": 512, "cuda": 4096}  # network rows at once: what fits a cache, what fills a GPU


def derive(
    model: Model | str | Path | Pipeline | None = None,
    data: object = None,
    *,
    images: int = IMAGES,
    paths: int = 256,
    seed: int = 0,
    dtype: str = "float64",
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Derivation:
    """The value of every line, (1) to (8) and D1 to D11, and of the false ones beside them.

    Without a model, exactly, on three small chains. With one, by Monte Carlo on the first
    `images` of the data, `paths` paths of each: about 5/4 images x paths x T network evaluations.
    dtype is that of the chain's states and of p; the network computes in its own.
    data: Images, or what `evaluate` takes.

    Raises:
        BadInput: a model without data, fewer than 2 paths, no image, another dtype.
        NonFinite: L of a path is NaN or infinite.
    """
    started = time.perf_counter()
    images, paths = whole("images", images), whole("paths", paths)
    seed, named = seed_of(seed), str(dtype).removeprefix("torch.")
    if named not in DTYPES:
        raise BadInput(f"dtype must be {' or '.join(DTYPES)}; got {shown(named)}")
    dtype = named
    if model is None:
        if data is not None:
            raise BadInput("data without a model: give the model that they are data of")
        chains, device = _exact_chains(seed), torch.device("cpu")
        about: Mapping[str, Mapping[str, Json]] = {}
    else:
        model = as_model(model)
        chosen = _images(model, data, images)
        chains = [_on_model(model, chosen, paths, seed, DTYPES[dtype], progress)]
        device, about = model.device, _about(model, chosen)
    return Derivation(
        chains=chains,
        seed=seed,
        seconds=time.perf_counter() - started,
        environment=environment(device, DTYPES[dtype]),
        command=command,
        model=about.get("model"),
        data=about.get("data"),
    )


def _images(model: Model, data: object, count: int) -> Discrete:
    if data is None:
        raise BadInput("deriving on a model needs data: give images")
    _ = model.grid  # a density has no levels to enumerate
    images = examples_of(model, data)
    if not isinstance(images, Tokens):
        images = instance("data", images, Images)
    return images.first(min(count, len(images)))


def _about(model: Model, images: Discrete) -> dict[str, dict[str, Json]]:
    return {
        "model": {
            "name": model.name,
            "sha256": model.sha256(),
            "weights": model.weights,
            "steps": model.T,
            **model.facts,
        },
        "data": {
            "name": images.name,
            "sha256": images.sha256,
            "split": images.split,
            "images": len(images),
        },
    }


def _on_model(
    model: Model, images: Discrete, paths: int, seed: int, dtype: torch.dtype, progress: Progress
) -> ChainDerivation:
    condition = model.condition_of(images)
    chain = _in_dtype(model.chain, dtype).given(*condition)
    with evaluating(model.network), without_gradients(model.device):
        valuation = sampled(
            chain,
            model.x_0(images.levels, dtype),
            KeyedNoise.of(seed, images.ids),
            paths,
            mistakes=[CLAMPED],
            rows=ROWS.get(model.device.type, ROWS["cpu"]),
            progress=progress,
        )
    plural = "image" if len(images) == 1 else "images"
    return ChainDerivation(
        model.name,
        f"Monte Carlo on {len(images)} {plural} of {images.name}: {paths} paths of each over "
        f"T = {model.T} steps, every line on the same paths; values are means over the images",
        valuation,
        model.dims,
    )


def _in_dtype(chain: Chain[StepDistribution], dtype: torch.dtype) -> Chain[StepDistribution]:
    """The chain with its arithmetic in this dtype, where that is not the dtype of its states."""
    q, p = chain.q, chain.p
    if not (isinstance(q, CategoricalForward) and isinstance(p, CategoricalReverse)):
        return chain  # real states bring their dtype along
    same = replace(q.transition, dtype=dtype)  # type: ignore[type-var]
    forward = CategoricalForward(same)
    network = _InItsDtype(p.network)
    reverse = CategoricalReverse(
        network,
        forward,
        time_input=p.time_input,
        prior=p.log_prior,
        levels=p.levels,
        by_logits=p.by_logits,
    )
    return Chain(forward, reverse)


class _InItsDtype(nn.Module):
    """A network evaluated in the dtype of its weights, whatever the chain's is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, *condition: Tensor) -> Tensor:
        dtype = next((w.dtype for w in self.network.parameters()), x.dtype)
        time = time.to(dtype) if time.is_floating_point() else time
        output: Tensor = self.network(x.to(dtype), time, *condition)
        return output


def _exact_chains(seed: int) -> list[ChainDerivation]:
    """A uniform and an absorbing chain over three states, and a Gaussian one."""
    return [
        _discrete("uniform", "every state may become every other", seed),
        _discrete("absorbing", "the last state absorbs, so q never takes some paths of p", seed),
        _gaussian(seed),
    ]


def _discrete(kind: str, remark: str, seed: int) -> ChainDerivation:
    K = T = 3
    transition = TRANSITIONS[kind]([t / (T + 2) for t in range(1, T + 1)], K, torch.float64)
    chain = Chain(CategoricalForward(transition), TabularReverse(*_tables(K, T)))
    x_0 = torch.zeros(1, 1, dtype=torch.int64)
    valuation = enumerated(chain, x_0, torch.arange(K)[:, None])
    return ChainDerivation(
        f"{kind}, K{K} T{T}",
        f"exact, from all {K**T} paths over {K} states, at x_0 = 0; {remark}",
        replace(valuation, curve=_curve(chain, x_0, seed)),
    )


def _tables(K: int, T: int) -> tuple[Float64[Tensor, "T K K"], Float64[Tensor, " K"]]:
    """A reverse chain and its prior that fit no q: positive, and different at each t."""
    i, j = torch.arange(K)[:, None], torch.arange(K)
    rows = [1 + (5 * i + 3 * j + 2 * t * t + 2 + i * j) % 13 for t in range(1, T + 1)]
    R = torch.stack(rows).double()
    pi = (2 + (4 * j + 1) % 5).double()
    return R / R.sum(2, keepdim=True), pi / pi.sum()


def _gaussian(seed: int) -> ChainDerivation:
    mean, deviation = 0.1, 0.5
    q = GaussianForward(from_betas([0.1, 0.2, 0.3, 0.4]))
    p = GaussianReverse(
        _ExactDenoiser(q, mean, deviation),
        q,
        parametrization=X_0,
        variance=small(q.schedule, "beta_tilde_2"),
        decoder=Density(),
        time_input=TIME_INPUTS["t"],
    )
    chain, x_0 = Chain(q, p), torch.full((1, 1), -0.7, dtype=torch.float64)
    data = Gaussian(torch.full_like(x_0, mean), torch.full_like(x_0, 2 * math.log(deviation)))
    return ChainDerivation(
        "Gaussian, T4",
        f"exact, in closed form, at x_0 = -0.7; data N({mean}, {deviation}^2) with the best "
        "denoiser, but a variance that is too small",
        affine_valuation(chain, x_0, data, _curve(chain, x_0, seed)),
    )


class _ExactDenoiser(nn.Module):
    """E[x_0 | x_t] for data N(mean, deviation^2), given the paper's t."""

    def __init__(self, q: GaussianForward, mean: float, deviation: float) -> None:
        super().__init__()
        self.q, self.mean, self.variance = q, mean, deviation**2

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        schedule = self.q.schedule
        signal, noise = schedule.alpha_bar[t][:, None], schedule.one_minus_alpha_bar[t][:, None]
        gain = signal.sqrt() * self.variance * x_t + noise * self.mean
        return gain / (signal * self.variance + noise)


def _curve(chain: Chain[D], x_0: Tensor, seed: int) -> tuple[Point, ...]:
    """Importance-weighted means on a chain whose exact values are known, by drawn paths."""
    rows = x_0.repeat(CURVE_DRAWS, 1)
    values = trajectory(chain, rows, KeyedNoise.of(seed, torch.arange(CURVE_DRAWS)))
    return weighting_curve(values[None])

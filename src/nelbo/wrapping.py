"""A model of your own network: any (x_t, time) -> tensor, with every convention stated."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from nelbo.data import as_images, as_points, load, load_for
from nelbo.errors import BadInput
from nelbo.gaussian.decoder import Decoder, Density, Discretized, LevelPosterior
from nelbo.gaussian.learned import learned
from nelbo.gaussian.parametrization import PARAMETRIZATIONS, Levels, Parametrization
from nelbo.gaussian.reverse import TIME_INPUTS, TimeInput, fraction
from nelbo.gaussian.schedule import SCHEDULES, Schedule, from_betas
from nelbo.gaussian.variance import Variance, default_V_1, large, learned_range, small
from nelbo.model import Model, gaussian_model
from nelbo.model.settings import Setting, as_facts, chosen
from nelbo.networks.adapter import Adapter
from nelbo.types import Grid, Reals, Support

__all__ = ["wrap"]

ALIASES = {"epsilon": "eps", "noise": "eps", "sample": "x_0", "v_prediction": "v"}
TIMES: dict[str, TimeInput] = {**TIME_INPUTS, "fraction": fraction}
ENDS = ("linear", "scaled-linear", "sigmoid")  # whose betas go from one end to the other
VARIANCES: dict[str, Callable[..., Variance]] = {
    "small": small,
    "large": large,
    "learned-range": learned_range,
    "learned": learned,
}
Betas = Schedule | str | Mapping[str, Any] | Sequence[float] | Tensor


def wrap(
    network: Callable[..., object],
    *,
    schedule: Betas,
    predicts: str,
    variance: str | Callable[[Schedule], Variance],
    time_input: str | TimeInput,
    data: object = None,
    shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    range: tuple[float, float] | None = None,
    clip: bool | tuple[float, float] | None = None,
    V_1: float | str | None = None,
    decoder: str | None = None,
    steps: Sequence[int] | None = None,
    arguments: Mapping[str, object] | None = None,
    name: str | None = None,
) -> Model:
    """p_theta(x_{t-1} | x_t) = N(posterior mean at x0-hat, V_t), x0-hat by network(x_t, time).

    network: any callable (x_t, time, **arguments) -> tensor (or a tuple, or an object with
        `.sample`), x_t (B, C, H, W), time (B,). Of an nn.Module, and of those that a function
        evaluates (in its closure, arguments, attributes, the globals it names), the weights are in
        the digest and the mode is evaluation; what is neither has no digest.
    schedule: a Schedule, a name, a table such as {"name": "linear", "T": 500, "beta_T": 0.04}, or
        the betas. One word means several things: linear is that of Ho et al. and diffusers, from
        1e-4 to 0.02 whatever T is, linear-by-T that of guided diffusion and lucidrains, whose ends
        are scaled by 1000/T; sigmoid is a law of betas (diffusers), sigmoid-lucidrains one of
        alpha_bar; cosine is Nichol and Dhariwal's everywhere but in D3PM: cosine-d3pm. Also
        scaled-linear (Stable Diffusion) and log-snr-linear.
    predicts: eps, x_0 or v (also epsilon, sample, v_prediction), or levels.
    variance: small (beta-tilde), large (beta), learned-range (the second half of the channels),
        learned (that half is V_t itself), or a function of a Schedule. A sub-chain asks it again.
    time_input: what the network receives: index (0..T-1), t (1..T), fraction (t/T), log-snr, or a
        function of (Schedule, t): of the schedule given here and its t, in every sub-chain too.
    data: images, or a spec such as digits:test, that say shape and levels; else `shape` (C, H, W)
        and `levels`, the number of levels that a pixel has.
    range: the real numbers that level 0 and the last level stand for; default (-1, 1).
    clip: whether x0-hat is clipped to the range, or another range; default not. Not with levels.
    V_1: the decoder's variance, where small, large or learned-range leave it open: a number,
        beta_1, beta_tilde_2, the default of schedules of betas, or inverse_snr_1, the default where
        log SNR is given.
    decoder: discretized-gaussian, the default, levels, or density: then the data are real numbers,
        points (N, *dims) of any shape, without levels and range, and the bound is in nats/dim.
    steps: the t, 1..T, that the network knows, where those are not all: a network trained on
        t = 1..T-1 is the sub-chain `steps=range(1, T)`, told the same times as in the full chain.
    arguments: what else the network is called with; a tensor is one image's and is repeated over
        the batch (a class label: torch.tensor(3)).

    Raises:
        BadInput: an unknown choice, no shape or levels, or choices that do not go together.

    Example:
        >>> zero = lambda x_t, t: torch.zeros_like(x_t)
        >>> choices = {"predicts": "eps", "variance": "small", "time_input": "index"}
        >>> wrap(zero, schedule="linear", shape=(1, 8, 8), levels=17, **choices).T
        1000
    """
    _check(network, variance)
    predicts = ALIASES.get(predicts, predicts)
    default = "levels" if predicts == "levels" else "discretized-gaussian"
    ending, decoder_source = chosen(decoder, default)
    support: Support = Reals()
    kind: dict[str, Setting] = {}
    if ending == "density":
        shape = _shape_of_points(data, shape, (levels, range, clip))
    else:
        shape, support, kind = _grid(data, shape, levels, range)
    own = isinstance(variance, str) and variance != "learned" and ending != "levels"
    _no_vain_choice(predicts, clip, None if own else V_1)
    whole = _schedule(schedule)
    rule: float | str = default_V_1(whole)
    first, V_1_source = chosen(V_1, rule)
    clip, clip_source = chosen(clip, False)
    told = time_input if isinstance(time_input, str) else _name(time_input)
    settings = {
        "schedule": Setting(whole.name, "option"),
        "T": Setting(whole.T, "option"),
        "predicts": Setting(predicts, "option"),
        "variance": Setting(variance if isinstance(variance, str) else _name(variance), "option"),
        "V_1": Setting(first if own else None, V_1_source, own),
        "clip": Setting(clip, clip_source),
        "decoder": Setting(ending, decoder_source),
        "time_input": Setting(told, "option"),
        **kind,
        **_ends(schedule, whole),
    }
    if steps is not None:
        settings["steps"] = Setting(f"{len(steps)} of 1..{whole.T}", "option")
    adapter = Adapter(network, arguments)
    return gaussian_model(
        adapter,
        whole if steps is None else whole.subchain(list(steps)),
        parametrization=_parametrization(predicts, support),
        variance=_variance(variance, first),
        decoder=_decoder(ending, support),
        time_input=_time_input(time_input, whole),
        clip=_clip(clip, support),
        grid=support,
        shape=shape,
        name=name or _name(network),
        facts={
            "schedule": _schedule_facts(whole),
            "time_input": told,
            "network": _network_facts(network, arguments or {}, adapter.beside),
            "sources": as_facts(settings),
        },
    )


def _check(network: object, variance: object) -> None:
    if not callable(network):
        raise BadInput(f"wrap takes a callable (x_t, time); got a {type(network).__name__}")
    if isinstance(variance, str) and variance not in VARIANCES:
        raise BadInput(
            f"variance is one of {', '.join(VARIANCES)}, or a function of a Schedule; "
            f"got {variance!r}"
        )


def _no_vain_choice(predicts: str, clip: object, V_1: object) -> None:
    """Refuses what would be recorded and change nothing."""
    if V_1 is not None:
        raise BadInput(
            f"V_1 = {V_1} would change nothing: it is decided by the levels decoder, by a learned "
            "variance, by a function of a Schedule; leave it out"
        )
    if predicts == "levels" and clip:
        raise BadInput("clip would change nothing: x0-hat of levels is in range by itself")


def _data(
    data: object, shape: tuple[int, ...] | None, levels: int | None
) -> tuple[tuple[int, ...], int]:
    """Shape and levels: of the data, or as given.

    Raises:
        BadInput: neither, or a contradiction.
    """
    if data is None:
        if shape is None or levels is None:
            missing = "shape" if shape is None else "levels"
            raise BadInput(
                f"wrap needs {missing}=: give shape=(C, H, W) and levels=256 (what 8-bit images "
                "have), or data="
            )
        return tuple(shape), levels
    images = load(data, levels=levels) if isinstance(data, str) else as_images(data, n=levels)
    return _agreed(shape, tuple(images.levels.shape[1:]), images.name), images.n


def _grid(
    data: object,
    shape: tuple[int, ...] | None,
    levels: int | None,
    range: tuple[float, float] | None,
) -> tuple[tuple[int, ...], Grid, dict[str, Setting]]:
    """Shape and grid of data with levels, and what is said of them."""
    shape, levels = _data(data, shape, levels)
    (lo, hi), source = chosen(range, (-1.0, 1.0))
    settings = {"levels": Setting(levels, "option"), "range": Setting([lo, hi], source)}
    return shape, Grid(levels, lo, hi), settings


def _shape_of_points(
    data: object, shape: tuple[int, ...] | None, of_levels: tuple[object, object, object]
) -> tuple[int, ...]:
    """The shape of data that are real numbers.

    Raises:
        BadInput: no shape, a contradiction, or levels, range or clip as only levels have them.
    """
    levels, range, clip = of_levels
    if levels is not None or range is not None or clip is True:
        raise BadInput(
            "decoder density is for data that are real numbers: leave levels= and range= out, and "
            "give clip= as a range"
        )
    if data is None:
        if shape is None:
            raise BadInput("wrap needs shape= or data=: the shape of one point, such as (2,)")
        return tuple(shape)
    points = as_points(load_for(Reals(), data) if isinstance(data, str) else data)
    return _agreed(shape, tuple(points.values.shape[1:]), points.name)


def _agreed(shape: tuple[int, ...] | None, found: tuple[int, ...], name: str) -> tuple[int, ...]:
    if shape is not None and tuple(shape) != found:
        raise BadInput(f"shape is {tuple(shape)} and the images of {name} are {found}")
    return found


def _clip(clip: bool | tuple[float, float] | None, support: Support) -> tuple[float, float] | None:
    """The range that x0-hat is clipped to."""
    if isinstance(clip, tuple):
        return clip
    return (support.lo, support.hi) if clip and isinstance(support, Grid) else None


def _parametrization(predicts: str, support: Support) -> Parametrization:
    if predicts == "levels":
        if not isinstance(support, Grid):
            raise BadInput("predicts levels is for data with levels: leave decoder density out")
        return Levels(support)
    if predicts not in PARAMETRIZATIONS:
        known = [*PARAMETRIZATIONS, "levels", *ALIASES]
        raise BadInput(f"predicts is one of {', '.join(known)}; got {predicts!r}")
    return PARAMETRIZATIONS[predicts]


def _schedule(schedule: Betas) -> Schedule:
    """The schedule itself, by name and arguments, or of betas.

    Raises:
        BadInput: an unknown name, arguments that it does not take, or betas outside (0, 1).
    """
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        schedule = {"name": schedule}
    if not isinstance(schedule, Mapping):
        betas = torch.as_tensor(schedule, dtype=torch.float64)
        if betas.ndim != 1:
            raise BadInput(f"betas are a sequence beta_1..beta_T; got shape {tuple(betas.shape)}")
        return from_betas(betas.tolist())
    arguments = dict(schedule)
    name = arguments.pop("name", None)
    if name not in SCHEDULES:
        raise BadInput(f"schedule is one of {', '.join(SCHEDULES)}, or betas; got {name!r}")
    try:
        return SCHEDULES[name](**arguments)
    except TypeError as error:
        raise BadInput(f"schedule {name}: {error}") from None


def _ends(schedule: Betas, whole: Schedule) -> dict[str, Setting]:
    """That the ends of the betas are the usual ones, where they are for another number of steps."""
    arguments = {"name": schedule} if isinstance(schedule, str) else schedule
    if not isinstance(arguments, Mapping) or arguments["name"] not in ENDS or whole.T == 1000:
        return {}
    if {"beta_1", "beta_T"} <= set(arguments):
        return {}
    ends = [float(whole.beta[1]), float(whole.beta[-1])]
    return {"beta_1, beta_T": Setting(ends, "default")}


def _variance(
    variance: str | Callable[[Schedule], Variance], V_1: float | str
) -> Callable[[Schedule], Variance]:
    if not isinstance(variance, str):
        return variance
    return partial(VARIANCES[variance], V_1=V_1)


def _decoder(name: str, support: Support) -> Decoder:
    if not isinstance(support, Grid):
        return Density()
    decoders: dict[str, Callable[[Grid], Decoder]] = {
        "discretized-gaussian": Discretized,
        "levels": LevelPosterior,
    }
    if name not in decoders:
        raise BadInput(
            f"decoder is one of {', '.join(decoders)}, over the levels of the data, or density, "
            f"of data that are real numbers; got {name!r}"
        )
    return decoders[name](support)


@final
@dataclass(frozen=True, eq=False)
class _OfTheWhole:
    """A function of (Schedule, t), called with the whole schedule and its t in every sub-chain.

    A sub-chain numbers its steps anew; the network knows the times that it was trained on.
    """

    function: TimeInput
    whole: Schedule

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        place = torch.searchsorted(self.whole.kept, schedule.kept[t - 1])
        return self.function(self.whole, place + 1)


def _time_input(time_input: str | TimeInput, whole: Schedule) -> TimeInput:
    if not isinstance(time_input, str):
        return _OfTheWhole(time_input, whole)
    if time_input not in TIMES:
        raise BadInput(
            f"time_input is one of {', '.join(TIMES)}, or a function of (Schedule, t); "
            f"got {time_input!r}"
        )
    return TIMES[time_input]


def _name(value: object) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _schedule_facts(schedule: Schedule) -> dict[str, Any]:
    ends = {"beta_1": float(schedule.beta[1]), "beta_T": float(schedule.beta[-1])}
    return {"name": schedule.name, "T": schedule.T, **ends}


def _network_facts(
    network: Callable[..., object], arguments: Mapping[str, object], beside: Sequence[nn.Module]
) -> dict[str, Any]:
    """What is known of the network, arguments in full where they are numbers or words."""
    facts: dict[str, Any] = {"name": _name(network)}
    if arguments:
        facts["arguments"] = {name: _shown(value) for name, value in arguments.items()}
    if not isinstance(network, nn.Module):
        names = ", ".join(_name(module) for module in beside)
        known = f"of {names}, which the callable evaluates" if names else "none, a plain callable"
        facts["weights_digest"] = known
    return facts


def _shown(value: object) -> object:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"tensor {tuple(value.shape)}"
    plain = value is None or isinstance(value, bool | int | str)
    finite = isinstance(value, float) and math.isfinite(value)
    return value if plain or finite else type(value).__name__

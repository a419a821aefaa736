"""A model of your own network: any (x_t, time) -> tensor, with every convention stated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from nelbo.arguments import shown, whole_numbers
from nelbo.errors import BadInput
from nelbo.formats.diffusers.scheduler import Scheduler
from nelbo.gaussian.decoder import Decoder
from nelbo.gaussian.on_path import Reading
from nelbo.gaussian.parametrization import Parametrization
from nelbo.gaussian.path import Path
from nelbo.gaussian.reverse import TimeInput
from nelbo.gaussian.schedule import Schedule
from nelbo.gaussian.variance import Variance, default_V_1
from nelbo.model import Model, gaussian_model
from nelbo.model.parts import TRAINED_VARIANCES, WRAPPED_TIMES
from nelbo.model.settings import Setting, Settings, Source, about_betas, chosen
from nelbo.model.spacing import evenly
from nelbo.networks.adapter import Adapter
from nelbo.types import Grid, Support
from nelbo.wrapping.kinds import (
    Common,
    clip_range,
    decoder_of,
    ending_of,
    kind_of_data,
    no_vain_clip,
    typed,
)
from nelbo.wrapping.paths import on_a_path
from nelbo.wrapping.schedules import Betas, agreeing, ends, schedule_and_scheduler
from nelbo.wrapping.stated import (
    OfTheWhole,
    given_of_images,
    keywords,
    label_of,
    name_of,
    network_facts,
)
from nelbo.wrapping.words import prediction, read_as, sigma_data_of

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

__all__ = ["wrap"]


def wrap(
    network: Callable[..., object],
    *,
    schedule: "Betas | SchedulerMixin | None" = None,
    predicts: str | Parametrization | None = None,
    variance: str | Callable[[Schedule], Variance] | None = None,
    time_input: str | TimeInput | Reading | None = None,
    path: str | Mapping[str, object] | Path | None = None,
    family: str | None = None,
    scale: str | Reading | None = None,
    sigma_data: float | None = None,
    log_snr: tuple[float, float] | None = None,
    data: object = None,
    shape: tuple[int, ...] | None = None,
    levels: int | None = None,
    range: tuple[float, float] | None = None,
    clip: bool | tuple[float, float] | None = None,
    V_1: float | str | None = None,
    decoder: str | Decoder | Callable[[Grid], Decoder] | None = None,
    steps: Sequence[int] | None = None,
    arguments: Mapping[str, object] | None = None,
    classes: int | None = None,
    conditions: Sequence[str] = (),
    name: str | None = None,
) -> Model:
    """p_theta(x_{t-1} | x_t) = N(posterior mean at x0-hat, V_t), x0-hat by network(x_t, time).

    A chain of betas is specified by schedule, predicts, variance and time_input; a path
    z_t = a_t x_0 + s_t eps by path, predicts, time_input and scale, or by the family that has these
    in common. Along a path the default is the limit of infinitely many steps; `model.every(N)` is
    the chain of N steps even in log SNR.

    network: any callable (x_t, time[, labels], **arguments) -> tensor (or a tuple, or an object
        with `.sample`), x_t (B, C, H, W), time (B,). Of an nn.Module, and of those that a function
        evaluates (in its closure, arguments, attributes, the globals it names), the weights are in
        the digest and the mode is evaluation; what is neither has no digest.
    schedule: a Schedule, a name, a table such as {"name": "linear", "T": 500, "beta_T": 0.04}, or
        the betas. One word means several things: linear is that of Ho et al. and diffusers, from
        1e-4 to 0.02 whatever T is, linear-by-T that of guided diffusion and lucidrains, whose ends
        are scaled by 1000/T; sigmoid is a law of betas (diffusers), sigmoid-lucidrains one of
        alpha_bar; cosine is Nichol and Dhariwal's everywhere but in D3PM: cosine-d3pm. Also
        scaled-linear (Stable Diffusion) and log-snr-linear. Or a scheduler of diffusers, whose
        config says the betas, the clipping and which steps a shorter chain keeps.
    predicts: eps, x_0, v, score, edm-F or levels, and along a path flow-velocity (also epsilon,
        sample, denoiser, v_prediction, velocity, flow_prediction); or a `Parametrization`.
    variance: small (beta-tilde), large (beta), learned-range (the second half of the channels),
        learned (that half is V_t itself), or a function of a Schedule. A sub-chain asks it again.
    time_input: what the network receives: index (0..T-1), t (1..T), fraction (t/T), log-snr, or a
        function of (Schedule, t): of the schedule given here and its t, in every sub-chain too.
        Along a path: t (the path's own), 1000 t, 999 t, 1 - t, sigma (s/a), log(sigma),
        log(sigma)/4, log(sigma/2), log-snr, or a function of a `Level`.
    path: vp-sde, sub-vp, ve, edm, flow or cosine; a table such as {"name": "flow", "data_at": 1},
        {"name": "ve", "sigma_max": 348} or {"name": "vp-sde", "beta_min": 0.1}; {"alpha": f,
        "sigma": g, "time": (0, 1)}, functions of a float64 tensor of times and the time at the data
        and at the noise; or tables of the steps that the network knows, alpha, sigma, time and,
        where a velocity is read, alpha_slope and sigma_slope.
    family: edm (F, as NVlabs' inner network), edm-denoiser (D(z, sigma), as its files hold),
        ncsnpp, flow-matching (the data at t = 1), diffusers-flow (at t = 0), sit (but for what it
        predicts). What is given besides takes its place.
    scale: what z is multiplied by: none, the default, c_in of EDM, unit (1/sqrt(a^2 + s^2)), or a
        function of a `Level`.
    sigma_data: of edm-F and c_in; default 0.5.
    log_snr: (first, last), between which the bound runs, a choice of whoever measures: at the first
        is the decoder, with variance 1/SNR, at the last the prior, and L_T is in the sum. Default
        the path's own ends; where these are infinite, sigma a quarter of the data's spacing, and
        -9.
    data: images, or a spec such as digits:test, that say shape and levels; else `shape` (C, H, W)
        and `levels`, the number of levels that a pixel has.
    range: the real numbers that level 0 and the last level stand for; default (-1, 1).
    clip: whether x0-hat is clipped to the range, or another range; default not. Not with levels.
    V_1: the decoder's variance, where small, large or learned-range leave it open: a number,
        beta_1, beta_tilde_2, the default of schedules of betas, or inverse_snr_1, the default where
        log SNR is given.
    decoder: discretized-gaussian, the default, levels, or density: then the data are real numbers,
        points (N, *dims) of any shape, without levels and range, and the bound is in nats/dim. Or
        a `Decoder`, or a function that makes one of the `Grid` of the data.
    steps: the t, 1..T, that the network knows, where those are not all: a network trained on
        t = 1..T-1 is the sub-chain `steps=range(1, T)`, with the same times as in the full chain.
    arguments: what else the network is called with; a tensor is one image's and is repeated over
        the batch (a class label: torch.tensor(3)).
    classes: how many an image may be of: the network is called with the labels of its images,
        third; the bound is of p(x | class). The data have labels (`nelbo.data.as_images`).
    conditions: what else the network is called with for each image, by keyword, whose rows the data
        have under the same names; the bound is of p(x | these).

    Raises:
        BadInput: an unknown choice, no shape or levels, or choices that do not go together.

    Example:
        >>> zero = lambda x_t, t: torch.zeros_like(x_t)
        >>> choices = {"predicts": "eps", "variance": "small", "time_input": "index"}
        >>> wrap(zero, schedule="linear", shape=(1, 8, 8), levels=17, **choices).T
        1000
    """
    if not callable(network):
        raise BadInput(f"wrap takes a callable (x_t, time); got a {type(network).__name__}")
    common = Common(
        data=data,
        shape=shape,
        levels=levels,
        range=range,
        clip=clip,
        V_1=V_1,
        decoder=decoder,
        arguments=arguments,
        classes=classes,
        conditions=conditions,
        name=name,
        sigma_data=sigma_data,
    )
    if path is not None or family is not None:
        _none_of_betas(schedule=schedule, variance=variance, steps=steps)
        return on_a_path(
            network,
            common,
            family=family,
            path=path,
            predicts=predicts,
            time_input=time_input,
            scale=scale,
            log_snr=log_snr,
        )
    _none_of_paths(scale=scale, log_snr=log_snr)
    _all_stated(schedule=schedule, predicts=predicts, variance=variance, time_input=time_input)
    return _of_betas(
        network,
        common,
        schedule=schedule,
        predicts=predicts,
        variance=variance,
        time_input=time_input,
        steps=steps,
    )


def _of_betas(
    network: Callable[..., object],
    common: Common,
    *,
    schedule: object,
    predicts: object,
    variance: object,
    time_input: object,
    steps: Sequence[int] | None,
) -> Model:
    """The model of `wrap` where there is a schedule.

    Raises:
        BadInput: as `wrap`.
    """
    kind_of_V = _checked(variance)
    output = prediction(predicts, along=False)
    ending, decoder_source = ending_of(common.decoder, output)
    shape, levels, range, clip, V_1 = typed(common)
    classes, conditions = given_of_images(common.classes, common.conditions)
    shape, support, kind = kind_of_data(ending, common.data, shape, (levels, range, clip))
    own = isinstance(kind_of_V, str) and kind_of_V != "learned" and ending != "levels"
    _no_vain_V_1(None if own else V_1)
    no_vain_clip(output, clip)
    deviation = sigma_data_of(common.sigma_data, output)
    whole, scheduler = schedule_and_scheduler(schedule)
    first, V_1_source = _first_variance(V_1, whole)
    clip, clip_source = _clip_of(clip, scheduler, output, support)
    settings = {
        "schedule": Setting(whole.name, "option"),
        "T": Setting(whole.T, "option"),
        "predicts": Setting(output, "option"),
        "variance": Setting(name_of(kind_of_V), "option"),
        "V_1": Setting(first if own else None, V_1_source, own),
        "clip": Setting(clip, clip_source),
        "decoder": Setting(ending, decoder_source),
        "time_input": Setting(name_of(time_input), "option"),
        **({} if deviation is None else {"sigma_data": deviation}),
        **kind,
        **ends(schedule, whole),
    }
    chain = whole if steps is None else whole.subchain(whole_numbers("steps", steps))
    if steps is not None:
        settings["steps"] = Setting(f"{chain.T} of 1..{whole.T}", "option")
    adapter = Adapter(network, keywords(common.arguments), conditions=conditions)
    model = gaussian_model(
        adapter,
        chain,
        parametrization=read_as(predicts, support, deviation),
        variance=_variance(kind_of_V, first),
        decoder=decoder_of(common.decoder or ending, support),
        time_input=_time_input(time_input, whole),
        clip=clip_range(clip, support),
        grid=support,
        shape=shape,
        name=label_of(common.name, network),
        settings=Settings(
            schedule=about_betas(whole),
            network=network_facts(network, common.arguments or {}, adapter.beside),
            sources=settings,
            notes=_scheduled_by(scheduler) | {"time_input": name_of(time_input)},
        ),
        spacing=evenly if scheduler is None or chain is not whole else scheduler.spacing,
    )
    return replace(model, classes=classes, conditions=conditions)


def _scheduled_by(scheduler: Scheduler | None) -> dict[str, str]:
    return {} if scheduler is None else {"scheduler": scheduler.name}


def _first_variance(V_1: float | str | None, whole: Schedule) -> tuple[float | str, Source]:
    rule: float | str = default_V_1(whole)
    return chosen(V_1, rule)


def _clip_of(
    clip: bool | tuple[float, float] | None,
    scheduler: Scheduler | None,
    predicts: str,
    support: Support,
) -> tuple[bool | tuple[float, float], Source]:
    """How x0-hat is clipped: as given, else as a scheduler's config says, else not."""
    if scheduler is None:
        return chosen(clip, False)
    agreeing(scheduler, predicts, clips=clip is not None)
    if clip is not None:
        return clip, "option"
    own = scheduler if isinstance(support, Grid) else scheduler.unclipped()
    return own.clip or False, own.settings["clip_sample"].source


def _none_of_betas(**given: object) -> None:
    """Refuses what specifies a chain of betas, beside a path."""
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"{name} is of a chain of betas, which no path has: leave it out")


def _none_of_paths(**given: object) -> None:
    """Refuses what specifies a path, beside a schedule."""
    for name, value in given.items():
        if value is not None:
            raise BadInput(f"{name} is of a path: give path= or family=, or leave it out")


def _all_stated(**given: object) -> None:
    """Refuses a convention that was left out, of those that a network does not show."""
    for name, value in given.items():
        if value is None:
            raise BadInput(f"wrap needs {name}=, or path= or family=: a network does not show it")


def _checked(variance: object) -> str | Callable[[Schedule], Variance]:
    """The variance, a word that is known or a function.

    Raises:
        BadInput: neither.
    """
    if callable(variance) or (isinstance(variance, str) and variance in TRAINED_VARIANCES):
        return variance
    raise BadInput(
        f"variance is one of {', '.join(TRAINED_VARIANCES)}, or a function of a Schedule; "
        f"got {shown(variance)}"
    )


def _no_vain_V_1(V_1: object) -> None:
    """Refuses what would be recorded and change nothing."""
    if V_1 is not None:
        raise BadInput(
            f"V_1 = {V_1} would change nothing: it is decided by the levels decoder, by a learned "
            "variance, by a function of a Schedule; leave it out"
        )


def _variance(
    variance: str | Callable[[Schedule], Variance], V_1: float | str
) -> Callable[[Schedule], Variance]:
    if not isinstance(variance, str):
        return partial(_made_by, variance)
    return partial(TRAINED_VARIANCES[variance], V_1=V_1)


def _made_by(variance: Callable[[Schedule], Variance], schedule: Schedule) -> Variance:
    """The variance that a person's function makes.

    Raises:
        BadInput: it makes none.
    """
    made = variance(schedule)
    if not isinstance(made, Variance):
        raise BadInput(
            f"variance must be a function of a Schedule that gives a Variance, such as "
            f"nelbo.gaussian.variance.small; got {shown(made)}"
        )
    return made


def _time_input(time_input: object, whole: Schedule) -> TimeInput:
    if callable(time_input):
        return OfTheWhole(time_input, whole)
    if not isinstance(time_input, str) or time_input not in WRAPPED_TIMES:
        raise BadInput(
            f"time_input is one of {', '.join(WRAPPED_TIMES)}, or a function of (Schedule, t); "
            f"got {shown(time_input)}"
        )
    return WRAPPED_TIMES[time_input]

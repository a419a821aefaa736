"""The bound of a data set under a model, as precisely as wanted."""

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack, final, overload

import torch

from nelbo.arguments import flag
from nelbo.data import Examples, Images, Points, packed, sizes_of
from nelbo.errors import BadInput
from nelbo.estimation import (
    Evaluator,
    Exhaustive,
    Processes,
    Progress,
    Replay,
    Sampling,
    Settings,
    Share,
    SharedOptions,
    Sum,
    examine,
    measuring,
    require_budget,
)
from nelbo.formats import Pipeline, as_model
from nelbo.model import Model, examples_of
from nelbo.results import Evaluation
from nelbo.results.context import environment
from nelbo.results.part import Part
from nelbo.results.per_image import PerImage
from nelbo.tasks.warnings import warnings_of
from nelbo.typed_json import Json

__all__ = ["Few", "Measured", "described_data", "evaluate", "of_levels"]

PILOT = 100  # images
FEWEST = 4  # evaluations of an image: two of L_0 and two later ones
MARGIN = 1.15  # times as many images as the pilot says


class Options(SharedOptions, total=False):
    """The options of `evaluate`, for those who check types."""

    distortion: bool
    subset: bool
    baselines: bool


@overload
def evaluate(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    part: None = None,
    **options: Unpack[Options],
) -> Evaluation: ...


@overload
def evaluate(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    part: tuple[int, int],
    **options: Unpack[Options],
) -> Part: ...


@overload
def evaluate(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    part: tuple[int, int] | None,
    **options: Unpack[Options],
) -> Evaluation | Part: ...


def evaluate(
    model: Model | str | Path | Pipeline,
    data: object,
    *,
    precision: float = 0.01,
    budget: int | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    distortion: bool = False,
    subset: bool = False,
    check: bool = True,
    baselines: bool = False,
    record: str | Path | None = None,
    part: tuple[int, int] | None = None,
    processes: Processes | None = None,
    command: str = "",
    progress: Progress = lambda done, expected, text: None,
) -> Evaluation | Part:
    """The bound of the images with two 95 % intervals: sampling of images, and Monte Carlo.

    By default a pilot, whose values are thrown away, says how many evaluations bring the 95 % Monte
    Carlo half-width to `precision` bits/dim or a tenth of what the spread between images leaves, at
    most 1,000 of each image (T where T is more); `budget` is a number of network evaluations in
    all; `exhaustive` evaluates every t of every image, as a model of one order always is, whose
    -log p is exact. A model of real numbers has a density: then the unit, of `precision` too, is
    nats/dim. data: Images, or a tensor, array or Dataset of levels
    (N, C, H, W), or of numbers on the model's grid; for a density Points or floats (N, *dims), or
    images where the model encodes them; or a spec or path. model: also a path, a name of the hub
    or a pipeline, as `nelbo.load` takes them. distortion: the reconstruction error at each t too.
    subset: only as many images, drawn at random by the seed, as bring the half-width for sampling
    of images to `precision`, by a pilot on 100 of them whose values are thrown away.
    check: whether a few rows are first evaluated together, again and alone, and a network whose
    output for an image depends on other images or on chance is refused; `estimator` says so.
    baselines: also what the images cost without a model: uniform, PNG, WebP, xz.
    record: a folder that keeps the outputs, from which the same call goes on after a kill.
    part: (number, of), for an exhaustive or exact evaluation: evaluates every `of`-th batch, and
    returns a `Part` to save; `nelbo.merge` makes the evaluation of all parts.

    Raises:
        BadInput: a precision, budget or batch size that is not positive, a subset without a
            precision to choose it by, a budget below two evaluations of L_0 and two later ones for
            each image, data of another shape, grid or kind, a record of something else; a network
            that fails, or that the check refuses.
        NonFinite: a term is NaN or infinite; the message names t, the images and the rank.
    """
    given = Settings(
        precision=precision,
        budget=budget,
        seed=seed,
        batch_size=batch_size,
        check=check,
        record=record,
        processes=Processes() if processes is None else processes,
        progress=progress,
    )
    exhaustive, distortion = flag("exhaustive", exhaustive), flag("distortion", distortion)
    given.require_one(exhaustive)
    model = as_model(model)
    share = None if part is None else Share.stated(part)
    exhaustive = exhaustive or model.exact
    if share is not None:
        _check_part(exhaustive, baselines)
    images, few = examples_of(model, data, given.seed), None
    if flag("subset", subset):
        _check_subset(model, budget is not None or exhaustive)
        few = Few.planned(model, images, given)
        images = few.images
    levels = of_levels(images) if flag("baselines", baselines) else None
    measured = Measured(model, images, given, exhaustive, distortion, few=few, share=share)
    if share is not None:
        return measured.part(share)
    return measured.evaluation(levels, command)


def _check_subset(model: Model, otherwise: bool) -> None:
    """Refuses a subset where no precision decides how much is evaluated."""
    if otherwise or model.exact:
        raise BadInput(
            "a subset is of as many images as a precision takes: leave out budget, exhaustive, "
            "part and order, or take fewer images yourself (--max-images)"
        )


def pilot_seed(seed: int) -> int:
    """Of the noise of a pilot, of which the estimate has none: its values are thrown away."""
    return int.from_bytes(hashlib.sha256(f"pilot {seed}".encode()).digest()[:7])


@final
@dataclass(frozen=True)
class Few:
    """Images drawn at random, as many as a half-width takes, and what the pilot for it took."""

    images: Examples
    of: int
    pilot: int
    evaluations: int
    seconds: float

    @classmethod
    def planned(cls, model: Model, images: Examples, given: Settings) -> "Few":
        """By the half-width of a pilot of as few evaluations of an image as there may be.

        It goes down with the root of the number of images, of which there are a seventh more than
        that: the pilot's spread is one of 100 images.
        """
        count = len(images)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(given.seed))
        if count <= PILOT:
            return cls(images, count, 0, 0, 0.0)
        some = images.subset(order[:PILOT].sort().values)
        seed = pilot_seed(given.seed)
        how = replace(given, budget=PILOT * FEWEST, record=None, seed=seed)
        pilot = Measured(model, some, how, False, False).evaluation(None, "")
        half = math.inf if pilot.half is None else pilot.half
        wanted = PILOT * MARGIN * (half / given.precision) ** 2
        number = given.processes.once(lambda: math.ceil(min(max(wanted, PILOT), count)))
        chosen = images if number == count else images.subset(order[:number].sort().values)
        return cls(chosen, count, PILOT, pilot.network_evaluations, pilot.seconds)

    def to_dict(self) -> dict[str, Json]:
        """What a report says of it."""
        return {"of": self.of, "pilot": self.pilot, "pilot_evaluations": self.evaluations}


def _check_part(exhaustive: bool, baselines: bool) -> None:
    """Refuses parts of what values decide, and what is of the whole alone."""
    if not exhaustive:
        raise BadInput(
            "parts need a plan that no value decides: give exhaustive=True (--exhaustive), or a "
            "masked model in one order (--order, --calls); budget and precision are shared out by "
            "a pilot's values"
        )
    if baselines:
        raise BadInput(
            "baselines are of the whole: leave them out of a part, and give them to merge"
        )


@final
class Measured:
    """A model measured on images: one evaluation, or a part of it, or what all parts make of it.

    replay: all parts, in which case the network is not evaluated.
    """

    def __init__(
        self,
        model: Model,
        images: Examples,
        given: Settings,
        exhaustive: bool,
        distortion: bool,
        *,
        few: "Few | None" = None,
        share: Share | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.started = time.perf_counter()
        self.model, self.images, self.replay, self.few = model, images, replay, few
        mode = {"exhaustive": True} if exhaustive else given.mode
        require_budget(None if exhaustive else given.budget, len(images), model.T)
        with measuring([model]):
            self.evaluator = evaluator = Evaluator(
                [model],
                images,
                given.seed,
                given.batch_size,
                given.processes,
                progress=given.progress,
                share=share,
            )
            self.checked = (
                examine([model], images, given.processes, given.check)
                if replay is None
                else replay.check
            )
        plan, record = {**mode, "distortion": distortion}, replay or given.record
        with evaluator.agreed(plan, record), measuring([model]):
            self.estimate = (Exhaustive if exhaustive else Sampling)(
                evaluator, distortion=distortion
            )
            self.estimator = _run(self.estimate, given.budget, given.precision)

    @property
    def seconds(self) -> float:
        """Since it began; of parts, those of all together."""
        if self.replay is not None:
            return self.replay.seconds
        return time.perf_counter() - self.started + (self.few.seconds if self.few else 0.0)

    @property
    def environment(self) -> dict[str, Json]:
        """Where it is, and where the parts were."""
        here = environment(self.model.device, self.model.dtype, self.evaluator.processes.size)
        return here if self.replay is None else {**here, "parts": self.replay.machines}

    def part(self, share: Share) -> Part:
        """What this part of the evaluation has of the network."""
        made = self.evaluator.done, self.seconds, self.checked, self.environment
        return share.part(self.evaluator.plan, *made)

    def evaluation(self, of_levels: Images | None, command: str) -> Evaluation:
        """The bound, by term; of_levels: also what these images cost by no model."""
        model, images, estimate = self.model, self.images, self.estimate
        total, described = estimate.total(), model.described()
        on_average, exactly = total.means(sizes := sizes_of(images))
        parts = {"L_T": estimate.L_T(), "L_mid": estimate.later(), "L_0": estimate.first()}
        few = {} if self.few is None else {"subset": self.few.to_dict()}
        own = {"seed": self.evaluator.seed, **_settings_of(self.evaluator), "check": self.checked}
        return Evaluation(
            total=on_average,
            monte_carlo=exactly,
            terms={name: part.means(sizes) for name, part in parts.items()},
            per_step=estimate.steps(),
            rows=_per_image(self.evaluator, total, parts),
            looks=estimate.looks,
            distortion=estimate.curve(),
            images=len(images),
            dims=model.dims,
            network_evaluations=self.evaluator.done + (self.few.evaluations if self.few else 0),
            seconds=self.seconds,
            estimator=self.estimator | few | own,
            model=described,
            data=described_data(model, images),
            environment=self.environment,
            command=command,
            unit=self.evaluator.unit,
            log_snr=None if model.log_snr is None else dict(enumerate(model.log_snr.tolist())),
            warnings=warnings_of(self.evaluator, 0, parts, described),
            baselines=None if of_levels is None else packed.baselines(of_levels),
        )


def of_levels(images: Examples) -> Images:
    """Refuses what has no levels, of which baselines are bits."""
    if not isinstance(images, Images):
        raise BadInput(f"{images.name}: baselines are bits of the levels of images")
    return images


def _settings_of(evaluator: Evaluator) -> dict[str, Json]:
    """Of the evaluations: rows in a batch, and how far x0-hat is off at t = 1, where known."""
    at_1 = evaluator.at_1()
    return {"batch_size": evaluator.batch, **({} if at_1 is None else {"x_0_hat_at_1": at_1})}


def _per_image(evaluator: Evaluator, total: Sum, parts: Mapping[str, Sum]) -> PerImage:
    """The bound of each image and its terms."""
    return PerImage(
        ids=evaluator.images.ids,
        total=total.values,
        se=total.variance.sqrt(),
        **{name: part.values for name, part in parts.items()},
        dims=evaluator.models[0].dims,
        unit=evaluator.unit,
        sources=evaluator.images.sources,
    )


def described_data(model: Model, data: Examples) -> dict[str, Json]:
    """What a report says of the data."""
    made_of = data.made_of if isinstance(data, Points) else None
    return {
        "name": data.name,
        "sha256": data.sha256,
        "split": data.split,
        **data.origin,
        "images": len(data),
        **({} if model.classes is None else {"labels": data.labels_sha256}),
        **({"conditions": data.conditions_sha256} if model.conditions else {}),
        **model.support.facts,
        **({} if made_of is None else {"encoded": dict(made_of)}),
    }


def _run(estimate: Exhaustive | Sampling, budget: int | None, precision: float) -> dict[str, Json]:
    """Runs an estimate to its end; what a report says of the estimator."""
    if isinstance(estimate, Exhaustive):
        return {"name": "exact" if estimate.exact else "exhaustive", **estimate.seen()}
    estimator: dict[str, Json] = {"name": "adaptive stratified"}
    evaluator = estimate.evaluator
    if budget is not None:
        estimate.spend(budget)
        estimator["budget"] = budget
    else:
        estimator["precision"] = precision
        estimator["stopped_by"] = estimate.until(
            precision * evaluator.models[0].dims * evaluator.unit.nats
        )
    estimator |= estimate.seen()
    estimator["phases"] = [len(rows) // len(evaluator.images) for rows in estimate.rows]
    estimator["controls"] = [
        {"name": test.name, "z": test.z, "passed": test.passed} for test in estimate.tests()
    ]
    return estimator

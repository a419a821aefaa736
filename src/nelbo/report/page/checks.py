"""What should be looked at before a figure is believed, each with what the result says of it."""

import itertools
import math
from dataclasses import dataclass
from enum import Enum
from typing import final

from nelbo.results.evaluation import Evaluation
from nelbo.results.warnings import TOO_FAR
from nelbo.typed_json import at, known_of, number_at, part_at, rows_at, whole_at

__all__ = ["SMALL_L_T", "Check", "State", "checks"]

SMALL_L_T = 0.01  # per dimension
FEW = 0.1  # of the steps
NEARLY = 1.25  # of a precision, by which a plan may miss it: the pilot is an estimate too


class State(Enum):
    """What came of a check: its word and its sign."""

    passed = ("passed", "✓")
    warning = ("look at this", "!")
    unknown = ("not known", "?")

    @property
    def word(self) -> str:
        """In words, since a colour alone says nothing."""
        return self.value[0]

    @property
    def sign(self) -> str:
        """At a glance."""
        return self.value[1]


@final
@dataclass(frozen=True)
class Check:
    """A question, what came of it, its figure, and a sentence."""

    name: str
    state: State
    figure: str
    why: str


def checks(result: Evaluation) -> list[Check]:
    """In the order of the bound: the chain, its end, the numbers, the estimate."""
    return [
        *_images(result),
        _settings(result),
        _warnings(result),
        _schedule(result),
        _end(result),
        _finite(result),
        _arithmetic(result),
        *_decoder(result),
        _controls(result),
        _coverage(result),
        _precision(result),
    ]


def _images(result: Evaluation) -> list[Check]:
    """Notes on the images, where there are any."""
    notes = []
    if result.data.get("trained_on"):
        what = result.unit.examples
        why = f"The model was trained on these very {what}: the bound on them is too good."
        notes.append(Check("Test data", State.warning, "trained on", why))
    if "decoded" in result.data:
        why = f"{result.data['decoded']}: the files hold no pixels, and another decoder may differ."
        notes.append(Check("Pixels", State.warning, "a decoder's", why))
    return notes


def _settings(result: Evaluation) -> Check:
    sources = part_at(result.model, "sources")
    if "sources" not in result.model:
        return Check(
            "Settings", State.passed, "all stated", "The model's own recipe says each one."
        )
    assumed = [
        name
        for name in sources
        if at(sources, name, "source") == "default" and at(sources, name, "changes_bound")
    ]
    if not assumed:
        why = "Each is from the model's files or was given."
        return Check("Settings", State.passed, "all stated", why)
    why = f"No file says {', '.join(assumed)}: the usual values were taken."
    return Check("Settings", State.warning, f"{len(assumed)} assumed", why)


def _warnings(result: Evaluation) -> Check:
    """What the result itself warns of, all of it; another check says at most that it is there."""
    if result.tree.get("warnings") is None:
        why = "The result does not say: it was measured by an older version."
        return Check("Warnings", State.unknown, "not tested", why)
    warnings = result.warnings
    if not warnings:
        why = "Nothing looks like conventions that are not the network's own. That is no proof."
        return Check("Warnings", State.passed, "none", why)
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    why = " ".join(f"{w[0].upper()}{w[1:]}." for w in warnings)
    return Check("Warnings", State.warning, count, why)


def _schedule(result: Evaluation) -> Check:
    stated = [result.log_snr_at(step.t) for step in result.per_step]
    known = [value for value in stated if value is not None]
    if len(known) < 2:
        why = "This chain has no log SNR, or one t alone was evaluated."
        return Check("Schedule", State.unknown, "no log SNR", why)
    falls = all(a > b for a, b in itertools.pairwise(known))
    figure = f"{known[0]:.1f} to {known[-1]:.1f}".replace("-", "−")
    why = "log SNR falls at every step that was evaluated."
    if falls:
        return Check("Schedule", State.passed, figure, why)
    return Check("Schedule", State.warning, figure, "log SNR rises somewhere along the chain.")


def _end(result: Evaluation) -> Check:
    L_T = result.figures[0].value
    figure = f"{L_T:.2g} {result.unit.name}"
    if L_T < SMALL_L_T:
        return Check("L_T small", State.passed, figure, "The chain ends where its samples begin.")
    why = "The chain ends before the data are gone: samples start from another noise."
    return Check("L_T small", State.warning, figure, why)


def _one(result: Evaluation) -> str:
    """An image, or a window of text."""
    return result.unit.examples.removesuffix("s")


def _finite(result: Evaluation) -> Check:
    values = [step.mean for step in result.per_step] + [term.value for term in result.figures]
    if all(math.isfinite(value) for value in [*values, result.per_dim]):
        why = f"No term of any {_one(result)} was infinite or not a number."
        return Check("Finite", State.passed, f"{result.images:,} {result.unit.examples}", why)
    return Check("Finite", State.warning, "not all", "A term is not finite.")


def _arithmetic(result: Evaluation) -> Check:
    if "x_t_rounded" in result.model:
        return Check("Arithmetic", State.warning, "x_t is rounded", "The warnings say where.")
    dtype, tf32 = result.environment.get("dtype"), result.environment.get("tf32")
    if dtype is None:
        return Check("Arithmetic", State.unknown, "no dtype", "The result does not say.")
    if dtype in ("float32", "float64") and not tf32:
        why = "Of the network; sums are float64."
        return Check("Arithmetic", State.passed, str(dtype), why)
    figure = f"{dtype}, TF32" if tf32 else str(dtype)
    why = "The network's own rounding is in the figure; compare with float32."
    return Check("Arithmetic", State.warning, figure, why)


def _decoder(result: Evaluation) -> list[Check]:
    if result.estimator.get("x_0_hat_at_1") is None:  # no V_1
        return []
    error = number_at(result.estimator, "x_0_hat_at_1", "in_deviations")
    figure = f"{error:.2g} × sqrt(V_1)"
    if error > TOO_FAR:
        return [Check("V_1", State.warning, figure, "It is too small, as the warnings say.")]
    warnings = result.warnings
    if any(warning.startswith("V_1 is too large") for warning in warnings):
        return [Check("V_1", State.warning, figure, "It is too large, as the warnings say.")]
    return [Check("V_1", State.passed, figure, "The error of x0-hat at t = 1 fits it.")]


def _controls(result: Evaluation) -> Check:
    controls = rows_at(result.estimator.get("controls") or [])
    failed = [control for control in controls if not control["passed"]]
    if not controls:
        why = "None was used: every t was evaluated, or the chain has none."
        return Check("Control variates", State.unknown, "none", why)
    if failed:
        names = ", ".join(str(control["name"]) for control in failed)
        why = f"Without {names}: its sum is not what is stated of it. The figure stands."
        return Check("Control variates", State.warning, f"{len(failed)} left out", why)
    largest = max(abs(number_at(control, "z")) for control in controls)
    why = "Their sums are what is stated of them, to the noise."
    return Check("Control variates", State.passed, f"|z| ≤ {largest:.1f}", why)


def _coverage(result: Evaluation) -> Check:
    steps = whole_at(result.model, "steps") if "steps" in result.model else 0
    evaluated = len(result.per_step)
    figure = f"{evaluated:,} of {steps:,} t"
    if result.estimator["name"] == "exhaustive":
        return Check("Evaluated t", State.passed, figure, f"Every t of every {_one(result)}.")
    pairs = result.network_evaluations / max(result.images * steps, 1)
    share = f"{100 * pairs:.2g} % of all ({_one(result)}, t) pairs"
    missed = known_of(result.estimator.get("chance_of_missing_a_t"))
    why = f"{share}. What sits in one t that was not evaluated is not seen"
    if missed is not None:
        why += f"; a given t was missed with a chance of up to {100 * missed:.2g} %"
    why += ". No upper limit is claimed."
    seen = State.passed if evaluated == steps else State.unknown
    state = seen if evaluated >= FEW * steps else State.warning
    return Check("Evaluated t", state, figure, why)


def _precision(result: Evaluation) -> Check:
    half = result.half_monte_carlo
    figure = "± unknown" if half is None else f"± {half:.2g}"
    wanted, stopped = (
        known_of(result.estimator.get("precision")),
        result.estimator.get("stopped_by"),
    )
    if wanted is None:
        why = "No precision was requested: this is what the evaluations gave."
        return Check("Precision", State.unknown, figure, why)
    if half is not None and half <= wanted:
        why = f"± {wanted:g} was requested (95 %, Monte Carlo)."
        return Check("Precision", State.passed, figure, why)
    if isinstance(stopped, str) and stopped.startswith("a tenth"):
        why = f"± {wanted:g} was requested; {stopped} was enough."
        return Check("Precision", State.passed, figure, why)
    if half is not None and stopped == "precision" and half <= NEARLY * wanted:
        why = f"± {wanted:g} was requested, and a pilot planned as many evaluations as it takes."
        return Check("Precision", State.passed, figure, why)
    return Check("Precision", State.warning, figure, f"± {wanted:g} was requested; {stopped}.")

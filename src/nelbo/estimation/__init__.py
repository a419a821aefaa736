"""Terms of the bound from a network: in batches, by several processes, with a record."""

from nelbo.estimation.adaptive import Sampling, require_budget
from nelbo.estimation.company import examine
from nelbo.estimation.evaluator import Evaluator, Progress, measuring
from nelbo.estimation.exhaustive import Exhaustive
from nelbo.estimation.parts import Replay, Share, missing
from nelbo.estimation.processes import Processes
from nelbo.estimation.record import Record
from nelbo.estimation.settings import Settings, SharedOptions
from nelbo.estimation.sums import Sum

__all__ = [
    "Evaluator",
    "Exhaustive",
    "Processes",
    "Progress",
    "Record",
    "Replay",
    "Sampling",
    "Settings",
    "Share",
    "SharedOptions",
    "Sum",
    "examine",
    "measuring",
    "missing",
    "require_budget",
]

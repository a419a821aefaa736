"""Asking networks for terms of the bound: in batches, by several processes, with a record."""

from nelbo.measure.asking import Asking, Progress, measuring
from nelbo.measure.census import Census
from nelbo.measure.examination import examine
from nelbo.measure.processes import Processes
from nelbo.measure.record import Record
from nelbo.measure.sampling import Sampling, Sum
from nelbo.measure.settings import Settings

__all__ = [
    "Asking",
    "Census",
    "Processes",
    "Progress",
    "Record",
    "Sampling",
    "Settings",
    "Sum",
    "examine",
    "measuring",
]

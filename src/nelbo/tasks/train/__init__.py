"""Training by the bound: a run folder that one process owns, and that survives a kill."""

from nelbo.tasks.train.log import LOG, SPEED
from nelbo.tasks.train.loop import Progress
from nelbo.tasks.train.run import begun, train

__all__ = ["LOG", "SPEED", "Progress", "begun", "train"]

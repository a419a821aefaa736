"""What every conditional of a chain is: something to draw from and to score with.

A conditional of the theorem is a function that returns one of these, never a tuple of
parameters. Sums run over the dimensions of an example, so scores are nats per example.
"""

from abc import ABC, abstractmethod
from typing import TypeVar

from nelbo.bound.noise import Noise
from nelbo.types import Batch, Nats

__all__ = ["Distribution", "StepDistribution"]


class Distribution(ABC):
    """A distribution over one example, for each of B examples."""

    @abstractmethod
    def sample(self, noise: Noise) -> Batch:
        """One draw per example."""

    @abstractmethod
    def log_prob(self, x: Batch) -> Nats:
        """log p(x), a density or a mass, summed over the dimensions of each example."""


S = TypeVar("S", bound="StepDistribution")


class StepDistribution(Distribution):
    """A distribution with a Kullback-Leibler divergence in closed form within its family."""

    @abstractmethod
    def kl(self: S, other: S) -> Nats:
        """KL(self || other), summed over the dimensions of each example."""

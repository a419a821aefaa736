"""A prior over many levels from few numbers: Gaussians and two atoms, times the exact likelihood.

Over 256 levels `Levels` asks for 256 channels and a softmax over them for every pixel; a mixture
has its posterior mean in closed form, at the price of a network that predicts x_0.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from nelbo.gaussian.parametrization import LevelPrior, Output
from nelbo.types import Batch, Grid

__all__ = ["Mixture"]


class _Prior(NamedTuple):
    """The components of each pixel (axis 2), the two atoms first: means and variances."""

    log_weight: Float[Tensor, "B C parts *inner"]
    mean: Float[Tensor, "B C parts *inner"]
    var: Float[Tensor, "B C parts *inner"]


@final
@dataclass(frozen=True)
class Mixture(LevelPrior):
    """p(x_0) of a pixel = sum_j w_j N(m_j, s_j^2) + atoms at both ends; p(x_0 | x_t) by Bayes.

    The likelihood N(x_t; sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t) is exact, so each component has
    a Gaussian posterior and x0-hat is their mean, weighted by how well each explains x_t. The
    atoms are the levels at which images clip: a background costs nothing once it is recognised.
    s_j is at least that of a level's own bin, spacing / sqrt(12).

    The decoder's level masses are those of the density at each level, normalised over the levels.
    Source: the closed form of a mixture's denoiser, with the mixture over levels of PixelCNN++
    (Salimans et al. 2017, section 2.1) as the prior in place of D3PM's logits.

    Output channels: 3 K + 2 for each data channel: K + 2 log weights, K means, K log scales.
    """

    grid: Grid
    components: int
    name: str = "mixture"

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return 3 * self.components + 2

    def x_0_given(
        self,
        output: Output,
        x_t: Batch,
        alpha_bar: Float[Tensor, "..."],
        one_minus_alpha_bar: Float[Tensor, "..."],
    ) -> Batch:
        prior, a = self._prior(output, x_t), alpha_bar.sqrt().unsqueeze(2)
        var = alpha_bar.unsqueeze(2) * prior.var + one_minus_alpha_bar.unsqueeze(2)
        residual = x_t.unsqueeze(2) - a * prior.mean
        log_evidence = -0.5 * (residual.square() / var + var.log())
        weight = torch.softmax(prior.log_weight + log_evidence, dim=2)
        return (weight * (prior.mean + a * prior.var / var * residual)).sum(2)

    def log_prior(self, output: Output, x_t: Batch) -> Float[Tensor, "B C n *inner"]:
        """log p(level k), not normalised: the density at v_k times the spacing, and the atoms."""
        prior = self._prior(output, x_t)
        ends = prior.log_weight[:, :, :2]
        values = self.values(prior.mean)
        log_mass = torch.full_like(values + ends[:, :, :1], -math.inf)
        constant = math.log(self.grid.spacing) - 0.5 * math.log(2 * math.pi)
        for part in range(2, 2 + self.components):  # apart: all at once is K times the memory
            log_weight, mean, var = (x[:, :, part : part + 1] for x in prior)
            log_density = -0.5 * ((values - mean).square() / var + var.log())
            log_mass = torch.logaddexp(log_mass, log_weight + log_density + constant)
        first, inner, last = log_mass.split((1, self.grid.n - 2, 1), dim=2)
        first = torch.logaddexp(first, ends[:, :, :1])
        return torch.cat([first, inner, torch.logaddexp(last, ends[:, :, 1:])], dim=2)

    def _prior(self, output: Output, x_t: Batch) -> _Prior:
        """The network's numbers as components; all zero: evenly spaced, alike and touching."""
        K, grid = self.components, self.grid
        numbers = output.reshape(len(x_t), x_t.shape[1], self.outputs, *x_t.shape[2:])
        weights, shift, log_scale = numbers.split((K + 2, K, K), dim=2)
        width = (grid.hi - grid.lo) / K
        place = grid.lo + width * (torch.arange(K, dtype=x_t.dtype, device=x_t.device) + 0.5)
        inner = (1,) * (x_t.ndim - 2)
        mean = place.reshape(-1, *inner) + shift
        ends = x_t.new_tensor([grid.lo, grid.hi]).reshape(-1, *inner).expand_as(weights[:, :, :2])
        var = grid.spacing**2 / 12 + (0.5 * width * log_scale.exp()).square()
        zero = torch.zeros_like(ends)
        return _Prior(
            torch.log_softmax(weights, dim=2),
            torch.cat([ends, mean], dim=2),
            torch.cat([zero, var], dim=2),
        )

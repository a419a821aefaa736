"""A control that says nothing where it is fitted must do no harm where it says much."""

import torch

from nelbo.bound.estimators import spread_offsets, stratified
from nelbo.bound.noise import KeyedNoise
from nelbo.estimation.strata import Combined, Layout

T, IMAGES = 100, 20


def estimates(seed, skew):
    """(estimate, its standard error) of the mean over the images, truth 1, with a useless control.

    The control is next to nothing in most places, and in some as large as the term.
    """
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(T - 1, IMAGES, dtype=torch.float64, generator=generator)
    value /= value.sum(0)
    control = torch.randn(T - 1, IMAGES, dtype=torch.float64, generator=generator)
    control = (skew * (control - 2).clamp(max=0)).exp() / T
    layout = Layout.even(torch.ones(T - 1, dtype=torch.float64))
    totals = torch.zeros(IMAGES, layout.count, dtype=torch.float64)
    totals.index_add_(1, layout.bin, control.T)
    combined = Combined(layout, IMAGES, ("noise",), totals.expand(2, -1, -1)[..., None])
    for stage, strata in enumerate((2, 6)):
        keys = (
            KeyedNoise.of(1000 * seed + 100 * stage + part, torch.arange(IMAGES))
            for part in range(strata)
        )
        offsets = torch.stack([spread_offsets(key) for key in keys])
        rows = stratified(layout.share, strata, offsets)
        place = (rows.t - 2, rows.image)
        combined.add(rows, value[place], control[place][:, None])
    mean, variance = combined.estimate()
    return float(mean.mean()), float(variance.sum().sqrt() / IMAGES)


def test_a_control_of_any_skewness_does_no_harm():
    """Kills: coefficients that are not shrunk, or only as far as the control's own size says."""
    for skew in (1.0, 5.0, 15.0):
        for seed in range(20):
            mean, _ = estimates(seed, skew)
            assert abs(mean - 1) < 0.2, (skew, seed, mean)

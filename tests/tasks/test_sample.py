import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PLAIN, VDM, changed
from nelbo import formats
from nelbo import recipe as recipes
from nelbo.errors import BadInput, NonFinite
from nelbo.sampling.pictures import encoder, picture_grid
from nelbo.tasks.sample import sample


def test_a_sample_depends_on_its_number_and_seed_alone(run):
    """Kills: a generator shared by the batch."""
    model = formats.load(run).every(5)
    many, few = sample(model, 6, seed=3), sample(model, 2, seed=3)
    assert torch.equal(many[:2], few)
    assert not torch.equal(sample(model, 2, seed=4), few)
    assert many.min() >= 0
    assert many.max() <= 16
    assert len(torch.unique(many.flatten(1), dim=0)) == 6


def test_no_samples_are_refused(run):
    with pytest.raises(BadInput, match="at least 1; got 0"):
        sample(formats.load(run), 0)


def test_a_network_that_gives_nan_stops_the_sampling_by_name(run):
    model = formats.load(run).every(5)
    inner = model.network.forward
    model.network.forward = lambda x_t, time: (
        inner(x_t, time) + torch.tensor([0.0, torch.nan, 0])[:, None, None, None]
    )
    with pytest.raises(NonFinite, match=r"samples \[1\] are not finite at t = 5 \(rank 0\)"):
        sample(model, 3, check=False)


FAMILIES = {
    "levels": ("digits", {"chain.schedule.T": 4}),
    "discretized Gaussian": ("digits", PLAIN | {"chain.schedule.T": 4}),
    "continuous": ("digits-vdm", VDM | {"chain.T": 4}),
    "categorical": ("digits-d3pm", {"chain.schedule.T": 4}),
}
CALLED = {name: (4, 2, 1) for name in FAMILIES} | {"continuous": (4, 2)}  # its decoder calls none


@pytest.mark.parametrize(("family", "t"), [(name, t) for name in CALLED for t in CALLED[name]])
def test_a_nan_at_any_t_of_any_family_is_no_sample(family, t):
    """Kills: a NaN that is drawn as level 0, by a decoder or by every step of states."""
    name, changes = FAMILIES[family]
    model = recipes.build(changed(name, {"network.width": 8} | changes), (1, 8, 8), 17)
    inner, calls = model.called.forward, itertools.count(1)

    def broken(x_t, time):
        output = inner(x_t, time)
        if next(calls) == model.T + 1 - t:
            output[1] = torch.nan
        return output

    model.called.forward = broken
    with pytest.raises(NonFinite, match=rf"samples \[1\] are not finite at t = {t} \(rank 0\)"):
        sample(model, 3, check=False)


def test_the_picture_holds_every_pixel_of_every_image(tmp_path):
    """Kills: a transposed or interpolated grid."""
    levels = torch.arange(5 * 3 * 4).reshape(5, 1, 3, 4) % 17
    for scale in (1, 4):
        path = tmp_path / f"{scale}.png"
        path.write_bytes(picture_grid(levels, 17, scale))
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        for number, image in enumerate(levels[:, 0].numpy()):
            top, left = (number // 3) * 4 * scale, (number % 3) * 5 * scale
            cell = pixels[top : top + 3 * scale, left : left + 4 * scale]
            enlarged = np.kron(image, np.ones((scale, scale)))
            assert np.array_equal(cell, np.round(enlarged * 255 / 16))


def test_an_array_of_samples_is_written_as_it_is(tmp_path):
    levels = torch.arange(12).reshape(3, 1, 2, 2)
    path = tmp_path / "s.npy"
    path.write_bytes(encoder(path)(levels, 17))
    assert np.array_equal(np.load(path), levels.numpy())


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    for path, message in (
        (tmp_path / "s.gif", r"as \.png, \.npy, or \.txt of text; got \.gif"),
        (tmp_path / "s", "got none"),
        (tmp_path / "no" / "s.png", "its folder does not exist"),
    ):
        with pytest.raises(BadInput, match=message):
            encoder(path)

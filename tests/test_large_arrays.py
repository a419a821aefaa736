"""Arrays that stay on the disk: the same images and digests, and little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nelbo.data import arrays, load

MOST = 500  # MiB that opening 15.7 GB and evaluating some of it may hold


@pytest.mark.parametrize("shape", [(7, 5, 4, 3), (7, 3, 5, 4), (7, 5, 4)])
def test_a_mapped_array_is_the_images_that_it_would_be(shape, tmp_path, monkeypatch):
    """Kills: channels last taken as first, a digest of the bytes as they lie, all rows read for
    some of them, a copy that forgets labels or ids.
    """
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    read = load(path)
    monkeypatch.setattr(arrays, "LARGE", 1)
    monkeypatch.setattr("nelbo.data.images.BLOCK", 2)
    mapped = load(path, levels=256)
    assert mapped.mapped
    assert not read.mapped
    assert torch.equal(mapped.levels, read.levels)
    assert mapped.sha256 == read.sha256
    assert repr(mapped) == repr(read)
    some = mapped.subset([5, 2])
    assert not some.mapped
    assert some.ids.tolist() == [5, 2]
    assert some.sha256 == read.subset([5, 2]).sha256
    assert dict(some.origin) == {"taken_of": 7}
    assert dict(read.subset([5, 2]).origin) == {}
    few = tmp_path / "few.npy"
    np.save(few, np.zeros(shape, dtype=np.uint8))
    assert not load(few, levels=17).mapped  # its bytes have to be looked at


def test_an_array_of_15_gigabytes_takes_little_memory(tmp_path):
    """Kills: an array copied, checked or digested as a whole when some of its images are used."""
    script = Path(__file__).parent / "large.py"
    command = [sys.executable, script, tmp_path / "large.npy", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, opened, evaluated = map(float, done.stdout.split())
    assert opened <= evaluated < MOST

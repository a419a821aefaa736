"""Arrays that stay on the disk: the same images and digests, and little memory."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_file

from nelbo.data import arrays, load
from nelbo.errors import BadInput

MOST = 500  # MiB that opening 15.7 GB and evaluating some of it may hold


def written(path, array):
    """The array in a file of the kind that its suffix names."""
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        save_file({"images": array, "labels": np.arange(len(array))}, path)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("shape", [(7, 5, 4, 3), (7, 3, 5, 4), (7, 5, 4)])
def test_a_mapped_array_is_the_images_that_it_would_be(shape, suffix, tmp_path, monkeypatch):
    """Kills: channels last taken as first, a digest of the bytes as they lie, all rows read for
    some of them, a copy that forgets labels or ids.
    """
    path = tmp_path / f"a{suffix}"
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    written(path, array)
    read = load(path)
    np.save(tmp_path / "b.npy", array)
    assert read.sha256 == load(tmp_path / "b.npy").sha256
    monkeypatch.setattr(arrays, "LARGE", 1)
    monkeypatch.setattr("nelbo.data.images.BLOCK", 2)
    mapped = load(path, levels=256)
    assert mapped.mapped
    assert not read.mapped
    assert torch.equal(mapped.levels, read.levels)
    levels = np.ascontiguousarray(read.levels.numpy())
    whole = f"nelbo.images/1 {levels.shape} 256\n".encode() + levels.tobytes()
    assert mapped.sha256 == read.sha256 == hashlib.sha256(whole).hexdigest()
    assert repr(mapped) == repr(read)
    some = mapped.subset([5, 2])
    assert not some.mapped
    assert some.ids.tolist() == [5, 2]
    assert some.sha256 == read.subset([5, 2]).sha256
    assert dict(some.origin) == {"taken_of": 7}
    assert dict(read.subset([5, 2]).origin) == {}
    few = tmp_path / f"few{suffix}"
    written(few, np.zeros(shape, dtype=np.uint8))
    assert not load(few, levels=17).mapped  # its bytes have to be looked at
    if suffix == ".safetensors":
        assert load(path, labels=True).subset([5, 2]).labels.tolist() == [5, 2]


def test_a_tensor_of_a_file_is_the_one_that_was_saved(tmp_path):
    """Kills: bytes of another tensor, another type, a damaged file that is read all the same.

    Law: what is mapped is what safetensors itself reads, for every type.
    """
    draw = np.random.default_rng(0)
    for kind in ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"):
        tensors = {name: draw.integers(0, 2, (3, 2, 2)).astype(kind) for name in ("a", "images")}
        save_file(tensors, tmp_path / "t.safetensors")
        mapped = arrays.opened(tmp_path / "t.safetensors")
        assert mapped.dtype == tensors["images"].dtype
        assert mapped.tolist() == tensors["images"].tolist()
    save_file({"a": np.zeros((2, 3, 3)), "b": np.zeros(2)}, tmp_path / "two.safetensors")
    with pytest.raises(BadInput, match="2 arrays"):
        load(tmp_path / "two.safetensors")
    whole = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(whole[:-1])
    with pytest.raises(BadInput, match=r"cannot be read as a \.safetensors file"):
        load(tmp_path / "t.safetensors")
    torch_file({"x": torch.zeros(2, 3, 3, dtype=torch.bfloat16)}, tmp_path / "n.safetensors")
    with pytest.raises(BadInput, match="x is BF16, which numpy has not: store it as F32"):
        load(tmp_path / "n.safetensors")


@pytest.mark.parametrize("suffix", [".npy", ".arrow"])
def test_an_array_of_15_gigabytes_takes_little_memory(suffix, tmp_path):
    """Kills: an array copied, checked or digested as a whole when some of its images are used."""
    if suffix == ".arrow":
        pytest.importorskip("pyarrow")
    script = Path(__file__).parent.parent / "benchmarks" / "large.py"
    command = [sys.executable, script, tmp_path / f"large{suffix}", "--images", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["images of the file"] == 1_281_167
    assert result["MiB when open"] <= result["MiB when evaluated"] < MOST

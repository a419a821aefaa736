import pytest
import torch
from safetensors.torch import load_file

from nelbo import checkpoint
from nelbo.checkpoint import Checkpoint
from nelbo.errors import BadInput


@pytest.fixture
def path(tmp_path):
    tensors = {"a.w": torch.arange(6.0).reshape(2, 3), "b.n": torch.tensor(7)}
    return checkpoint.save(tmp_path / "c.safetensors", Checkpoint(tensors, {"x": [1, "two"]}))


def test_what_is_saved_is_loaded(path):
    """Kills: a tensor or description lost or renamed."""
    stored = checkpoint.load(path)
    assert stored.description == {"x": [1, "two"]}
    assert set(stored.tensors) == {"a.w", "b.n"}
    assert torch.equal(stored.part("a")["w"], torch.arange(6.0).reshape(2, 3))


def test_any_safetensors_reader_opens_it(path):
    assert torch.equal(load_file(path)["b.n"], torch.tensor(7))


def test_equal_checkpoints_are_equal_bytes(path, tmp_path):
    stored = checkpoint.load(path)
    again = checkpoint.save(tmp_path / "again.safetensors", stored)
    assert again.read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_refused(path):
    """Kills: a digest that leaves out the header, the digest or the tensors.

    safetensors alone loads 99.6 % of such files silently.
    """
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(BadInput, match="damaged"):
                checkpoint.load(path)


def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(BadInput, match="damaged"):
            checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.safetensors: No such file"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_a_newer_format_is_reported_to_be_newer(path, monkeypatch):
    stored = checkpoint.load(path)
    monkeypatch.setattr(checkpoint, "FORMAT", "nelbo.checkpoint/9")
    checkpoint.save(path, stored)
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"format nelbo\.checkpoint/9, this nelbo reads"):
        checkpoint.load(path)


def test_a_failing_write_leaves_the_old_file_and_no_litter(path, monkeypatch):
    """Kills: writing in place."""
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nelbo.files.os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, Checkpoint({}, {}))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]

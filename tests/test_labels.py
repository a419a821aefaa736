"""The class of each image: read where it is asked for, kept with its image, in a digest apart."""

import gzip
import struct

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nelbo.data import Images, load
from nelbo.data.examples import Examples
from nelbo.errors import BadInput

LEVELS = np.arange(5 * 20, dtype=np.uint8).reshape(5, 4, 5)
LABELS = np.array([3, 0, 9, 9, 1], np.uint8)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
IMAGES = struct.pack(">4I", 0x803, *LEVELS.shape) + LEVELS.tobytes()


def idx(labels=LABELS, magic=0x801):
    return struct.pack(">2I", magic, len(labels)) + labels.tobytes()


def written(folder, labels, end=""):
    (folder / FILES[0]).write_bytes(IMAGES)
    if labels is not None:
        (folder / f"{FILES[1]}{end}").write_bytes(labels)
    return f"mnist:{folder}:train"


def test_the_digits_have_the_labels_of_scikit_learn_and_the_digests_that_they_had():
    """Kills: labels in another order than the images, a part with the labels of the whole."""
    whole, target = load("digits"), load_digits().target
    assert whole.labels.tolist() == target.tolist()
    order = np.random.default_rng(0).permutation(1797)
    for split, part in (("train", order[:1297]), ("test", order[1297:])):
        assert load(f"digits:{split}").labels.tolist() == target[part].tolist()
    assert whole.sha256.startswith("a663031cad")
    assert load("digits:train").sha256.startswith("3a56806844")
    assert load("digits:test").sha256.startswith("42d93a4051")


def test_labels_stay_with_their_images():
    """Kills: labels of the first images, in a subset of others."""
    whole = load("digits")
    some = whole.subset([7, 3, 1700])
    assert some.labels.tolist() == whole.labels[[7, 3, 1700]].tolist()
    assert some.first(2).labels.tolist() == some.labels[:2].tolist()


def test_labels_have_a_digest_of_their_own():
    """Kills: labels that change the digest of the images, or none."""
    levels = torch.from_numpy(LEVELS[:, None].copy())
    bare, with_labels, other = (
        Images("x", None, levels, 256, labels=labels)
        for labels in (None, torch.from_numpy(LABELS), torch.from_numpy(LABELS[::-1].copy()))
    )
    assert bare.sha256 == with_labels.sha256 == other.sha256
    assert bare.labels_sha256 is None
    assert with_labels.labels.dtype == torch.int64
    assert with_labels.labels_sha256 != other.labels_sha256
    assert Examples.labels is None


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(5),
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(5, 1, dtype=torch.int64),
        torch.tensor([0, 1, -1, 0, 0]),
    ],
    ids=["floats", "few", "columns", "negative"],
)
def test_what_is_no_class_of_each_image_is_refused(labels):
    levels = torch.from_numpy(LEVELS[:, None].copy())
    with pytest.raises(BadInput, match="x: labels are one class for each of 5 images"):
        Images("x", None, levels, 256, labels=labels)


@pytest.mark.parametrize(("end", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_the_labels_of_mnist_are_read_where_they_are_requested(tmp_path, end, pack):
    """Kills: a missing file of labels that stops who has no use for them."""
    spec = written(tmp_path, None)
    assert load(spec).labels is None
    written(tmp_path, pack(idx()), end)
    loaded = load(spec, labels=True)
    assert loaded.labels.tolist() == LABELS.tolist()
    assert load(spec).labels is None
    assert loaded.sha256 == load(spec).sha256
    with pytest.raises(BadInput, match="neither t10k-images-idx3-ubyte nor"):
        load(f"mnist:{tmp_path}", labels=True)
    for kind, content in (("images-idx3", IMAGES), ("labels-idx1", idx(LABELS[::-1].copy()))):
        (tmp_path / f"t10k-{kind}-ubyte").write_bytes(content)
    both = load(f"mnist:{tmp_path}", labels=True)
    assert both.labels.tolist() == [*LABELS, *LABELS[::-1]]


@pytest.mark.parametrize(
    ("labels", "end", "words"),
    [
        (None, "", "holds neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz"),
        (idx()[:-1], "", "promises 5 bytes of labels and holds 4 bytes"),
        (idx() + b"x", "", "promises 5 bytes of labels and holds more"),
        (idx()[:6], "", "is not an idx file of labels (magic 00000801, not 00000801)"),
        (b"", "", "is not an idx file of labels (magic missing, not 00000801)"),
        (IMAGES, "", "is not an idx file of labels (magic 00000803, not 00000801)"),
        (idx(LABELS[:4]), "", "holds 4 labels of 5 images"),
        (gzip.compress(idx(), mtime=0)[:-9], ".gz", "is damaged"),
    ],
)
def test_labels_that_are_not_whole_are_refused_by_name(tmp_path, labels, end, words):
    """Kills: labels of a damaged file."""
    spec = written(tmp_path, labels, end)
    with pytest.raises(BadInput) as refused:
        load(spec, labels=True)
    message = str(refused.value)
    assert words in message
    assert len(message.splitlines()) == 1
    assert (str(tmp_path) if labels is None else FILES[1]) in message
    load(spec)


def test_the_labels_of_cifar10_are_the_bytes_before_its_images(tmp_path):
    """Kills: a class of the next record, labels that become pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3 * 32 * 32), np.uint8)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        np.concatenate([LABELS[:, None], pixels], axis=1).tofile(tmp_path / f"{name}.bin")
    loaded = load(f"cifar10:{tmp_path}:train", labels=True)
    assert loaded.labels.tolist() == [*LABELS] * 5
    assert np.array_equal(loaded.levels[:5].flatten(1).numpy(), pixels)
    assert load(f"cifar10:{tmp_path}:test").labels is None


def test_an_array_file_may_have_labels_beside_its_images(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=LEVELS, labels=LABELS)
    assert load(str(path), labels=True).labels.tolist() == LABELS.tolist()
    assert load(str(path)).labels is None
    np.savez(path, images=LEVELS)
    assert load(str(path), labels=True).labels is None
    np.save(tmp_path / "x.npy", LEVELS)
    assert load(str(tmp_path / "x.npy"), labels=True).labels is None
    for wrong, words in (
        (LABELS / 2, "its labels are float64"),
        (LABELS[:3], "one class for each"),
    ):
        np.savez(path, images=LEVELS, labels=wrong)
        with pytest.raises(BadInput, match=words):
            load(str(path), labels=True)
        load(str(path))

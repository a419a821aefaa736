"""What images cost by no model."""

import json
import lzma
import math
import sys
from io import BytesIO

import imagecodecs
import pytest
import torch
from PIL import Image

from nelbo import data, evaluate
from nelbo.data import Images
from nelbo.data.packed import baselines
from nelbo.errors import BadInput


def test_baselines_are_the_sizes_of_the_files():
    """Each file is read back by its own library and holds the image; sizes are those of the files.

    Kills: bytes for bits, dims of one image for all, pixels spread over 0..255.
    """
    images = data.load("digits:test").first(9)
    result, cells = baselines(images), 9 * 64
    assert result["uniform"] == math.log2(17)
    files = []
    for levels in images.levels:
        buffer = BytesIO()
        Image.fromarray(levels[0].numpy()).save(buffer, "PNG", optimize=True)
        files.append(buffer.getvalue())
    assert result["PNG, a file each"] * cells == pytest.approx(8 * sum(map(len, files)), rel=1e-12)
    whole = lzma.compress(images.levels.numpy().tobytes(), preset=9 | lzma.PRESET_EXTREME)
    assert result["xz -9e, one of all"] * cells == pytest.approx(8 * len(whole), rel=1e-12)
    arrays = images.levels[:, 0].numpy()
    files = [imagecodecs.jpegxl_encode(x, lossless=True, effort=9) for x in arrays]
    for content, array in zip(files, arrays, strict=True):
        assert (imagecodecs.jpegxl_decode(content) == array).all()
    size = result["JPEG XL lossless, a file each"] * cells
    assert size == pytest.approx(8 * sum(map(len, files)), rel=1e-12)
    assert len(result) == 5


def test_a_format_whose_library_is_not_there_is_left_out(monkeypatch):
    """Kills: an import of imagecodecs, which is an extra, for whoever has not installed it."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    names = set(baselines(data.load("digits:test").first(2)))
    assert names == {
        "uniform",
        "PNG, a file each",
        "WebP lossless, a file each",
        "xz -9e, one of all",
    }


def test_what_is_no_picture_has_no_file_of_one():
    """Kills: five channels as a PNG, sixteen bits cut to eight."""
    five = Images("x", None, torch.zeros(2, 5, 4, 4, dtype=torch.uint8), 256)
    deep = Images("x", None, torch.full((2, 1, 4, 4), 999), 1000)
    for images in (five, deep):
        assert set(baselines(images)) == {"uniform", "xz -9e, one of all"}


def test_the_command_and_python_give_the_same(nelbo, run, tmp_path):
    """Kills: a key that is there though nothing was computed, baselines of other images."""
    options = ("--budget", 100, "--max-images", 12, "--json", tmp_path / "r.json")
    code, out, _ = nelbo("evaluate", run, *options, "--baselines")
    assert code == 0
    assert "by no model: 4.0875  uniform" in out
    tree = json.loads((tmp_path / "r.json").read_text())
    images = data.load("digits:test").first(12)
    assert tree["baselines"] == baselines(images)
    plain = evaluate(run, images, budget=100)
    assert "baselines" not in plain.to_dict()
    assert plain.bits_per_dim == pytest.approx(tree["bits_per_dim"], rel=1e-9)
    with pytest.raises(BadInput, match="True or False"):
        evaluate(run, images, budget=100, baselines="no")

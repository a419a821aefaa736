"""From pictures to a file and back, by the commands: every pixel and name, or one line and nothing.

The files of tests/golden are of the first version of the format: they decode for ever.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from twins import twin

import nelbo as package
from conftest import changed
from nelbo.categorical.orders import read_order
from nelbo.cli import integers
from nelbo.data import Images
from nelbo.errors import NotWritten
from nelbo.model import in_order
from nelbo.tasks import compress as task
from nelbo.tasks.compress import compress, decompress
from nelbo.tasks.train import train

GOLDEN = Path(__file__).parent.parent / "golden"
TWIN = GOLDEN / "twin.safetensors"


@pytest.fixture(scope="module")
def model():
    return package.load(TWIN)


@pytest.fixture
def pictures(tmp_path):
    """Odd 8x8 pictures of 17 levels: constants, noise, names that need care."""
    folder = tmp_path / "pictures"
    (folder / "ä b").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(17, size=(8, 8))
    made = {"zero.png": 0 * noise, "most.png": 0 * noise + 16, "ä b/noise.png": noise}
    for name, pixels in made.items():
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    Image.fromarray(noise.astype(np.uint8)).save(folder / "noise.bmp")
    return folder


@pytest.mark.parametrize("name", ["many", "one"])
def test_golden_files_decode_for_ever(model, name):
    """Kills: a change of the format, of the masses or of the network's arithmetic."""
    content = (GOLDEN / f"{name}.nlb").read_bytes()
    decoded = decompress(model, content).levels
    assert torch.equal(decoded, package.data.load("digits:test").first(len(decoded)).levels.long())


def test_a_folder_comes_back_pixel_by_pixel_and_name_by_name(nelbo, pictures, tmp_path):
    """Kills: a name or a folder that is lost, two images exchanged, levels that are stretched."""
    file, back, bill = tmp_path / "a.nlb", tmp_path / "back", tmp_path / "bill.json"
    code, out, err = nelbo("compress", TWIN, pictures, "-o", file, "--json", bill, "--calls", 4)
    assert code == 0, err
    assert "bits/dim" in out
    assert "come back as PNG" in err
    code, _, err = nelbo("decompress", TWIN, file, "-o", back)
    assert code == 0, err
    for name in ("zero.png", "most.png", "ä b/noise.png", "noise.bmp"):
        with Image.open(pictures / name) as wanted:
            at = back / (name if name.endswith("png") else f"{name}.png")
            with Image.open(at) as image:
                assert (np.asarray(image) == np.asarray(wanted)).all()
    assert sum(path.is_file() for path in back.rglob("*")) == 4
    tree = json.loads(bill.read_text())
    assert tree["bits"]["file"] == 8 * file.stat().st_size
    assert tree["bits"]["coded"] < tree["bits"]["ideal"] + 4 * 8 + 1
    assert tree["verified"]
    code, _, _ = nelbo(
        "decompress", TWIN, file, "--only", "ä b/noise.png", "-o", tmp_path / "1.png"
    )
    with Image.open(tmp_path / "1.png") as one, Image.open(pictures / "noise.bmp") as wanted:
        assert (np.asarray(one) == np.asarray(wanted)).all()
    code, _, err = nelbo("decompress", TWIN, file, "--only", "other", "-o", tmp_path / "2.png")
    assert (code, (tmp_path / "2.png").exists()) == (2, False)
    assert "has no image other" in err


def test_a_single_image_comes_back_by_the_name_of_its_file(nelbo, pictures, tmp_path):
    """Kills: an image that was fox.png and comes back as 0.png, a file's head with a name in it."""
    (tmp_path / "one").mkdir()
    (pictures / "most.png").rename(tmp_path / "one/fox.png")
    file, back = tmp_path / "red fox.nlb", tmp_path / "back"
    code, _, err = nelbo("compress", TWIN, tmp_path / "one", "-o", file)
    assert (code, "comes back as red fox.png" in err) == (0, True)
    assert file.stat().st_size <= 12 + 64
    assert nelbo("decompress", TWIN, file, "-o", back)[0] == 0
    assert [path.name for path in back.iterdir()] == ["red fox.png"]


def test_what_cannot_be_decoded_is_one_line_and_no_output(nelbo, run, tmp_path):
    """Kills: a picture of noise in the place of an error; a half-written folder."""
    damaged, other = tmp_path / "damaged.nlb", tmp_path / "other.nlb"
    content = bytearray((GOLDEN / "many.nlb").read_bytes())
    other.write_bytes(compress(twin(), twin_images(), calls=2, verify=False).content)
    content[-1] ^= 4
    damaged.write_bytes(content)
    gaussian = (run, GOLDEN / "many.nlb", "no absorbing chain")
    for name, file, why in [(TWIN, damaged, "damaged"), (TWIN, other, "made with"), gaussian]:
        code, out, err = nelbo("decompress", name, file, "-o", tmp_path / "back")
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert why in err
        assert not (tmp_path / "back").exists()


def twin_images():
    return torch.zeros(2, 1, 4, 4, dtype=torch.uint8)


def test_a_code_that_does_not_decode_is_not_written(model, monkeypatch):
    """Kills: a verification that looks at nothing."""
    images = package.data.load("digits:test").first(2)
    wrong = task.Decompressed(images.levels.long().flip(0), ["a", "b"])
    monkeypatch.setattr(task, "decompress", lambda *given, **named: wrong)
    with pytest.raises(NotWritten, match="decodes to other pixels"):
        compress(model, images)
    assert compress(model, images, verify=False).content


def test_a_dry_run_writes_nothing_and_says_the_same(nelbo, tmp_path):
    """Kills: a bill that depends on the file being written."""
    code, out, _ = nelbo("compress", TWIN, "digits:test", "--dry-run", "--max-images", 3)
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    made = compress(package.load(TWIN), package.data.load("digits:test").first(3))
    assert f"{made.bill.file / 8 / 3:10,.1f}" in out


def test_the_bill_has_the_likelihood_that_evaluate_finds_in_the_same_order(model):
    """Kills: a code of another order or of other groups than those that are measured."""
    images = package.data.load("digits:test").first(10)
    measured = in_order(model, read_order("dispersed", model.shape), 8)
    nats = package.evaluate(measured, images, check=False)
    bill = compress(model, images, calls=8, verify=False).bill
    assert bill.likelihood / 640 == pytest.approx(nats.bits_per_dim, rel=1e-5)
    assert bill.ideal <= bill.likelihood + 10 * 1e-3


def test_progress_is_of_images_in_every_part_of_the_work(model):
    """Kills: minutes of the bound without a word, evaluations shown as images."""
    images, shown = package.data.load("digits:test").first(20), []
    compress(model, images, bound=True, progress=lambda *each: shown.append(each))
    assert {text for _, _, text in shown} == {"", "decoded again", "bound"}
    assert all(0 <= done <= expected == 20 for done, expected, _ in shown)
    last = {text: done for done, _, text in shown}
    assert last == dict.fromkeys(last, 20)


def test_inspect_says_what_a_file_is(nelbo):
    """Kills: an archive that inspect takes for a model."""
    code, out, _ = nelbo("inspect", GOLDEN / "many.nlb", "--json", "-")
    tree = json.loads(out)
    digest = package.load(TWIN).sha256()
    assert (code, tree["images"], tree["calls"]) == (0, 12, 8)
    assert digest.startswith(tree["model_sha256_begins"])


@pytest.mark.parametrize("name", ["../up.png", "/root.png", "a/b/c.png", "x.sh", "a\nb.png"])
def test_a_name_that_leads_elsewhere_is_refused(model, name):
    """Kills: a file that is written outside the folder."""
    from nelbo.coding import read, written

    archive = read((GOLDEN / "many.nlb").read_bytes(), "x")
    named = task.Archive(
        archive.digest, archive.order, archive.calls, archive.codes, names=(name,) * 12
    )
    with pytest.raises(package.BadInput, match="leads elsewhere"):
        decompress(model, written(named)[0])


def test_what_a_file_has_no_room_for_is_refused_before_the_work(model, monkeypatch):
    """Kills: minutes of coding that end in a refusal."""
    monkeypatch.setattr(task.OrderedCode, "encode", None)
    images = package.data.load("digits:test").first(2)
    named = Images("x", None, images.levels, 17, sources=("a.png", "b\x1b.png"))
    twice = Images("x", None, images.levels, 17, sources=("a.bmp", "a.bmp.png"))
    for given, settings, why in [
        (images, {"order": "random:3"}, "none of raster, dispersed"),
        (images, {"order": "random:3", "calls": 65}, "65 calls"),
        (named, {}, "not plain"),
        (twice, {}, "both come back as a.bmp.png"),
    ]:
        with pytest.raises(package.BadInput, match=why):
            compress(model, given, **settings)


def test_a_twin_is_a_checkpoint_like_any_other(nelbo):
    """Kills: a twin whose logits change when it is saved and loaded."""
    code, out, err = nelbo("evaluate", TWIN, "--max-images", 4, "--budget", 64, "--json", "-")
    assert code == 0, err
    assert math.isfinite(json.loads(out)["bits_per_dim"])
    code, _, err = nelbo("evaluate", TWIN, "--weights", "raw")
    assert code == 2
    assert "twin of its ema weights" in err


def test_what_a_twin_costs_is_of_some_images_which_is_stated(nelbo, tmp_path, monkeypatch):
    """Kills: half an hour on all of MNIST, a number of images that nobody was told."""
    small = {"training.steps": 1, "training.batch_size": 16, "network.width": 8}
    run = train(changed("digits-absorbing", small), tmp_path / "run")
    monkeypatch.setattr(integers, "COMPARED", 9)
    make = ("improve", run, "--integers", "--budget", 100, "--json", "-", "-o")
    for more, images in (((), 9), (("--max-images", 4), 4)):
        code, out, err = nelbo(*make, tmp_path / f"twin-{images}", *more)
        assert code == 0, err
        assert json.loads(out)["images"] == images
        assert ("the first 9 of 500 images: --max-images" in err) == (images == 9)

"""The page of a model that no run holds: what it draws is of the model that was measured."""

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from results import A, result_of
from test_page import Page

import nelbo
from browser import visiting
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.report.page import Picture, comparison_page
from nelbo.results import rank
from nelbo.results.per_image import write
from nelbo.sampling.pictures import picture_sheet

STATED = {"predicts": "eps", "variance": "small", "time_input": "t"}


def images(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 5, (count, 1, 4, 4), generator=generator)
    return Images("five", None, levels, 5)


def wrapped(scale=0.1, T=6):
    network = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(network.weight, scale)
    torch.nn.init.zeros_(network.bias)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = network

        def forward(self, x, t):
            return self.convolution(x)

    schedule = {"name": "linear", "T": T, "beta_T": 0.5}
    return nelbo.wrap(Net(), schedule=schedule, shape=(1, 4, 4), levels=5, **STATED)


@pytest.fixture(scope="module")
def measured():
    model = wrapped()
    return model, nelbo.evaluate(model, images(), budget=100, distortion=True)


def test_the_page_of_a_wrapped_model_shows_what_it_draws(measured, tmp_path):
    """Law: the samples are those of `nelbo.sample`, the last reconstruction the images themselves.

    Kills: samples of another seed or chain, reconstructions of other images, a section left empty.
    """
    model, result = measured
    path = nelbo.page(model, result, tmp_path / "p.html", data=images(), samples=9, seed=3)
    text = path.read_text()
    page = Page(text)
    drawn = nelbo.sample(model, 9, seed=3)
    assert Picture(picture_sheet(drawn, 5, 3), "").uri in text
    assert Picture(picture_sheet(images().levels[:4].long(), 5, 1), "").uri in text
    assert f"{result.per_dim:.4f}" in page.words
    labels = [picture["alt"] for picture in page.images]
    assert sum("on their way" in label for label in labels) == 7  # t = 6..1 and x_0
    assert sum("best guesses of 4 images" in label for label in labels) == 6
    assert [name for name, _ in page.charts if name == "histogram"]
    assert "Training" not in page.words  # elsewhere, and of no log
    short = nelbo.page(model, result, tmp_path / "s.html", samples=4, steps=2).read_text()
    drawn = nelbo.sample(model.every(2), 4)
    assert Picture(picture_sheet(drawn, 5, 2), "").uri in short
    assert "The images were not given" in Page(short).words


def test_the_table_of_images_beside_a_result_is_that_of_its_page(measured, tmp_path):
    """Kills: a page without its histogram although the table lies there; a gap stated twice."""
    model, result = measured
    file, table = tmp_path / "r.json", tmp_path / "r.csv"
    result.save(file)
    without = Page(nelbo.page(model, file, tmp_path / "w.html", data=images()).read_text())
    assert without.words.count("The table of single images was not given") == 1
    write(result.per_image, table)
    page = Page(nelbo.page(model, file, tmp_path / "p.html", data=images()).read_text())
    assert [name for name, _ in page.charts if name == "histogram"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What diffusers saves of a pipeline of random weights."""
    torch.manual_seed(0)
    layers = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    network = UNet2DModel(4, 1, 1, block_out_channels=(8,), norm_num_groups=4, **layers)
    path = tmp_path_factory.mktemp("folder") / "ddpm"
    DDPMPipeline(network, DDPMScheduler(6, beta_end=0.3)).save_pretrained(path)
    return path


@pytest.mark.browser
def test_the_page_of_a_folder_can_be_read_by_everybody(browser, folder, tmp_path):
    """Kills: a path of a folder, or a fact of its scheduler, that is wider than a telephone."""
    model = nelbo.load(folder, levels=5, V_1=0.01)
    result = nelbo.evaluate(model, images(), budget=100, distortion=True)
    path = nelbo.page(model, result, tmp_path / "folder.html", data=images(), samples=4)
    for width, scheme in ((390, "dark"), (1440, "light")):
        with visiting(browser, path, width=width, scheme=scheme) as visit:
            assert visit.illegible() == []


@pytest.mark.browser
def test_the_pages_of_a_model_and_of_four_can_be_read_by_everybody(browser, measured, tmp_path):
    """Kills: samples without words, a table of four names that is wider than a telephone."""
    model, result = measured
    one = nelbo.page(model, result, tmp_path / "model.html", data=images(), samples=9)
    four = tmp_path / "four.html"
    four.write_text(comparison_page(rank([result_of(n, A + k) for k, n in enumerate("abcd")])))
    for path, width, scheme in ((one, 390, "light"), (one, 1440, "dark"), (four, 360, "dark")):
        with visiting(browser, path, width=width, scheme=scheme) as visit:
            assert visit.illegible() == []


def test_a_model_without_a_last_step_draws_by_a_chain_that_is_stated(tmp_path):
    """Kills: a number of steps that nobody stated."""
    model = nelbo.wrap(
        lambda x, t: 0.1 * x, family="flow-matching", time_input="t", shape=(1, 4, 4), levels=5
    )
    assert model.infinite
    result = nelbo.evaluate(model, images(), budget=100)
    without = Page(nelbo.page(model, result, tmp_path / "a.html", samples=4).read_text())
    assert "The model has infinitely many steps" in without.words
    drawn = nelbo.sample(model.every(5), 4)
    text = nelbo.page(model, result, tmp_path / "b.html", samples=4, steps=5).read_text()
    assert Picture(picture_sheet(drawn, 5, 2), "").uri in text


def test_a_result_of_another_model_is_refused(measured, tmp_path):
    """Kills: samples of one model beside the bound of another."""
    model, result = measured
    for other, changes, message in (
        (wrapped(0.2), {}, "the result is of other weights than"),
        (model.every(3), {}, "the result is of steps 6 and .* has 3"),
        (model, {"data": images(seed=1)}, "the result is of other images, five"),
        (model, {"result": 3}, "is of a result of nelbo.evaluate, or of its file; got a int"),
        (model, {"path": "p.png"}, "a page is written as .html; got .png"),
    ):
        arguments = {"result": result, "path": tmp_path / "x.html"} | changes
        with pytest.raises(BadInput, match=message):
            nelbo.page(other, **arguments)
    assert not list(tmp_path.iterdir())


def test_the_command_reads_a_folder_as_its_result_says(request, folder, tmp_path):
    """Law: `nelbo report MODEL RESULT` writes the page that Python writes, byte for byte.

    Kills: levels, V_1 or weights of the defaults in place of those that were measured.
    """
    nelbo_command = request.getfixturevalue("nelbo")  # whose name is the package's here
    model = nelbo.load(folder, levels=5, V_1=0.01)
    array = tmp_path / "five.npy"
    np.save(array, images().levels.numpy().astype(np.uint8))
    result = nelbo.evaluate(model, array, budget=100, distortion=True)
    result.save(tmp_path / "r.json")
    result.save(tmp_path / "r.csv")
    code, _, err = nelbo_command(
        *("report", folder, tmp_path / "r.json", "--per-image", tmp_path / "r.csv"),
        *("--data", array, "--samples", 4, "-o", tmp_path / "c.html", "--device", "cpu"),
    )
    assert code == 0, err
    python = nelbo.page(model, result, tmp_path / "p.html", data=array, samples=4)
    assert (tmp_path / "c.html").read_bytes() == python.read_bytes()
    code, _, err = nelbo_command("report", tmp_path / "r.json", "--data", array)
    assert code == 2
    assert "--data goes with MODEL RESULT.json" in err

"""p(x | class) through the tasks: each image is measured, and trained on, with its own label."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from training import STEPS, recipe, same

import labelled
from conftest import small_recipe
from nelbo import checkpoint, data, formats, loss
from nelbo import recipe as recipes
from nelbo.data import Images
from nelbo.errors import BadInput
from nelbo.networks.unet import UNet
from nelbo.tasks.derive import derive
from nelbo.tasks.evaluate import evaluate
from nelbo.tasks.improve import improve, save
from nelbo.tasks.sample import sample
from nelbo.tasks.train import train
from nelbo.training.loop import Loop

CLASSES = {"network.classes": 10}


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """Digits as an array file, with labels and without."""
    import numpy as np

    folder, digits = tmp_path_factory.mktemp("npz"), data.load("digits:test").first(20)
    levels = digits.levels.numpy()[:, 0]
    np.savez(folder / "with.npz", images=levels, labels=digits.labels.numpy())
    np.savez(folder / "without.npz", images=levels)
    return folder


# Measuring.


def test_the_result_says_of_what_likelihood_it_is(nelbo, class_run, run, tmp_path):
    """Kills: a figure of p(x | class) that reads as one of p(x)."""
    options = ("--budget", "200", "--max-images", "20", "--json", tmp_path / "r.json")
    code, out, _ = nelbo("evaluate", class_run, *options)
    assert code == 0
    assert out.splitlines()[0].endswith(" bits/dim of p(x | class)")
    tree = json.loads((tmp_path / "r.json").read_text())
    assert tree["model"]["likelihood"] == "p(x | class)"
    assert tree["model"]["network"]["classes"] == 10
    assert tree["data"]["labels"] == data.load("digits:test").first(20).labels_sha256
    code, out, _ = nelbo("evaluate", run, *options)
    assert code == 0
    assert "class" not in out + (tmp_path / "r.json").read_text()


# Training.


def test_a_network_of_classes_begins_as_the_one_without():
    """Kills: an embedding that changes the first weights, or is told before it has learnt."""
    plain = recipes.build(small_recipe(), (1, 8, 8), 17).network
    network = recipes.build(small_recipe(**CLASSES), (1, 8, 8), 17).network
    with torch.no_grad():
        for weight in (plain.leave[-1].weight, network.leave[-1].weight):
            weight.fill_(0.1)
        x, time = torch.randn(4, 1, 8, 8), torch.randn(4)
        wanted, label = plain.eval()(x, time), torch.tensor([3, 1, 4, 1])
        assert torch.equal(network.eval()(x, time, label), wanted)
        network.label.weight.normal_()
        assert not torch.equal(network(x, time, label)[1], wanted[1])


def test_a_unet_receives_the_label_of_each_row():
    """Kills: a label that does not reach diffusers' embedding."""
    network = UNet(1, 1, 8, (8, 16), classes=3).eval()
    with torch.no_grad():
        network.unet.conv_out.weight.fill_(0.1)
        network.unet.class_embedding.weight.normal_()
        x, t, label = torch.randn(3, 1, 8, 8), torch.tensor([5, 5, 5]), torch.tensor([2, 0, 2])
        output = network(x, t, label)
        assert torch.allclose(output[1:2], network(x[1:2], t[:1], label[1:2]), atol=1e-5)
        assert not torch.allclose(output[1:2], network(x[1:2], t[:1], label[:1]), atol=1e-3)


def test_logits_of_low_rank_receive_the_label_too():
    """Kills: a table of logits that asks its network without its condition."""
    choices = small_recipe(**CLASSES, **{"network.rank": 3})
    network = recipes.build(choices, (1, 8, 8), 17).network.eval()
    inside, label = network.network, torch.tensor([7, 0])
    with torch.no_grad():
        inside.leave[-1].weight.fill_(0.1)
        inside.label.weight.normal_()
        x, time = torch.ones(2, 1, 8, 8), torch.zeros(2)
        wanted = torch.einsum("brhw,rk->bkhw", inside(x, time, label), network.table)
        assert torch.allclose(network(x, time, label), wanted, atol=1e-5)
        assert not torch.allclose(*network(x, time, label), atol=1e-2)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_a_network_refuses_to_guess_a_label(kind, classes):
    """Kills: an unconditional answer of a conditional network."""
    x, t, label = torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    tree = {"name": kind, "time_input": "log-snr", "classes": classes}
    tree |= {"widths": (8, 16)} if kind == "unet" else {"width": 8}
    choices = small_recipe().model_copy(
        update={
            "network": recipes.Recipe.model_validate(
                {**small_recipe().model_dump(), "network": tree}
            ).network
        }
    )
    network = recipes.build(choices, (1, 8, 8), 17).network
    message = "without classes" if classes is None else "3 classes needs the label"
    with pytest.raises(BadInput, match=message):
        network(x, t, *(() if classes else (label,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"training.held_out": 9, "training.held_out_every": 12, "training.accumulate": 2},
        {
            "chain.parametrization": "eps",
            "chain.decoder": "discretized-gaussian",
            "training.objective": "simple",
        },
    ],
    ids=["bound", "simple"],
)
def test_a_step_trains_on_each_image_with_its_own_label(tmp_path, monkeypatch, changes):
    """Kills: labels of the held-out images' places, of a part of a batch, of a step before."""
    seen, part = [], Loop._part

    def watched(loop, *arguments):
        objective = loop.objective

        def losses(x_0, t, noise, condition=()):
            levels = loop.model.levels(x_0).flatten(1).tolist()
            seen.extend(zip(map(tuple, levels), condition[0].tolist(), strict=True))
            return objective(x_0, t, noise, condition)

        loop.objective = losses
        try:
            return part(loop, *arguments)
        finally:
            loop.objective = objective

    monkeypatch.setattr(Loop, "_part", watched)
    folder = train(recipe(**CLASSES, **changes), tmp_path / "run")
    digits = data.load("digits:train")
    pairs = zip(digits.levels.flatten(1).tolist(), digits.labels.tolist(), strict=True)
    own = {tuple(levels): label for levels, label in pairs}
    assert len(seen) == 8 * STEPS
    assert all(own[levels] == label for levels, label in seen)
    assert len({label for _, label in seen}) == 10
    assert formats.load(folder).classes == 10
    about = checkpoint.load(folder / checkpoint.NAME).description
    assert about["data"]["labels"] == digits.labels_sha256


def test_the_loss_asks_the_network_with_the_labels_of_the_batch(tmp_path, monkeypatch):
    """With labels permuted over the images other weights come out; with none it does not start.

    Kills: an objective that is given a condition and asks without it.
    """
    one = train(recipe(**CLASSES), tmp_path / "one")
    load = data.load

    def rolled(*arguments, **options):
        loaded = load(*arguments, **options)
        return replace(loaded, labels=loaded.labels.roll(1))

    monkeypatch.setattr("nelbo.tasks.train.load", rolled)
    other = train(recipe(**CLASSES), tmp_path / "other")
    weights = [checkpoint.load(f / checkpoint.NAME).part("network") for f in (one, other)]
    assert not torch.equal(*(w["label.weight"] for w in weights))
    monkeypatch.setattr(
        "nelbo.tasks.train.load", lambda *a, **o: replace(load(*a, **o), labels=None)
    )
    with pytest.raises(BadInput, match=r"p\(x \| class\) and digits has no labels"):
        train(recipe(**CLASSES), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"has the classes 0\.\.4, and digits the label [5-9]"):
        train(recipe(**{"network.classes": 5}), tmp_path / "none")


class Killed(BaseException):
    """Ends a run at a place, as a kill would."""


def test_a_killed_run_of_classes_goes_on_to_the_same_bytes(tmp_path):
    """Kills: labels that are drawn, or counted, from where the run goes on."""

    def stop(done, expected, text):
        if done == 7:
            raise Killed

    whole = train(recipe(**CLASSES), tmp_path / "whole")
    with pytest.raises(Killed):
        train(recipe(**CLASSES), tmp_path / "run", progress=stop)
    assert same(whole, train(recipe(**CLASSES), tmp_path / "run", resume=True))


def test_a_run_does_not_go_on_with_other_labels(tmp_path, monkeypatch):
    """Kills: a checkpoint that does not know its labels."""
    train(recipe(**CLASSES), tmp_path / "run")
    load = data.load

    def rolled(*arguments, **options):
        loaded = load(*arguments, **options)
        return replace(loaded, labels=loaded.labels.roll(1))

    monkeypatch.setattr("nelbo.tasks.train.load", rolled)
    with pytest.raises(BadInput, match=r"of another run: its data\.labels is"):
        train(recipe(**CLASSES), tmp_path / "run", resume=True)


def test_older_recipes_are_written_as_they_were():
    """Kills: a default that is written into every checkpoint."""
    for name in recipes.names():
        stated = recipes.read(name).network.model_dump()
        assert ("classes" in stated) == (name == "digits-classes")
    assert recipes.read("digits-classes").network.classes == 10


# Sampling, deriving, improving.


def test_a_sample_of_a_class_is_that_of_its_own_chain():
    """Kills: a class that is not the one asked for, classes in turn that begin elsewhere."""
    whole, alone = labelled.conditional()
    own = [sample(model, 6, seed=5) for model in alone]
    for label in (0, 1):
        assert torch.equal(sample(whole, 6, seed=5, label=label), own[label])
    turns = torch.stack([own[i % 2][i] for i in range(6)])
    assert torch.equal(sample(whole, 6, seed=5), turns)
    assert not torch.equal(own[0], own[1])


def test_the_command_says_which_classes_it_draws(nelbo, class_run, tmp_path):
    options = ("-n", "3", "--steps", "4")
    code, _, err = nelbo("sample", class_run, *options, "-o", tmp_path / "a.npy")
    assert code == 0
    assert "classes 0..9 in turn, row by row" in err
    code, _, err = nelbo("sample", class_run, *options, "--class", "3", "-o", tmp_path / "b.npy")
    assert code == 0
    assert "classes" not in err


def test_the_derivation_holds_on_a_model_of_classes(class_run):
    model = formats.load(class_run).every(4)
    assert derive(model, data.load("digits:test"), images=3, paths=8).holds


def test_an_improved_model_of_classes_is_one():
    """Kills: an improved model that lost its classes."""
    model, _ = labelled.conditional()
    assert improve(model, labelled.images(40), steps=3, per="time").model.classes == 2


def test_an_improved_run_of_classes_is_read_as_one(class_run, tmp_path):
    model = formats.load(class_run)
    better = improve(model, data.load("digits:train").first(40), steps=4)
    save(class_run, better, tmp_path / "better")
    again = formats.load(tmp_path / "better")
    assert better.model.classes == again.classes == 10
    assert evaluate(again, data.load("digits:test").first(8), budget=64).images == 8


def test_the_page_of_a_run_guesses_each_image_with_its_own_label(nelbo, class_run, tmp_path):
    """Kills: reconstructions of a model of classes without them."""
    whole, alone = labelled.conditional()
    images, t = labelled.images(6), torch.full((6,), 3)
    x_t = whole.x_0(images.levels)
    own = torch.stack([model.x_0_hat(model.chain.p, x_t, t) for model in alone])
    p = whole.chain.p.given(*whole.condition(images.labels, "toys"))
    guess = whole.x_0_hat(p, x_t, t)
    assert torch.equal(guess, own[images.labels, torch.arange(6)])
    folder = tmp_path / "run"
    shutil.copytree(class_run, folder)
    measured = ("--budget", "100", "--max-images", "10", "--json", folder / "result.json")
    assert nelbo("evaluate", folder, *measured)[0] == 0
    page = tmp_path / "report.html"
    code, _, err = nelbo("report", folder, "--samples", "4", "--steps", "5", "-o", page)
    assert code == 0, err


def test_a_users_own_loop_gives_the_labels_to_the_loss():
    """Kills: a loss without its condition."""
    whole, alone = labelled.conditional()
    levels, generator = labelled.images(6).levels, torch.Generator
    for label, model in enumerate(alone):
        labels = torch.full((6,), label)
        result = loss(whole, levels, generator().manual_seed(2), labels=labels)
        assert torch.equal(result, loss(model, levels, generator().manual_seed(2)))
    with pytest.raises(BadInput, match="the batch has no labels"):
        loss(whole, levels)


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "RUN", "--data", "NPZ/without.npz"), "without.npz has no labels"),
        (("compare", "PLAIN", "RUN", "--data", "NPZ/without.npz"), "without.npz has no labels"),
        (("derive", "RUN", "--data", "NPZ/without.npz"), "without.npz has no labels"),
        (("improve", "RUN", "--data", "NPZ/without.npz", "-o", "NEW"), "has no labels"),
        (("sample", "PLAIN", "--class", "3", "-o", "NEW.png"), "has no classes"),
        (("sample", "RUN", "--class", "10", "-o", "NEW.png"), "has the classes 0..9, and"),
        (("sample", "RUN", "--class", "-1", "-o", "NEW.png"), "has the classes 0..9, and"),
    ],
)
def test_what_lacks_a_label_is_refused_in_a_line(
    nelbo, run, class_run, npz, tmp_path, arguments, words
):
    """Kills: a bound of p(x | class) with labels that were guessed."""
    places = {"RUN": str(class_run), "PLAIN": str(run), "NPZ": str(npz), "NEW": str(tmp_path / "n")}
    given = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place) if argument.startswith(name) else argument
        given.append(argument)
    code, out, err = nelbo(*given)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_an_array_file_with_labels_is_measured_as_the_set_it_is_of(nelbo, run, class_run, npz):
    """Kills: labels of a file that are read and not used, or not read for the second of two."""
    options = ("--data", npz / "with.npz", "--budget", "200")
    assert nelbo("compare", run, class_run, *options)[0] == 0
    code, out, _ = nelbo("evaluate", class_run, *options)
    assert code == 0
    wanted = evaluate(formats.load(class_run), data.load("digits:test").first(20), budget=200)
    assert out.splitlines()[0] == str(wanted).splitlines()[0]


def test_a_label_that_is_no_class_is_named():
    model, _ = labelled.conditional()
    images = labelled.images(5)
    others = Images("toys", None, images.levels, images.n, labels=images.labels + 1)
    with pytest.raises(BadInput, match=r"toy has the classes 0\.\.1, and toys the label 2"):
        evaluate(model, others, exhaustive=True)

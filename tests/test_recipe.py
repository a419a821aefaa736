import re

import pytest
import torch

from conftest import small_recipe, toml
from nelbo import recipe
from nelbo.bound.estimators import exhaustive
from nelbo.bound.noise import KeyedNoise
from nelbo.errors import BadInput
from nelbo.recipe import Recipe


def test_the_recipes_of_the_package_are_read_and_built():
    shapes = {"digits": ((1, 8, 8), 17), "mnist": ((1, 28, 28), 256), "cifar10": ((3, 32, 32), 256)}
    variants = {
        "digits": ["absorbing", "classes", "d3pm", "ddpm", "edm", "flow", "iddpm", "vdm"],
        "mnist": ["absorbing", "ddpm"],
        "cifar10": [],
        "text": ["ar"],
    }
    named = {f"{data}-{kind}": data for data, kinds in variants.items() for kind in kinds}
    named |= {data: data for data in variants}
    assert recipe.names() == sorted(named)
    shapes["text"] = ((128,), 257)
    for name, data in named.items():
        model = recipe.build(recipe.read(name), *shapes[data])
        assert model.name == name


def test_a_recipe_survives_its_own_toml(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(toml(small_recipe().model_dump()))
    assert recipe.read(path) == small_recipe()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate =", "learning_rat =", "unknown key training.learning_rat: did you mean"),
        ("width =", "widht =", "unknown key network.widht: did you mean width"),
        ("[training]", "[trainin]", "trainin"),
        ('name = "log-snr-linear"', 'name = "log-snr"', "chain.schedule.name"),
        ("T = 1000", "T = 1000\nbeta_1 = 0.1", "log-snr-linear.*beta_1"),
        ("steps = 2", "steps = -1", "training.steps.*got -1"),
        ("clip = false", "clip = 3", "chain.clip"),
        ("clip = false", "clipp = false", r"unknown key chain\.clipp: did you mean clip"),
        ('family = "gaussian"', 'family = "gauss"', "chain.*gauss"),
        (
            'time_input = "log-snr"',
            'time_input = "fraction"',
            "not for gaussian chains: use one of",
        ),
        ('objective = "bound"', 'objective = "hybrid"', "no target for levels"),
        ("V_1 =", "V1 =", "chain.V"),
        ("first = 9.2", "first = -9.2", "log SNR must fall"),
        ('decoder = "levels"', 'decoder = "levels', "is no TOML"),
        ('parametrization = "levels"', 'parametrization = "v"', "needs the levels"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line_that_names_the_key(tmp_path, old, new, message):
    text = toml(small_recipe().model_dump())
    assert old in text
    path = tmp_path / "r.toml"
    path.write_text(text.replace(old, new, 1))

    def use():
        choices = recipe.read(path)
        recipe.objective(choices, recipe.build(choices, (1, 8, 8), 17))

    with pytest.raises(BadInput, match=message) as error:
        use()
    assert "\n" not in str(error.value)


def test_other_data_stand_in_both_places_and_need_a_test_split_or_test_data():
    """Kills: training on the test split, a folder measured on its own training images."""
    mnist = recipe.on_data(recipe.read("mnist"), "mnist:/somewhere").data
    assert (mnist.train, mnist.test) == ("mnist:/somewhere:train", "mnist:/somewhere:test")
    own = recipe.on_data(recipe.read("mnist"), "a-folder", "another").data
    assert (own.train, own.test) == ("a-folder", "another")
    for spec in ("a-folder", "mnist:/somewhere:train", "x.npy", "digits-of-mine", "digits:test"):
        with pytest.raises(BadInput, match="--test-data"):
            recipe.on_data(recipe.read("mnist"), spec)


def test_a_smoke_run_is_the_same_model_for_a_few_steps():
    """Kills: a smoke run of another network, which shows nothing of the long one."""
    whole, short = recipe.read("cifar10"), recipe.smoke(recipe.read("cifar10"))
    assert (short.data, short.chain, short.network) == (whole.data, whole.chain, whole.network)
    assert short.name == "cifar10-smoke"
    assert short.training.steps * short.training.batch_size <= 64
    assert 0 < short.training.held_out_every < short.training.steps
    assert short.training.precision == whole.training.precision


def test_a_setting_that_is_new_is_written_only_where_it_is_used():
    """Kills: a recipe of before whose bytes change, so that its run is another one."""
    digits = recipe.read("digits").model_dump(mode="json")
    assert "rank" not in digits["network"]
    mnist = recipe.read("mnist").model_dump(mode="json")
    assert mnist["network"]["patch"] == 2
    assert "attention" not in mnist["network"]
    assert Recipe.model_validate(mnist) == recipe.read("mnist")


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(BadInput, match=r"no recipe digit: .*digits, .*digits-ddpm"):
        recipe.read("digit")


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generators_alone(monkeypatch):
    """Kills: seeding the global generator, or that of a GPU, which dropout draws from."""
    monkeypatch.delattr(torch.cuda, "manual_seed_all")
    before = torch.get_rng_state()
    choices = small_recipe(**{"training.seed": 3})
    first, second = (recipe.build(choices, (1, 8, 8), 17) for _ in range(2))
    assert first.sha256() == second.sha256()
    assert torch.equal(torch.get_rng_state(), before)
    assert first.sha256() != recipe.build(small_recipe(), (1, 8, 8), 17).sha256()


def test_a_unet_that_cannot_halve_the_image_says_so():
    unet = {"name": "unet", "widths": [8, 8, 8, 8, 8]}
    with pytest.raises(BadInput, match="halves square images 4 times; got 8x8"):
        recipe.build(small_recipe(network=unet), (1, 8, 8), 17)


def test_a_unet_starts_at_zero_and_takes_part_in_a_chain():
    unet = {"name": "unet", "widths": [8, 16]}
    model = recipe.build(small_recipe(network=unet), (1, 16, 16), 17)
    output = model.network(torch.randn(2, 1, 16, 16), torch.tensor([0, 9]))
    assert output.shape == (2, 17, 16, 16)
    assert not output.any()


def test_every_variance_and_v_1_rule_builds_what_it_says():
    """Kills: H05 (V_1 decided in silence)."""
    changes = {"chain.parametrization": "eps", "chain.decoder": "discretized-gaussian"}
    for variance in ("small", "large", "learned-range"):
        for V_1, table in (("beta_1", "beta"), ("beta_tilde_2", "posterior_variance")):
            choices = small_recipe(**changes, **{"chain.variance": variance, "chain.V_1": V_1})
            model = recipe.build(choices, (1, 8, 8), 17)
            schedule = model.chain.q.schedule
            t = {"beta_1": 1, "beta_tilde_2": 2}[V_1]
            assert model.facts["V_1"] == float(getattr(schedule, table)[t])


def test_a_subchain_keeps_the_last_step_and_the_weights():
    model = recipe.build(small_recipe(), (1, 8, 8), 17)
    for steps in (1, 2, 7, 999, 1000):
        short = model.every(steps)
        kept = short.chain.q.schedule.kept
        assert short.T == steps == len(set(kept.tolist()))
        assert kept[-1] == 1000
        assert short.network is model.network
    for steps in (0, 1001, -3):
        with pytest.raises(BadInput, match=r"steps must lie in 1\.\.1000"):
            model.every(steps)


def categorical_recipe(kernel, betas):
    chain = {"family": "categorical", "transition": kernel}
    chain["schedule"] = {"name": "betas", "betas": betas}
    return small_recipe(chain=chain, **{"network.time_input": "fraction"})


@pytest.mark.parametrize(
    ("kernel", "betas", "states"),
    [
        ("uniform", [0.2, 0.3, 0.6], 17),
        ("discretized-gaussian", [0.2, 0.3, 0.6], 17),
        ("absorbing", [1 / 3, 1 / 2, 1.0], 18),
    ],
)
def test_every_kernel_of_the_second_family_is_built(kernel, betas, states):
    """Kills: a mask that is one of the data's levels."""
    model = recipe.build(categorical_recipe(kernel, betas), (1, 8, 8), 17)
    assert states == model.chain.q.transition.K
    assert model.facts["family"] == "categorical"
    levels = torch.randint(0, 17, (3, 1, 8, 8))
    x_0 = model.x_0(levels)
    assert torch.equal(model.levels(x_0), levels)
    total = exhaustive(model.chain, x_0, KeyedNoise.of(0, torch.arange(3))).sum(1)
    assert total.isfinite().all()
    assert model.every(2).T == 2


def test_the_hybrid_objective_is_of_the_second_family():
    choices = categorical_recipe("uniform", [0.2, 0.6])
    tree = choices.model_dump()
    tree["training"] |= {"objective": "hybrid", "auxiliary": 0.5}
    model = recipe.build(choices, (1, 8, 8), 17)
    x_0, t = torch.randint(0, 17, (2, 1, 8, 8)), torch.tensor([1, 2])
    noise = KeyedNoise.of(0, torch.arange(2))
    plain = recipe.objective(choices, model)(x_0, t, noise)
    hybrid = recipe.objective(Recipe.model_validate(tree), model)(x_0, t, noise)
    assert (hybrid > plain).all()


def test_patches_are_pixels_of_more_channels():
    """Kills: patches put together in another order than they were taken apart."""
    from torch.nn.functional import pixel_shuffle, pixel_unshuffle

    from nelbo.networks.unet import UNet

    torch.manual_seed(0)
    network = UNet(1, 3, 16, (8, 16), patch=2)
    torch.nn.init.normal_(network.unet.conv_out.weight)
    x, time = torch.randn(2, 1, 16, 16), torch.tensor([1.0, -3.0])
    inside = network.unet(pixel_unshuffle(x, 2), time).sample
    assert inside.shape == (2, 12, 8, 8)
    assert torch.equal(network(x, time), pixel_shuffle(inside, 2))


def test_attention_is_where_it_is_requested():
    """Kills: levels counted from the coarsest."""
    from nelbo.networks.unet import UNet

    network = UNet(1, 1, 16, (8, 16), attention=(1,)).unet
    down, up = (
        [hasattr(b, "attentions") for b in x] for x in (network.down_blocks, network.up_blocks)
    )
    assert (down, up) == ([False, True], [True, False])


@pytest.mark.parametrize("middle", [True, False])
def test_the_middle_has_attention_where_the_recipe_says_so(middle):
    """Kills: the middle's own switch not handed on."""
    chosen = recipe.read("mnist").model_dump()
    chosen["network"] |= {"middle": middle, "widths": [8, 16]}
    model = recipe.build(Recipe.model_validate(chosen), (1, 28, 28), 256)
    attentions = [m for m in model.network.modules() if type(m).__name__ == "Attention"]
    assert len(attentions) == middle


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"patch": 3}, "patches of 3 pixels"),
        ({"attention": [2]}, r"network.attention names levels 0..1 of widths; got \[2\]"),
    ],
)
def test_a_unet_that_does_not_fit_says_what_does(network, message):
    choices = recipe.read("mnist").model_dump() | {
        "network": {"name": "unet", "widths": (32, 64), **network}
    }
    with pytest.raises(BadInput, match=message):
        recipe.build(Recipe.model_validate(choices), (1, 28, 28), 256)


def test_logits_of_low_rank_are_a_table_times_what_the_network_says_of_each_pixel():
    """Kills: ranks and channels swapped, a table for each channel, logits level by level last."""
    from nelbo.networks.logits import LowRankLogits

    torch.manual_seed(0)
    c = torch.randn(2, 3 * 4, 5, 5)
    head = LowRankLogits(Constant(c), 4, 17)
    torch.nn.init.normal_(head.table)
    got = head(torch.zeros(2, 3, 5, 5), torch.zeros(2)).reshape(2, 3, 17, 5, 5)
    for channel in range(3):
        one = c[:, 4 * channel : 4 * channel + 4]
        want = torch.einsum("brhw,rk->bkhw", one, head.table)
        assert torch.allclose(got[:, channel], want, rtol=0, atol=1e-5)


class Constant(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x_t, time):
        return self.output


def test_a_low_rank_is_for_logits_alone():
    """Kills: a table of 256 levels put behind a network that predicts the noise."""
    choices = recipe.read("mnist-ddpm").model_dump()
    choices["network"]["rank"] = 8
    with pytest.raises(BadInput, match=r"network\.rank is for logits over the 256 levels"):
        recipe.build(Recipe.model_validate(choices), (1, 28, 28), 256)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("first =", "frist =", "log-snr-linear: unknown key frist: did you mean first?"),
        ('name = "log-snr-linear"', 'name = "linaer"', "'linaer': did you mean linear?"),
        ('family = "gaussian"', 'family = "gausian"', "did you mean gaussian?"),
        ('family = "gaussian"', 'family = "x"', "one of gaussian, continuous, path, categorical"),
        ('name = "resnet"', 'name = "Resnet"', "network.name: unknown value 'Resnet': did you"),
        ('parametrization = "levels"', 'parametrization = "epsilon"', "did you mean eps?"),
        ("[chain.schedule]", "[chain.shedule]", "unknown key chain.shedule: did you mean sch"),
    ],
)
def test_a_misspelt_word_of_a_recipe_is_guessed(tmp_path, old, new, message):
    """Kills: the fallback that lists what there is, where one of it was meant."""
    test = test_a_wrong_recipe_is_refused_in_one_line_that_names_the_key
    test(tmp_path, old, new, re.escape(message))


@pytest.mark.parametrize(
    ("spelt", "meant"),
    [("digit-vdm", "digits-vdm"), ("mine.tml", "mine.toml"), ("Digits", "digits")],
)
def test_a_misspelt_recipe_is_guessed_by_name_and_by_file(tmp_path, monkeypatch, spelt, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").touch()
    with pytest.raises(BadInput, match=f"did you mean {re.escape(meant)}\\?.*digits-ddpm"):
        recipe.read(spelt)

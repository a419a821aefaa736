"""A folder of transformers, written by transformers, is measured as its network says by hand."""

import itertools
import json
import math
import shutil
import sys
from types import ModuleType

import numpy
import pytest
import tokenizers
import torch

import nelbo
from nelbo.data import windows
from nelbo.data.symbols import Tokenizer
from nelbo.errors import BadInput
from nelbo.harness import Scorer, harness_model
from nelbo.recipe import parse_plan

torch.set_num_threads(1)

TEXT = "Grüße an alle: 日本語, and so on."
BEGIN, PAD, END, MASK = 0, 1, 2, 4
V, PLACES = 270, 12  # logits, more than there are tokens; what a row may have with its two ends


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny RoBERTa with random weights, and a byte-level tokenizer with merges."""
    import transformers

    path = tmp_path_factory.mktemp("of") / "tiny"
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=266,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 3, trainer)
    ends = [("<s>", BEGIN), ("</s>", END)]
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=ends
    )
    words = {"pad_token": "<pad>", "mask_token": "<mask>", "bos_token": "<s>", "eos_token": "</s>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **words)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 8, "max_position_embeddings": PLACES + PAD + 1}
    config = transformers.RobertaConfig(vocab_size=V, initializer_range=0.7, **sizes)
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.RobertaForMaskedLM(config).save_pretrained(path)
    fast.save_pretrained(path)
    transformers.utils.logging.enable_progress_bar()
    return path


@pytest.fixture(scope="module")
def net(folder):
    from transformers import RobertaForMaskedLM

    return RobertaForMaskedLM.from_pretrained(folder).float().eval()


@pytest.fixture(scope="module")
def ids(folder):
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(
        TEXT, add_special_tokens=False
    ).ids  # fmt: skip


@torch.no_grad()
def cost(net, row, masked, counted):
    """-log p of the counted places of a row, of which those masked are hidden, by one call."""
    seen = [MASK if place in masked else v for place, v in enumerate(row)]
    logits = net(torch.tensor([[BEGIN, *seen, END]])).logits[0, 1:-1].double()
    logits[:, MASK] = -math.inf
    return -float(sum(torch.log_softmax(logits[i], 0)[row[i]] for i in counted))


def in_order(net, row, places):
    """-log p of these places, one after another, all others being known."""
    return sum(cost(net, row, set(places[j:]), places[j : j + 1]) for j in range(len(places)))


def test_one_line_measures_the_folder_as_its_network_says_by_hand(
    folder, net, ids, nelbo, tmp_path
):
    """-log p left to right, in windows with what stands round them, over the file's own bytes.
    Kills: [CLS] and [SEP] left out or counted, a mask that has a probability, bytes assumed."""
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    options = ("--order", "left-to-right", "--calls", 5, "--size", 5, "--json", "-")
    code, out, err = nelbo("evaluate", folder, "--data", f"text:{tmp_path}/a.txt", *options)
    assert code == 0, err
    tree = json.loads(out)
    starts = [*range(0, len(ids) - 5, 5), len(ids) - 5]
    done, total = 0, 0.0
    for start in starts:
        places = list(range(done - start, 5))
        total += in_order(net, ids[start : start + 5], places)
        done = start + 5
    assert tree["data"]["text"]["bytes"] == len(TEXT.encode())
    assert tree["bits_per_byte"] == pytest.approx(
        total / math.log(2) / len(TEXT.encode()), rel=1e-5
    )
    assert tree["model"]["sources"]["around"]["value"] == "<s> ... </s>"
    assert tree["model"]["counted"].startswith("the tokens of the text")


def test_a_plan_reads_the_text_by_the_folders_own_tokens(folder, tmp_path, monkeypatch):
    """Kills: a plan that reads bytes, whose symbols the network has none of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    plan = f"""results = "measured"
budget = 40
[[model]]
path = {json.dumps(str(folder))}
size = 5
[[data]]
spec = "text:a.txt"
"""
    entry = nelbo.evaluate_plan(parse_plan(plan)).entries[0]
    assert entry.error is None
    assert entry.result.tree["data"]["text"]["bytes"] == len(TEXT.encode())


def test_the_bound_of_any_order_is_that_of_all_subsets(folder, net, ids):
    """Within 4 standard errors of the enumeration over all masks of 4 places. Kills: another mask,
    a weight other than 1/k."""
    model = nelbo.load(folder, size=4)
    rows = [ids[:4], ids[4:8]]
    exact = 0.0
    for row, k in itertools.product(rows, range(1, 5)):
        subsets = list(itertools.combinations(range(4), k))
        exact += sum(cost(net, row, set(s), list(s)) for s in subsets) / len(subsets) / k
    data = nelbo.data.as_tokens(torch.tensor(rows), n=V)
    result = nelbo.evaluate(model, data, budget=1200).monte_carlo
    assert abs(result.mean - exact / 2) < 4 * result.se
    assert result.se < 0.02 * exact


def test_padding_is_not_seen(folder, net, ids):
    """A short text in a long window costs what it costs alone. Kills: padding that is attended to,
    the end token behind the padding, the wrong id for padding."""
    model = nelbo.load(folder)
    assert model.shape == (PLACES - 2,)
    text = Tokenizer(folder / "tokenizer.json").decode(ids[:3]).decode()
    short = windows(
        [text], symbols=model.alphabet, context=PLACES - 2, filling="shown", documents="apart"
    )
    assert short.levels[0, 3:].tolist() == [-1 - PAD] * (PLACES - 5)
    order = nelbo.categorical.orders.read_order("left-to-right", model.shape)
    one = nelbo.model.in_order(model, order, PLACES - 2)
    result = nelbo.evaluate(one, short).per_image.total
    assert float(result[0]) == pytest.approx(in_order(net, ids[:3], [0, 1, 2]), rel=1e-5)


def test_the_harness_gets_what_calls_by_hand_say(folder, net, ids, monkeypatch):
    """The same conditional, context first, from the folder alone. Kills: a scorer without what
    stands round a text."""
    decode = Tokenizer(folder / "tokenizer.json").decode
    context, continuation = (decode(part).decode() for part in (ids[:3], ids[3:6]))
    wanted = -in_order(net, ids[:6], [3, 4, 5])
    for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    base = type("LM", (), {})
    monkeypatch.setattr(sys.modules["lm_eval.api.model"], "LM", base, raising=False)
    for scorer in (Scorer.of(folder), harness_model(folder, stride=4)):
        result, _ = scorer.loglikelihood([(context, continuation)])[0]
        assert result == pytest.approx(wanted, rel=1e-5)
        assert scorer.length == PLACES - 2


def test_samples_keep_what_is_given_and_are_read_as_text(folder, nelbo, tmp_path):
    """Kills: a gap of another length, a token of what is given drawn anew."""
    for form, option, text in (("npy", "--infill", "a___e___"), ("txt", "--prompt", "an")):
        path = tmp_path / f"s.{form}"
        code, _, err = nelbo("sample", folder, "-n", 3, option, text, "-o", path)
        assert code == 0, err
    symbols = Tokenizer(folder / "tokenizer.json")
    (a,), (e,) = (symbols.encode(text, "it").ids.tolist() for text in (b"a", b"e"))
    rows = torch.from_numpy(numpy.load(tmp_path / "s.npy").astype(int))
    assert rows[:, [0, 4]].tolist() == [[a, e]] * 3
    assert not (rows == MASK).any()
    assert len(rows[:, 1:4].unique()) > 3
    texts = (tmp_path / "s.txt").read_text().split("--- ")[1:]
    assert [text[2:4] for text in texts] == ["an"] * 3
    for option in ({"infill": "an"}, {"infill": "a___", "prompt": "a"}, {"infill": "<mask>___"}):
        words = [word for key, x in option.items() for word in (f"--{key}", x)]
        code, _, err = nelbo("sample", folder, *words, "-o", tmp_path / "no.npy")
        assert (code, err.count("\n")) == (2, 1)


def test_a_tokenizer_that_loses_bytes_has_nats_per_token(folder, tmp_path):
    """Kills: bits/byte of a lower-cased text."""
    lossy = tmp_path / "lossy"
    shutil.copytree(folder, lossy)
    tree = json.loads((lossy / "tokenizer.json").read_text())
    (lossy / "tokenizer.json").write_text(json.dumps({**tree, "normalizer": {"type": "Lowercase"}}))
    (tmp_path / "a.txt").write_text(TEXT)
    result = nelbo.evaluate(nelbo.load(lossy, size=4), f"text:{tmp_path}/a.txt", budget=200)
    assert result.unit.name == "nats/token"


def change(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BREAKS = [
    (lambda f: change(f, "config.json", architectures=["GPT2LMHeadModel"]), "only .ForMaskedLM"),
    (lambda f: change(f, "config.json", auto_map={"AutoModel": "m.M"}), "which is not run"),
    (lambda f: change(f, "config.json", vocab_size="x"), "vocab_size"),
    (lambda f: change(f, "config.json", num_hidden_layers=2), "weights are not in its files"),
    (lambda f: change(f, "config.json", vocab_size=9), "and its network logits of 9"),
    (lambda f: change(f, "tokenizer_config.json", mask_token=None), "names no mask_token"),
    (lambda f: change(f, "tokenizer_config.json", mask_token="[M]"), "has no token .M."),
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    (lambda f: (f / "model.safetensors").write_bytes(b"x"), "transformers does not read it"),
]


@pytest.mark.parametrize(("damage", "words"), BREAKS)
def test_a_folder_that_is_no_such_model_is_refused_in_one_line(folder, damage, words, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    damage(other)
    with pytest.raises(BadInput, match=words) as raised:
        nelbo.load(other)
    assert "\n" not in str(raised.value)


def test_options_and_texts_that_it_cannot_take_are_refused(folder, tmp_path):
    with pytest.raises(BadInput, match=r"takes 2\.\.10 tokens of a text at once"):
        nelbo.load(folder, size=11)
    with pytest.raises(BadInput, match="levels is for diffusers folders"):
        nelbo.load(folder, levels=4)
    (tmp_path / "a.txt").write_text("a <mask> that the text spells itself")
    with pytest.raises(BadInput, match="holds the symbol 4, which tiny has for its mask"):
        nelbo.evaluate(nelbo.load(folder, size=4), f"text:{tmp_path}/a.txt", budget=100)

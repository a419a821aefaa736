"""Two models of text that cut it into other windows or symbols, paired by document."""

import json
import math

import pytest
import torch
from scipy.special import stdtrit

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.data import windows
from nelbo.errors import BadInput
from nelbo.model import in_order

torch.set_num_threads(1)

TEXTS = ["Grüße an alle.", "a", "日本語 and more", "no, no and no", "x = [a, b, c] and so on"]
BYTES = torch.tensor([len(text.encode()) for text in TEXTS]).double()


def unigram(n, context):
    """(log p of each symbol, a model of it: whatever is masked, every place costs the same)."""
    logits = torch.randn(n, generator=torch.Generator().manual_seed(context))

    def network(ids):
        return logits.expand(*ids.shape, -1)

    model = nelbo.wrap_categorical(
        network, vocabulary=n, mask=n, time_input=None, shape=(context,), name=f"of {context}"
    )
    return torch.log_softmax(logits.double(), 0), model


def exact(model):
    """All places in one call, so that nothing is drawn."""
    return in_order(model, read_order("left-to-right", model.shape), 1)


def cut(context, **how):
    return windows(TEXTS, context=context, **{"stride": 3, "documents": "apart", **how})


def of_documents(log_p, tokens):
    """nats of each document, by hand: every counted symbol once."""
    kept = tokens.levels >= 0
    nats = -(log_p[tokens.levels.clamp(min=0).long()] * kept).sum(1)
    names = list(dict.fromkeys(tokens.sources))
    own = torch.tensor([names.index(source) for source in tokens.sources])
    return torch.zeros(len(names), dtype=torch.float64).index_add_(0, own, nats)


@pytest.mark.parametrize("characters", [False, True])
def test_the_difference_of_exact_likelihoods_is_that_of_the_documents(characters, tmp_path):
    """By hand, to 1e-6 of float32 logits: bits/byte, and the error of a ratio over documents.

    Kills: windows for documents, the spread of the nats, a symbol taken for a byte.
    """
    alphabet = tmp_path / "alphabet.txt"
    alphabet.write_text("".join(sorted(set("".join(TEXTS)))))
    b = cut(9, symbols=str(alphabet)) if characters else cut(9)
    sides = [(unigram(tokens.n, c), tokens) for tokens, c in ((cut(6), 6), (b, 9))]
    result = nelbo.compare(*(exact(m) for (_, m), _ in sides), tuple(t for _, t in sides))
    nats = [of_documents(log_p, tokens) for (log_p, _), tokens in sides]
    apart, whole = nats[0] - nats[1], math.log(2) * BYTES.sum()
    assert result.per_dim == pytest.approx(float(apart.sum() / whole), rel=1e-6)
    for side, own in zip((result.a, result.b), nats, strict=True):
        value = result.unit.per_dim(side.total.mean, result.dims)
        assert value == pytest.approx(float(own.sum() / whole), rel=1e-6)
    spread = apart - apart.mean() * (BYTES / BYTES.mean() - 1)
    half = stdtrit(4, 0.975) * spread.std() / 5**0.5 * 5 / whole
    ends = result.to_dict()["ci95"]
    assert (ends[1] - ends[0]) / 2 == pytest.approx(float(half), rel=1e-6)


def test_a_bound_by_document_is_within_its_error_of_the_truth():
    """In any order, |z| < 4. Kills: the variance of one window of a document for that of all."""
    sides = [(unigram(257, c), cut(c)) for c in (6, 9)]
    result = nelbo.compare(
        *(m for (_, m), _ in sides), tuple(t for _, t in sides), budget=9000, seed=3
    )
    nats = [of_documents(log_p, tokens) for (log_p, _), tokens in sides]
    truth = float((nats[0] - nats[1]).mean())
    assert abs(result.total.mean - truth) < 4 * result.monte_carlo.se
    assert 0 < result.monte_carlo.se < 0.05 * abs(truth)


def test_a_result_says_that_it_is_of_documents_and_is_read_back(tmp_path):
    """Kills: documents called windows, a reader that divides by the numbers of a window."""
    sides = [(exact(unigram(257, c)[1]), cut(c)) for c in (6, 9)]
    result = nelbo.compare(*(m for m, _ in sides), tuple(t for _, t in sides))
    again = nelbo.Comparison.from_dict(json.loads(result.to_json()))
    assert (again.unit, again.per_dim) == (result.unit, result.per_dim)
    assert again.unit.examples == "documents"
    assert result.images == len(TEXTS)
    assert "sampling of documents" in str(result)
    assert "5 documents, paired" in str(result)
    new = "for new documents of this kind the two are not told apart"
    assert new in result.verdict.text
    text = result.to_dict()["data"]["text"]
    assert (text["bytes"], text["a"]["context"], text["b"]["context"]) == (int(BYTES.sum()), 6, 9)
    page = result.save(tmp_path / "p.html").read_text()
    assert "5 documents" in page
    assert "images of this kind" not in page
    table = result.save(tmp_path / "p.md").read_text()
    assert "Paired on 5 documents" in table
    assert "for new documents of this kind" in table


def test_a_document_without_a_byte_is_none_and_other_ends_are_warned_of():
    """Kills: an empty file that makes the same text another; what one model is given, unsaid."""
    sides = [(exact(unigram(257, c)[1]), cut(c)) for c in (6, 9)]
    models = [m for m, _ in sides]
    more = [TEXTS[0], "", *TEXTS[1:]]
    how = {"documents": "apart", "filling": "shown"}
    result = nelbo.compare(*models, tuple(windows(more, context=c, **how) for c in (6, 9)))
    assert (result.images, list(result.warnings)) == (len(TEXTS), [])
    result = nelbo.compare(*models, (cut(6), cut(9, filling="shown")))
    assert "A has it counted, B shown" in result.warnings[0]
    with pytest.raises(BadInput, match="no document has a byte"):
        nelbo.compare(*models, tuple(windows([""], context=c, documents="apart") for c in (6, 9)))


def test_what_are_no_pairs_of_documents_is_refused():
    a, b = (unigram(257, c)[1] for c in (6, 9))
    for data, message in (
        ((cut(6, documents="joined"), cut(9)), "documents=apart"),
        ((cut(6), windows(TEXTS[1:], context=9, documents="apart")), "other documents"),
        ((cut(6), windows([*TEXTS[:4], "?"], context=9, documents="apart")), "other documents"),
        (cut(6), "different data"),
    ):
        with pytest.raises(BadInput, match=message):
            nelbo.compare(a, b, data)


def test_the_command_reads_a_text_as_each_model_cuts_it(nelbo, tmp_path):
    """Kills: the windows of A for those of B, a number of windows for one of documents."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text)
    small = ("network.width=8", "network.layers=1", "network.heads=2", "network.pairs=1")
    for context in (8, 12):
        data = [f"data.{part}=topics,context={context}:{part}" for part in ("train", "test")]
        sets = [x for one in (*small, *data) for x in ("--set", one)]
        assert nelbo("train", "text", "--smoke", "-o", tmp_path / str(context), *sets)[0] == 0
    runs = (tmp_path / "8", tmp_path / "12")
    spec = f"text:{folder},documents=apart"
    code, out, err = nelbo("compare", *runs, "--data", spec, "--budget", 800)
    assert code == 0, err
    assert "5 documents, paired" in out
    for data, message in (
        (("--data", f"text:{folder}"), "documents=apart"),
        (("--data", spec, "--max-images", 2), "counts windows"),
    ):
        code, out, err = nelbo("compare", *runs, *data)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert message in err

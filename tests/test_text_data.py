"""Text as symbols: every byte of the original is counted once, by any windows and symbols."""

import hashlib
import json
import math
from importlib.resources import files

import pytest
import tokenizers
import torch

from nelbo.data import Tokens, as_tokens, load, sizes_of, windows
from nelbo.data.symbols import Bytes, Characters, Tokenizer
from nelbo.errors import BadInput
from nelbo.results.unit import Unit, bits_per_byte, in_text_units, unit_of_text
from nelbo.types import Grid

MANY = "a é € 😀\r\n\tend"  # characters of 1, 2, 3 and 4 bytes
TEXTS = ["hello wörld, hello", "", MANY, "x", "日本語のテキスト"]
SIZE = sum(len(text.encode()) for text in TEXTS)
TOPICS = "ca3b7a34785ee4b174b82241e80bc8893d238999ec950e7aaeafe713d66eae2d"


def counted(tokens: Tokens) -> list[int]:
    return tokens.levels[tokens.levels >= 0].tolist()


@pytest.mark.parametrize("documents", ["joined", "apart"])
@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("symbols", [Bytes(), Characters.of("".join(TEXTS))], ids=lambda s: s.name)
def test_every_symbol_of_a_text_is_counted_once(symbols, stride, documents):
    """The counted symbols are the text's, in order; bytes and characters are the original's.
    Kills: a remainder left out, an overlap counted twice, a byte for each character."""
    windowed = windows(TEXTS, symbols=symbols, context=8, stride=stride, documents=documents)
    pure = [v for v in counted(windowed) if v != symbols.end]
    assert symbols.decode(pure) == "".join(TEXTS).encode()
    assert int(windowed.bytes.sum()) == SIZE
    assert int(windowed.characters.sum()) == sum(map(len, TEXTS))
    assert int(windowed.tokens.sum()) == len(pure)
    assert windowed.text["bytes"] == SIZE
    parts = [windowed.subset([i]) for i in range(len(windowed))]
    assert sum(part.text["bytes"] for part in parts) == SIZE


def test_a_window_shows_what_the_one_before_it_counted():
    """Of a window the first context - stride symbols are shown, and the last ends with the text.
    Kills: padding counted where nothing is missing, a stride of the context alone."""
    windowed = windows(["abcdefghij"], context=6, stride=3)
    a = ord("a")
    text = [a + i for i in range(10)] + [256]
    shown = [[-1 - v for v in part] for part in (text[3:6], text[5:9])]
    expected = [text[:6], shown[0] + text[6:9], shown[1] + text[9:]]
    assert windowed.levels.tolist() == expected
    assert windowed.bytes.tolist() == [6, 3, 1]


def test_the_filling_is_counted_or_shown_and_has_no_bytes():
    """A short text is filled with ends, whose cost is counted or given. Kills: padding counted as
    text, padding told where it is said to be counted."""
    one = windows(["ab"], context=5)
    assert one.levels.tolist() == [[97, 98, 256, 256, 256]]
    other = windows(["ab"], context=5, filling="shown")
    assert other.levels.tolist() == [[97, 98, 256, -257, -257]]
    assert one.bytes.tolist() == other.bytes.tolist() == [2]
    assert (one.text["counted"], other.text["counted"]) == (5, 3)


def test_bytes_that_are_no_characters_are_bytes_all_the_same():
    windowed = windows([b"\xff\xfe\x00"], context=4)
    assert (windowed.text["bytes"], windowed.text["characters"]) == (3, None)
    with pytest.raises(BadInput, match=r"no UTF-8.*use symbols=bytes"):
        windows([b"\xff\xfe\x00"], symbols=Characters("ab"))


def test_units_divide_the_same_nats_by_what_the_original_text_has():
    """nats / (bytes ln 2), / characters, / tokens, and exp. Kills: bytes assumed to be tokens, nats
    for bits, a perplexity of bits."""
    windowed = windows(TEXTS, symbols=Characters.of("".join(TEXTS)), context=8).text
    nats, tokens = 123.0, sum(map(len, TEXTS))
    units = in_text_units(nats, windowed)
    assert units["bits_per_byte"] == pytest.approx(nats / math.log(2) / SIZE, rel=1e-15)
    assert units["bits_per_character"] == pytest.approx(nats / math.log(2) / tokens, rel=1e-15)
    assert units["bits_per_token"] == pytest.approx(units["bits_per_character"], rel=1e-15)
    assert units["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-14)
    assert bits_per_byte(nats, windowed) == units["bits_per_byte"]


@pytest.mark.parametrize("stride", [3, 8])
def test_the_unit_of_windows_is_the_ratio_of_the_sums(stride):
    """per_dim of the mean over windows is all nats over all bytes. Kills: shown positions among
    those that are divided by, the bytes of one window for all."""
    windowed = windows(TEXTS, context=8, stride=stride, documents="apart")
    nats = torch.rand(len(windowed), dtype=torch.float64)
    unit = Unit.of(Grid(257), windowed)
    ratio = float(nats.sum()) / math.log(2) / SIZE
    assert unit.per_dim(float(nats.mean()), windowed.dims) == pytest.approx(ratio, rel=1e-13)
    assert (unit.name, unit.each, unit.examples) == ("bits/byte", "byte", "windows")
    assert sizes_of(windowed).tolist() == windowed.bytes.tolist()
    with pytest.raises(BadInput, match=r"per byte: its unit is bits/byte"):
        unit.require_bits()


def test_symbols_of_an_unknown_text_have_no_bytes():
    """Numbers alone have nats/token; bits/byte is refused by name. Kills: bytes assumed."""
    tokens = as_tokens(torch.tensor([[0, 1, -3], [2, 2, 1]]), n=3)
    unit = unit_of_text(tokens.text, 6)
    assert (unit.name, unit.nats) == ("nats/token", 5 / 6)
    with pytest.raises(BadInput, match=r"no bits/byte: the text.*not known"):
        bits_per_byte(1.0, tokens.text)
    lossy = {"bytes": 10, "tokens": 4, "counted": 4, "lossless": False}
    assert unit_of_text(lossy, 4).name == "nats/token"
    with pytest.raises(BadInput, match=r"no bits/byte: its tokenizer does not give the text back"):
        bits_per_byte(1.0, lossy)


def test_sources_of_text_are_files_folders_lines_and_tables(tmp_path):
    """The same documents by every way in, in bytes. Kills: a new line that is translated, a last
    line without its end."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path / "texts"
    folder.mkdir()
    texts = [MANY, "two\r\nlines\n"]
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(text.encode())
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet")
    wanted = windows(texts, context=8).sha256
    for place in (folder, tmp_path / "a.jsonl", tmp_path / "a.parquet"):
        assert load(f"text:{place},context=8").sha256 == wanted
    one = load(f"text:{folder}/1.txt,context=8")
    assert one.text["bytes"] == len(texts[1].encode())
    assert load(f"text:{tmp_path}/a.jsonl,context=4,stride=2,documents=apart").text["stride"] == 2
    split = [{"text": t, "split": s} for t, s in zip(texts, ("train", "test"), strict=True)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, split)))
    assert load(f"text:{tmp_path}/s.jsonl:test").text["bytes"] == len(texts[1].encode())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("text:", "needs a file or a folder"),
        ("text:none.txt", "no such file or folder of text"),
        ("topics,contxt=3", "unknown option 'contxt'|contxt.*did you mean context"),
        ("topics,context=0", "context must be a whole number, at least 1"),
        ("topics,context=8,stride=9", "a stride of 9 leaves symbols out between windows of 8"),
        ("topics,context=8,context=9", "context is given twice"),
        ("topics,documents=both", "documents"),
        ("topics,symbols=words", "symbols are bytes, a .txt file"),
        ("topics,end=x", "end names a token of a tokenizer"),
    ],
)
def test_a_spec_of_text_that_says_no_text_is_refused_in_one_line(spec, words):
    with pytest.raises(BadInput, match=words) as raised:
        load(spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([[0, 3]], "the symbol 3 at .window, place. .0, 1. is none of 0..2"),
        ([[-1, -2]], "all of window 0 is shown"),
        ([[0.5, 1.0]], "symbols are integers"),
        ([0, 1], "text is .windows, length."),
    ],
)
def test_windows_that_are_none_are_refused(levels, words):
    with pytest.raises(BadInput, match=words):
        as_tokens(torch.tensor(levels), n=3)


def test_no_row_of_60_characters_of_the_topics_is_on_both_sides():
    """Train and test share no 60 characters in a row, each paragraph stands once, and the file is
    the one that is stated. Kills: a split by topics that share paragraphs."""
    content = (files("nelbo") / "topics.jsonl").read_bytes()
    assert hashlib.sha256(content).hexdigest() == TOPICS
    assert TOPICS in (files("nelbo") / "topics.LICENSE").read_text("utf-8")
    lines = [json.loads(line) for line in content.splitlines()]
    rows = {"train": set(), "test": set()}
    for line in lines:
        text = line["text"]
        rows[line["split"]] |= {text[i : i + 60] for i in range(len(text) - 59)}
    assert len(rows["train"] & rows["test"]) == 0
    assert min(map(len, rows.values())) > 50_000
    paragraphs = [" ".join(p.split()) for line in lines for p in line["text"].split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))


def trained(tmp_path, lowercase: bool) -> str:
    """A tokenizer of byte-level merges, written by its own tokenizers."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    if lowercase:
        made.normalizer = tokenizers.normalizers.Lowercase()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<end>", "[MASK]"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*TEXTS, "Hello hello Hello hello"] * 3, trainer)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return str(path)


def test_a_tokenizer_with_merges_has_the_texts_own_bytes_as_denominators(tmp_path):
    """Fewer tokens than bytes, and the bytes of the file. Kills: bytes of tokens for bytes of text,
    a character that two tokens share counted twice."""
    path = trained(tmp_path, lowercase=False)
    windowed = windows(TEXTS, symbols=path, end="<end>", context=8, stride=5)
    assert windowed.text["bytes"] == SIZE > windowed.text["tokens"]
    assert windowed.text["characters"] == sum(map(len, TEXTS))
    assert unit_of_text(windowed.text, len(windowed) * 8).name == "bits/byte"
    alphabet = Tokenizer(path, "<end>")
    pure = [v for v in counted(windowed) if v != alphabet.end]
    assert alphabet.decode(pure) == "".join(TEXTS).encode()
    with pytest.raises(BadInput, match=r"filling=shown"):
        windows(["a"], symbols=path, context=8)
    with pytest.raises(BadInput, match=r"has no token"):
        Tokenizer(path, "<none>")


def test_a_tokenizer_that_loses_bytes_has_no_bits_per_byte(tmp_path):
    """Lower case is another text. Kills: bits/byte of a normalised text."""
    path = trained(tmp_path, lowercase=True)
    windowed = windows(["Hello hello"], symbols=path, end="<end>", context=8)
    assert windowed.text["lossless"] is False
    assert Unit.of(Grid(windowed.n), windowed).name == "nats/token"
    with pytest.raises(BadInput, match=r"does not give the text back"):
        bits_per_byte(1.0, windowed.text)

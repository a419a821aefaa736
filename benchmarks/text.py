"""What text costs by methods that need no network: uniform, unigram, bigram, and xz.

    python benchmarks/text.py --train topics:train --test topics:test

In bits per byte of the test text: its documents one after another, an
end after each, as `nelbo evaluate` counts them. Counts are of the training text, with one more for
each symbol; xz packs the test text alone, and behind the training text, less what that takes alone.
"""

import argparse
import lzma
import math
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.data import Tokens

LEVEL = 9 | lzma.PRESET_EXTREME


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--train", default="topics:train")
    arguments.add_argument("--test", default="topics:test")
    arguments.add_argument("--output", type=Path)
    options = arguments.parse_args()
    train, test = (nelbo.data.load(spec) for spec in (options.train, options.test))
    bits = baselines(train, test).items()
    write({"bits_per_byte": {n: b / test.text["bytes"] for n, b in bits}}, options.output)


def baselines(train: Tokens, test: Tokens) -> dict[str, float]:
    """Bits of the test text by each."""
    before, after = stream(train), stream(test)
    n = train.n
    one = torch.bincount(before, minlength=n).double() + 1
    two = torch.bincount(before[:-1] * n + before[1:], minlength=n * n).double().reshape(n, n)
    # the bigram leans on the unigram by as many counts as a row has different symbols
    kinds = (two > 0).sum(1, keepdim=True).clamp(min=1)
    pairs = (two + kinds * one / one.sum()) / (two.sum(1, keepdim=True) + kinds)
    texts = [bytes(part[part < 256].tolist()) for part in (before, after)]
    alone, both = (len(lzma.compress(x, preset=LEVEL)) for x in (texts[1], b"".join(texts)))
    first = torch.log2(one / one.sum())
    return {
        "uniform": len(after) * math.log2(n),
        "unigram": -float(first[after].sum()),
        "bigram": -float(first[after[0]] + torch.log2(pairs[after[:-1], after[1:]]).sum()),
        "xz": 8 * alone,
        "xz behind the training text": 8 * (both - len(lzma.compress(texts[0], preset=LEVEL))),
    }


def stream(tokens: Tokens) -> torch.Tensor:
    """The counted symbols in a row."""
    return tokens.levels[tokens.levels >= 0].long()


if __name__ == "__main__":
    main()

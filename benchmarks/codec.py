"""Speed and rate of the codec: images/s of encoding and decoding on one core, without verification.

    python benchmarks/codec.py runs/twin --output benchmarks/results/DATE-codec.json

CPU seconds, since other work may share the machine; the model is loaded before. `network` is the
share of the time in the network's whole logits, of the positions that a call reveals.
"""

import argparse
import time
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.coding import OrderedCode


class Timed:
    """CPU seconds that calls of a function take."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *given):
        before = time.process_time()
        result = self.function(*given)
        self.seconds += time.process_time() - before
        return result


def measured(model, images, calls):
    """Rates and lengths by so many calls in the dispersed order."""
    code = OrderedCode(model, read_order("dispersed", model.shape), calls)
    timed = model.network.logits_at = Timed(model.network.logits_at)
    count, dims = len(images), model.dims
    start = time.process_time()
    coded = code.encode(images.levels)
    encoding, in_encoding = time.process_time() - start, timed.seconds
    start = time.process_time()
    decoded = code.decode(coded.contents)
    decoding, in_decoding = time.process_time() - start, timed.seconds - in_encoding
    model.network.logits_at = timed.function
    start = time.process_time()
    code.decode(coded.contents[:1])
    return {
        "calls": calls,
        "lossless": torch.equal(decoded, images.levels.long()),
        "likelihood_bits_per_dim": float(coded.likelihood.mean()) / dims,
        "ideal_bits_per_dim": float(coded.ideal.mean()) / dims,
        "bytes_bits_per_dim": float(coded.bits.double().mean()) / dims,
        "most_bits_over_ideal": float((coded.bits - coded.ideal).max()),
        "encoded_per_second": count / encoding,
        "decoded_per_second": count / decoding,
        "network_share_encoding": in_encoding / encoding,
        "network_share_decoding": in_decoding / decoding,
        "seconds_to_decode_one": time.process_time() - start,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("twin")
    parser.add_argument("--data", default="digits:test")
    parser.add_argument("--images", type=int)
    parser.add_argument("--calls", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, images = nelbo.load(chosen.twin), nelbo.data.load(chosen.data)
    images = images if chosen.images is None else images.first(chosen.images)
    result = {
        "model": model.described(),
        "data": {"name": images.name, "images": len(images), "sha256": images.sha256},
        "threads": 1,
        "calls": [measured(model, images, calls) for calls in chosen.calls],
    }
    write(result, chosen.output)


if __name__ == "__main__":
    main()

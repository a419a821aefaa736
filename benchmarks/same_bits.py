"""The same bits everywhere: logits and files of a twin on kinds of processors, threads and batches.

    python benchmarks/same_bits.py runs/twin --images 500 --output DATE-same-bits.json

Each kind of processor, ATEN_CPU_CAPABILITY default, avx2 and what is there, is a process of its
own. There the logits that code the images, at every call, are formed in batches of 64, 7 and 1, by
one and two threads, oneDNN on and off, with sums in float64 and in int64; and an archive of the
images is written. The digests have to be the same in all of them, and each process decodes the
archive that another wrote.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from timing import write

import nelbo
from nelbo.categorical.orders import read_order
from nelbo.coding import OrderedCode, require_codable
from nelbo.tasks.compress import compress, decompress

CAPABILITIES = ("default", "avx2", "native")
BATCHES, THREADS = (64, 7, 1), (1, 2)
KINDS = {"float64": torch.float64, "int64": torch.int64}


def settings() -> Iterator[tuple[int, int, bool, str]]:
    return itertools.product(BATCHES, THREADS, (True, False), KINDS)


def digests(model, levels, calls, batch):
    """SHA-256 of the logits of all images, for each call the positions that it reveals."""
    code = OrderedCode(model, read_order("dispersed", model.shape), calls, batch)
    made = []
    hidden = torch.full_like(levels.long().flatten(1), code.n)
    for positions in code.groups:
        digest = hashlib.sha256()
        for part in hidden.split(batch):
            digest.update(code._logits(part, positions).numpy().tobytes())
        made.append(digest.hexdigest())
        hidden[:, positions] = levels.long().flatten(1)[:, positions]
    return made


def child(chosen):
    """What one kind of processor makes: digests by setting, of all images first; and the file."""
    model, images = nelbo.load(chosen.twin), nelbo.data.load(chosen.data).first(chosen.images)
    twin = require_codable(model)
    rows = {}
    if chosen.decode is not None:
        again = decompress(model, chosen.decode.read_bytes()).levels
        return {"decoded": torch.equal(again.long(), images.levels.long())}
    for batch, threads, onednn, kind in settings():
        torch.set_num_threads(threads)
        torch.backends.mkldnn.enabled = onednn
        twin.kind = KINDS[kind]
        name = f"batch {batch}, {threads} threads, oneDNN {'on' if onednn else 'off'}, {kind}"
        rows[name] = digests(model, images.levels, chosen.calls, batch)
        print(name, file=sys.stderr, flush=True)
    twin.kind = torch.float64
    made = compress(model, images, calls=chosen.calls, verify=False)
    chosen.file.write_bytes(made.content)
    return {"digests": rows}


def process(capability, chosen, *arguments):
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    if capability == "native":
        del environment["ATEN_CPU_CAPABILITY"]
    same = [f"--{name}={getattr(chosen, name)}" for name in ("images", "calls", "data")]
    command = [sys.executable, __file__, chosen.twin, *same, *map(str, arguments)]
    made = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(made.stdout)


def measured(chosen, folder):
    """The settings that give other logits than the first, by kind of processor; and the files."""
    files = {name: folder / f"{name}.nlb" for name in CAPABILITIES}
    made = {name: process(name, chosen, "--file", files[name])["digests"] for name in CAPABILITIES}
    wanted = next(iter(made[CAPABILITIES[0]].values()))
    rows = {}
    for name, each in made.items():
        other = [key for key, value in each.items() if value != wanted]
        rows[name] = {"settings": len(each), "other logits": other}
    contents = {path.read_bytes() for path in files.values()}
    turned = zip(CAPABILITIES, CAPABILITIES[1:] + CAPABILITIES[:1], strict=True)
    return {
        "processors": rows,
        "files that differ": len(contents) - 1,
        "bytes": len(next(iter(contents))),
        "decoded": {
            f"{reader} what {writer} wrote": process(reader, chosen, "--decode", files[writer])[
                "decoded"
            ]
            for reader, writer in turned
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("twin")
    parser.add_argument("--data", default="digits:test")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--output", type=Path)
    for name in ("--file", "--decode"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.file is not None or chosen.decode is not None:
        print(json.dumps(child(chosen)))
        return
    described = nelbo.load(chosen.twin).described()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(chosen, Path(folder))
    shown = {name: getattr(chosen, name) for name in ("data", "images", "calls")}
    write({"model": described, **shown, **result}, chosen.output)


if __name__ == "__main__":
    main()

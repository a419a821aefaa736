"""Files that attack, through every door: nothing of them is run, and each is one plain line.

The canary is a file that every payload would make; a door is an option or argument that takes a
file or a folder.
"""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fault_lines import ended

__all__ = ["DOORS"]

FEW = ("--max-images", "2", "--budget", "8")
DOORS_OF_FILES = {
    "evaluate": lambda x: ["evaluate", x, *FEW],
    "evaluate --data": lambda x: ["evaluate", "run", "--data", x, *FEW],
    "evaluate --scheduler": lambda x: ["evaluate", "run", "--scheduler", x, *FEW],
    "evaluate --condition": lambda x: ["evaluate", "run", "--condition", x, *FEW],
    "compare": lambda x: ["compare", "run", x, *FEW],
    "derive": lambda x: ["derive", x, "--paths", "2", "--images", "1"],
    "inspect": lambda x: ["inspect", x],
    "sample": lambda x: ["sample", x, "-n", "1", "-o", "new.png"],
    "improve": lambda x: ["improve", x, "-o", "better", *FEW],
    "improve --test": lambda x: ["improve", "run", "--test", x, "-o", "better", *FEW],
    "report": lambda x: ["report", x, "-o", "new.html"],
    "report --per-image": lambda x: ["report", "result.json", "--per-image", x, "-o", "new.html"],
    "cite": lambda x: ["cite", x],
    "train": lambda x: ["train", x, "-o", "new", "--smoke"],
    "train --data": lambda x: ["train", "digits", "--data", x, "-o", "new", "--smoke"],
    "train --resume": lambda x: ["train", "--resume", x],
    "train text --data": lambda x: ["train", "text", "--data", x, "-o", "new", "--smoke"],
    "demo --recipe": lambda x: ["demo", "--recipe", x, "-o", "new"],
    "evaluate --plan": lambda x: ["evaluate", "--plan", x],
    "evaluate --order": lambda x: ["evaluate", "twin.safetensors", "--order", x, *FEW[:2]],
    "evaluate --part": lambda x: ["evaluate", x, "--exhaustive", "--part", "1/2", "-o", "new.json"],
    "merge": lambda x: ["merge", x, "part-1.json", "-o", "new.json"],
    "check": lambda x: ["check", x, "--no-search"],
    "classify": lambda x: ["classify", x, *FEW[:2]],
    "rank": lambda x: ["rank", x, *FEW[:2]],
    "card": lambda x: ["card", x],
    "compress": lambda x: ["compress", x, "data.npy", "-o", "new.nlb"],
    "compress DATA": lambda x: ["compress", "twin.safetensors", x, "-o", "new.nlb"],
    "decompress": lambda x: ["decompress", x, "many.nlb", "-o", "new"],
    "decompress FILE": lambda x: ["decompress", "twin.safetensors", x, "-o", "new"],
    "improve --integers": lambda x: ["improve", x, "--integers", "-o", "better", *FEW[:2]],
    "recipes new": lambda x: ["recipes", "new", "--data", x, "--no-estimate", "-o", "new.toml"],
    "recipes show": lambda x: ["recipes", "show", x],
    "report MODEL": lambda x: ["report", x, "result.json", "--samples", "0", "-o", "new.html"],
    "report a result": lambda x: ["report", "run", x, "--samples", "0", "-o", "new.html"],
    "report a table": lambda x: ["report", x, "-o", "new.tex"],
    "report a figure": lambda x: ["report", x, "-o", "new.pdf"],
    "nelbo": lambda x: [],
}
BESIDE = ("run", "result.json", "data.npy", "twin.safetensors", "many.nlb", "part-1.json")
NAMES = (
    *("x.nlb", "x.txt", "x.jsonl", "x.pt", "x.bin", "x.ckpt", "x.pth", "x.npy", "x.npz"),
    *("x.safetensors", "x.json", "x.csv"),
    *("x.parquet", "x.toml", "x.png"),
)
FOLDERS = {
    "a run": "model.safetensors",
    "a pipeline": "model_index.json",
    "weights": "diffusion_pytorch_model.bin",
    "images": "x.png",
    "checkpoints": "checkpoints/step-000001.safetensors",
}


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


def attacks(canary: Path) -> dict[str, bytes]:
    """By name, what a file may hold."""
    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    payloads = {
        "os.system": Payload(os.system, touch),
        "exec": Payload(exec, code),
        "eval": Payload(eval, code),
        "open": Payload(open, str(canary), "w"),
        "nested": {"state_dict": [Payload(exec, code)]},
    }
    contents: dict[str, bytes] = {}
    for name, payload in payloads.items():
        for protocol in (0, 2, 4):
            contents[f"pickle {protocol} {name}"] = pickle.dumps(payload, protocol)
        contents[f"torch {name}"] = _saved(payload)
        contents[f"old torch {name}"] = _saved(payload, _use_new_zipfile_serialization=False)
        contents[f"npy {name}"] = _array(payload)
        contents[f"npz {name}"] = _zipped({"images.npy": _array(payload)})
        contents[f"gzip {name}"] = gzip.compress(pickle.dumps(payload))
    contents["an opcode alone"] = f"cos\nsystem\n(S'{touch}'\ntR.".encode()
    contents["python"] = code.encode()
    contents["a shell"] = f"#!/bin/sh\n{touch}\n".encode()
    contents["yaml"] = f"!!python/object/apply:os.system ['{touch}']".encode()
    contents["zip up"] = _zipped({f"../{canary.name}": b"x", f"{canary}": b"x"})
    contents["tar up"] = _tarred(canary)
    contents["eps"] = f"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%{touch}) (w) file\n".encode()
    contents["svg"] = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "/etc/passwd">]><x>&a;</x>'
    )
    for name, header in _headers(canary).items():
        contents[f"safetensors {name}"] = header
    for name, tree in {
        "a class of others": {"_class_name": ["os", "system"], "_diffusers_version": "0"},
        "a module of others": {"unet": ["os", "system"], "_class_name": "DDPMPipeline"},
        "a custom pipeline": {"_class_name": ["pipeline", "Evil"], "custom_pipeline": str(canary)},
        "a map": {"weight_map": {"x": f"../../{canary.name}"}, "metadata": {}},
        "a result": {"schema": "nelbo.evaluation/1", "command": f"$({touch})"},
        "deep": json.loads("[" * 900 + "]" * 900),
    }.items():
        contents[f"json {name}"] = json.dumps(tree).encode()
    contents["toml of a path"] = (
        f'name = "../../{canary.name}"\n[data]\ntrain = "{canary}"\n'.encode()
    )
    return contents


def _headers(canary: Path) -> dict[str, bytes]:
    """Heads of safetensors that lie."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    heads = {
        "overlap": {"a": entry, "b": entry},
        "hole": {"a": entry | {"data_offsets": [8, 16]}},
        "huge shape": {"a": entry | {"shape": [2**62, 2**62]}},
        "negative": {"a": entry | {"data_offsets": [-8, 8]}},
        "a path for a name": {f"../../{canary.name}": entry},
        "no entry": {"a": [1]},
        "a dtype of others": {"a": entry | {"dtype": "OBJECT"}},
    }
    texts = {name: json.dumps(head).encode() for name, head in heads.items()}
    made = {name: struct.pack("<Q", len(x)) + x + bytes(16) for name, x in texts.items()}
    made["a head without end"] = struct.pack("<Q", 2**63) + b"{}"
    made["twice a key"] = struct.pack("<Q", 18) + b'{"a": 1, "a": {}} '
    return made


def _saved(payload: object, **how: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": payload}, buffer, **how)
    return buffer.getvalue()


def _array(payload: object) -> bytes:
    buffer = io.BytesIO()
    array = np.empty(1, dtype=object)
    array[0] = payload
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tarred(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (str(canary), f"../{canary.name}"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


class Doors:
    """case(number): an attack under a name or in a folder, through a door. len(): how many."""

    def __init__(self, folder: Path) -> None:
        self.source, self.place, self.canary = folder, folder / "doors", folder / "canary"
        self.attacks = list(attacks(self.canary).items())
        self.doors = list(DOORS_OF_FILES.items())

    def __len__(self) -> int:
        return len(self.attacks) * len(self.doors)

    def __call__(self, number: int) -> str:
        name, content = self.attacks[number % len(self.attacks)]
        door, words = self.doors[number // len(self.attacks)]
        where = self._put(number, content)
        code, out, err = ended(self.place, words(where))
        text, case = out + err, f"for {name} as {where} through {door}"
        if self.canary.exists() or (self.place / self.canary.name).exists():
            self.canary.unlink(missing_ok=True)
            return f"code was run {case}"
        if "Traceback" in text or "this is a failure" in text:
            return f"traceback {case}: {text[-200:]!r}"
        lines = sum(line.startswith("nelbo: ") for line in err.splitlines())
        if code == 2 and lines == 1:
            return "refused"
        return "same" if code == 0 else f"exit {code} {case}: {err!r:.200}"

    def _put(self, number: int, content: bytes) -> str:
        """The file, or a folder with it, in an empty place beside a run; what to name."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for path in BESIDE:
            os.symlink(self.source / path, self.place / path)
        kinds = [*NAMES, *FOLDERS.values()]
        name = kinds[number * 7 % len(kinds)]
        path = self.place / name if name in NAMES else self.place / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name if name in NAMES else "x"


DOORS: dict[str, tuple[int, Callable[[Path], Callable[[int], str]]]] = {"attacks": (0, Doors)}
"""As FILES; how many cases there are, the attacks and the doors decide."""

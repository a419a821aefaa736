"""A folder that transformers wrote, of a network that says which token a masked one may be.

Its tokens, its mask and how many it takes at once are those of its own files. No code of the folder
is run, and nothing is downloaded.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from pydantic import JsonValue
from torch import nn

from nelbo.data.images import reason
from nelbo.data.symbols import Tokenizer
from nelbo.errors import BadInput
from nelbo.formats.diffusers.folder import read_json, refuse_pointer
from nelbo.formats.foreign import Options
from nelbo.formats.hub import snapshot_of
from nelbo.formats.weights import quiet
from nelbo.model import Model, masked_model, try_network
from nelbo.model.settings import Setting, Settings, Source
from nelbo.networks.adapter import Adapter
from nelbo.networks.tokens import Framed, TokenCall
from nelbo.typed_json import Count, Json, Typed, as_typed

__all__ = ["MaskedLM", "is_transformers", "load_masked_lm", "read_masked_lm"]

CONFIG, TOKENIZER, ABOUT = "config.json", "tokenizer.json", "tokenizer_config.json"
KIND = "ForMaskedLM"
OWN_WAY = "load it yourself, give it to nelbo.wrap_categorical, and give file.py:function"
COUNTED = "the tokens of the text; those that stand round it are seen and not counted"


class _Config(Typed):
    """What is read of the network's config."""

    architectures: list[str] | None = None
    auto_map: dict[str, JsonValue] | None = None
    vocab_size: Count
    max_position_embeddings: int | None = None


@final
@dataclass(frozen=True, eq=False)
class MaskedLM:
    """The network of such a folder as ids (B, L) -> logits (B, L, vocabulary), L <= `longest`.

    mask: the id that hides a token. alphabet: the folder's tokenizer. settings: what its files say.
    """

    network: Framed
    vocabulary: int
    mask: int
    alphabet: Tokenizer
    longest: int
    settings: Mapping[str, Setting]


def is_transformers(path: Path) -> bool:
    """Whether the folder has a config as transformers writes it, and not as diffusers does.

    Raises:
        BadInput: its config.json is no JSON object.
    """
    if not (path / CONFIG).is_file():
        return False
    config = read_json(path / CONFIG)
    return "_class_name" not in config and ("architectures" in config or "model_type" in config)


def load_masked_lm(path: Path, name: str, options: Options, weights: str | None) -> Model:
    """The folder's model in any order of revealing tokens; size= is the length of its windows.

    Raises:
        BadInput: as `read_masked_lm`; a window longer than the network takes, or another option.
    """
    others = [key for key in (*options.stated, *(["weights"] if weights else [])) if key != "size"]
    if others:
        raise BadInput(
            f"{path} is a masked language model of transformers: {', '.join(others)} is for "
            "diffusers folders; only size, the tokens of a window, is for it"
        )
    read = read_masked_lm(path)
    size = read.longest if options.size is None else options.size
    if not isinstance(size, int) or not 2 <= size <= read.longest:
        raise BadInput(
            f"{path} takes 2..{read.longest} tokens of a text at once, beside those that stand "
            f"round it; got size {size}"
        )
    source: Source = "config" if options.size is None else "option"
    settings = {**read.settings, "context": Setting(size, source)}
    snapshot = snapshot_of(path)
    model = masked_model(
        Adapter(TokenCall(read.network, read.vocabulary, read.mask, timed=False)),
        levels=read.vocabulary,
        shape=(size,),
        name=name,
        settings=Settings(
            network={"name": settings["architecture"].value},
            sources=settings,
            options=options.stated,
            notes={
                "mask": read.mask,
                "time_input": None,
                "counted": COUNTED,
                **({} if snapshot is None else {"hub": snapshot._asdict()}),
            },
        ),
    )
    model = replace(model, weights="as saved", alphabet=read.alphabet)
    try_network(model)
    return model


def read_masked_lm(path: str | Path) -> MaskedLM:
    """The network, the tokenizer and the mask of a folder of transformers.

    Raises:
        BadInput: no masked language model, or one that needs code of its own; a file missing or
            damaged, weights that do not fill the network, or no mask or length that a file says.
    """
    path = Path(path)
    if not is_transformers(path):
        raise BadInput(f"{path} is no folder of transformers: it has no {CONFIG} of its kind")
    config = as_typed(_Config, read_json(path / CONFIG), str(path / CONFIG))
    architecture = _architecture(path, config)
    names = _Names.of(path)
    if not (path / TOKENIZER).is_file():
        raise BadInput(
            f"{path} has no {TOKENIZER}: save it there by "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )
    refuse_pointer(path / TOKENIZER)
    alphabet = Tokenizer(path / TOKENIZER, padding=names.padding, size=config.vocab_size)
    if names.mask is None:
        raise BadInput(f"{path / ABOUT} names no mask_token, which hides a token: put it there")
    mask = alphabet.token(names.mask, "to hide another")
    before, behind = alphabet.around()
    module = _network(path)
    around = [alphabet.decode(ids).decode() for ids in (before, behind)]
    settings = {
        "architecture": Setting(architecture, "config"),
        "vocabulary": Setting(config.vocab_size, "config"),
        "mask": Setting(names.mask, "config"),
        "around": Setting(" ... ".join(around) if before or behind else None, "config"),
        "padding": Setting(names.padding, "config"),
        "weights": Setting("as saved", "config"),
    }
    longest = _longest(path, config, module, names) - len(before) - len(behind)
    network = Framed(module, before, behind, alphabet.padding)
    return MaskedLM(network, config.vocab_size, mask, alphabet, longest, settings)


@final
@dataclass(frozen=True)
class _Names:
    """What the tokenizer's config calls the mask and the padding, and the longest text it says."""

    mask: str | None
    padding: str | None
    most: int | None

    @classmethod
    def of(cls, path: Path) -> "_Names":
        known: dict[str, Json] = {}
        for place in (path / "special_tokens_map.json", path / ABOUT):
            known |= read_json(place) if place.is_file() else {}
        most = known.get("model_max_length")
        return cls(
            _content(known.get("mask_token")),
            _content(known.get("pad_token")),
            most if isinstance(most, int) else None,  # a float where there is no limit: 1e30
        )


def _content(token: object) -> str | None:
    """A token's text, which stands alone or in an object with how it is matched."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _architecture(path: Path, config: _Config) -> str:
    """The name of the network's class.

    Raises:
        BadInput: it is no masked language model, or its code is in the folder.
    """
    names = config.architectures or ["a network without a head"]
    if config.auto_map:
        raise BadInput(
            f"{path} needs Python code that is in it or on the hub, which is not run: {OWN_WAY}"
        )
    if not names[0].endswith(KIND):
        raise BadInput(
            f"{path} is a folder of transformers with {names[0]}: of these only *{KIND} are "
            f"measured, which say what a masked token is; for another, {OWN_WAY}"
        )
    return names[0]


def _longest(path: Path, config: _Config, module: nn.Module, names: _Names) -> int:
    """How many tokens the network takes at once, with those that stand round a text.

    A table of places with a padding, as RoBERTa's, begins to count behind that.

    Raises:
        BadInput: no file says it.
    """
    tables = [
        part
        for name, part in module.named_modules()
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding)
    ]
    limits = [names.most, config.max_position_embeddings]
    limits += [x.num_embeddings - x.padding_idx - 1 for x in tables if x.padding_idx is not None]
    known = [limit for limit in limits if limit is not None and limit > 0]
    if not known:
        raise BadInput(
            f"{path}: neither {CONFIG} nor {ABOUT} says how many tokens the network takes at "
            "once: put model_max_length into the latter"
        )
    return min(known)


def _network(path: Path) -> nn.Module:
    """The module with its weights, in float32.

    Raises:
        BadInput: transformers is not there or does not read it, or weights are missing.
    """
    try:
        library = importlib.import_module("transformers")
    except ImportError:
        raise BadInput(
            f"{path} is read by transformers, which is not here: pip install 'nelbo[text]'"
        ) from None
    for file in path.glob("*.safetensors"):
        refuse_pointer(file)
    try:
        with quiet(library.utils.logging):
            module, seen = library.AutoModelForMaskedLM.from_pretrained(
                str(path),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except MemoryError:
        raise
    except Exception as error:  # its own and those of its parts have no common base
        raise BadInput(f"{path}: transformers does not read it ({reason(error):.200})") from error
    missing = sorted(map(str, [*seen["missing_keys"], *seen["mismatched_keys"]]))
    if missing:
        raise BadInput(
            f"{path}: {len(missing)} of the network's weights are not in its files or of another "
            f"shape, such as {missing[0]}: they would be random"
        )
    network: nn.Module = module.float()
    return network

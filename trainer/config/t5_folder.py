"""What does a T5 folder of Hugging Face hold? Read from its config.json and the heads of its files.

T5, T5 1.1, Flan-T5 and mT5 differ in their feed-forward layer, in their sizes and in whether the logits have
a matrix of their own. Standard library only, so that a config that begins with a folder is checked without
loading anything: a .safetensors file begins with the names, types and places of its tensors as JSON. What a
pytorch_model.bin holds is found out when it is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.config.choices import ACTIVATIONS, Dimensions

CONFIG, SPIECE = "config.json", "spiece.model"
WHOLE = {"safetensors": "model.safetensors", "pickle": "pytorch_model.bin"}
SHARED, OUTPUT = "shared.weight", "lm_head.weight"
# A shared embedding goes by any of these.
EMBEDDINGS = (SHARED, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2}
Format = Literal["safetensors", "pickle"]

# What our model has built in: by key, the value that a config has, or means where it is silent.
_FIXED: Mapping[str, Any] = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "is_encoder_decoder": True,
}
_SIZES = ("d_model", "d_kv", "d_ff", "num_heads", "num_layers", "vocab_size")
_MOST_HEAD = 10**8  # bytes of a head; that of an 11B model has some 100,000
_ADVICE = "Allowed are folders of T5, T5 1.1, Flan-T5 and mT5 as transformers writes them."


class FolderError(ValueError):
    """A folder that cannot be used, in a sentence."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor's numbers lie in a .safetensors file."""

    file: Path
    dtype: str  # F32, BF16, F16 …
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class T5Folder:
    path: Path
    family: str  # "T5", "T5 1.1" (Flan-T5 too) or "mT5"
    dimensions: Dimensions
    vocabulary: int  # rows of the embedding
    format: Format
    files: tuple[Path, ...]  # of the weights
    tensors: Mapping[str, Tensor] | None  # None: a pickle, which only a reading can tell
    unusual: tuple[str, ...] = ()  # sentences


def read(path: str | Path) -> T5Folder:
    """FolderError names the file, what was found and what is allowed."""
    folder = Path(path).expanduser()
    config = _config(folder)
    family, dimensions = _family(folder, config), _dimensions(folder, config)
    kind, files = _weights(folder)
    tensors = None if kind == "pickle" else _all_heads(files)
    unusual: list[str] = []
    own = not _scales(config)
    if tensors is not None:
        _check_output(folder, config, tensors, own, unusual)
        rows = _rows(folder, tensors)
        if rows != config["vocab_size"]:
            raise FolderError(
                f"{folder / CONFIG} says that the vocabulary has {config['vocab_size']:,} rows, and the "
                f"embedding has {rows:,}. Allowed is the same number: mend config.json, or the weights."
            )
    return T5Folder(
        path=folder,
        family=family,
        dimensions=Dimensions(**dimensions, output="own" if own else "shared"),
        vocabulary=int(config["vocab_size"]),
        format=kind,
        files=files,
        tensors=tensors,
        unusual=tuple(unusual),
    )


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file():
        there = "there is no such folder" if not folder.is_dir() else f"it has no {CONFIG}"
        raise FolderError(f"{folder} is to hold a T5 model, and {there}. {_ADVICE}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise FolderError(f"{file} cannot be read as JSON ({problem}). {_ADVICE}") from None
    if not isinstance(config, dict):
        raise FolderError(f"{file} holds no JSON object. {_ADVICE}")
    return config


def _family(folder: Path, config: Mapping[str, Any]) -> str:
    kind, made = config.get("model_type"), config.get("architectures") or []
    if kind not in ("t5", "mt5"):
        raise FolderError(
            f"{folder / CONFIG} is of a model of the type {kind!r}. Allowed are 't5' and 'mt5'. {_ADVICE}"
        )
    if any("Encoder" in str(name) for name in made):
        raise FolderError(
            f"{folder / CONFIG} is of {made[0]}, an encoder alone. Allowed is a whole model, encoder and "
            f"decoder. {_ADVICE}"
        )
    for key, ours in _FIXED.items():
        if (found := config.get(key, ours)) != ours:
            raise FolderError(f"{folder / CONFIG}: {key} is {found!r}. Allowed is {ours!r}. {_ADVICE}")
    if kind == "mt5":
        return "mT5"
    return "T5 1.1" if config.get("feed_forward_proj") == "gated-gelu" else "T5"


def _dimensions(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    for key in _SIZES:
        found = config.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise FolderError(f"{folder / CONFIG}: {key} is {found!r}. Allowed is a whole number from 1.")
    activation = config.get("feed_forward_proj", "gated-gelu" if config["model_type"] == "mt5" else "relu")
    if activation not in ACTIVATIONS:  # by the same names
        raise FolderError(
            f"{folder / CONFIG}: feed_forward_proj is {activation!r}. Allowed: {', '.join(ACTIVATIONS)}."
        )
    layers = int(config["num_layers"])
    of_decoder = config.get("num_decoder_layers") or layers
    return {
        "d_model": config["d_model"],
        "d_attention": config["d_kv"] * config["num_heads"],
        "d_ff": config["d_ff"],
        "heads": config["num_heads"],
        "layers": layers,
        "positions": "relative",
        "norm": "rms",
        "activation": activation,
        "decoder_layers": 0 if of_decoder == layers else int(of_decoder),
    }


def _scales(config: Mapping[str, Any]) -> bool:
    """Are the logits scaled products with the embedding, T5 1.0's way? transformers 5 says so by name, and
    writes that the embedding is tied into every config; before, only that said it. mT5 never does."""
    if config["model_type"] == "mt5":
        return False
    return bool(config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False))


def _weights(folder: Path) -> tuple[Format, tuple[Path, ...]]:
    """The files of the weights: one, or the shards that an index names."""
    kinds: tuple[Format, ...] = ("safetensors", "pickle")
    for kind in kinds:
        if (folder / WHOLE[kind]).is_file():
            return kind, (folder / WHOLE[kind],)
        index = folder / f"{WHOLE[kind]}.index.json"
        if index.is_file():
            return kind, _shards(index)
    raise FolderError(
        f"{folder} has neither {WHOLE['safetensors']} nor {WHOLE['pickle']}, nor the index of their shards "
        f"({WHOLE['safetensors']}.index.json). Put the weights there."
    )


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise FolderError(f"{index} is no index of shards ({problem!r}). Copy it anew.") from None
    files = tuple(index.parent / str(name) for name in names)
    outside = [name for name in names if "/" in str(name) or str(name).startswith(".")]
    missing = [file.name for file in files if not file.is_file()]
    if outside or missing or not files:
        what = f"{outside[0]!r}, outside the folder" if outside else f"{', '.join(missing[:3])}, not there"
        raise FolderError(f"{index} names {what if files else 'no file'}. Copy the whole folder.")
    return files


# -- the heads of .safetensors files ---------------------------------------------------------------------


def _all_heads(files: tuple[Path, ...]) -> dict[str, Tensor]:
    return {name: tensor for file in files for name, tensor in head(file).items()}


def head(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file: the length of a JSON object in 8 bytes, the object, the numbers."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEAD):
                raise FolderError(
                    f"{file} has {size:,} bytes and is to begin with a head of {length:,}: it is cut off, or "
                    f"no .safetensors file. Copy it anew."
                )
            told = json.loads(stream.read(length))
    except (OSError, ValueError) as problem:
        if isinstance(problem, FolderError):
            raise
        raise FolderError(f"{file} cannot be read ({problem}). Copy it anew.") from None
    begin = 8 + length
    try:
        found = {
            name: Tensor(file, of["dtype"], tuple(map(int, of["shape"])), *(begin + at for at in _places(of)))
            for name, of in told.items()
            if name != "__metadata__"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FolderError(f"{file} has a head that names no tensors. Copy it anew.") from None
    for name, tensor in found.items():
        _check_place(file, name, tensor, size)
    return found


def _places(of: Mapping[str, Any]) -> tuple[int, int]:
    begin, end = of["data_offsets"]
    return int(begin), int(end)


def _check_place(file: Path, name: str, tensor: Tensor, size: int) -> None:
    if tensor.dtype not in WIDTHS:
        raise FolderError(
            f"{file}: the tensor {name} is of the type {tensor.dtype}. Allowed: {', '.join(WIDTHS)}."
        )
    if tensor.end > size:
        raise FolderError(
            f"{file} has {size:,} bytes, and its tensor {name} ends at byte {tensor.end:,}: the file is cut "
            f"off. Copy it anew."
        )
    needed = math.prod(tensor.shape) * WIDTHS[tensor.dtype]
    if tensor.end - tensor.begin != needed:
        raise FolderError(
            f"{file}: the tensor {name} has {tensor.end - tensor.begin:,} bytes, and its shape "
            f"{list(tensor.shape)} of {tensor.dtype} needs {needed:,}. Copy it anew."
        )


def _embedding(folder: Path, tensors: Mapping[str, Any]) -> str:
    """The name of the shared embedding."""
    name = next((name for name in EMBEDDINGS if name in tensors), None)
    if name is None:
        raise FolderError(
            f"The weights in {folder} have no embedding. Allowed is a tensor of one of the names "
            f"{', '.join(EMBEDDINGS)}."
        )
    return name


def _rows(folder: Path, tensors: Mapping[str, Tensor]) -> int:
    return (*tensors[_embedding(folder, tensors)].shape, 0)[0]


def _check_output(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], own: bool, unusual: list[str]
) -> None:
    """Does the matrix of the logits that the files have go with the one that config.json states?"""
    embedding = tensors[_embedding(folder, tensors)]
    differs = OUTPUT in tensors and not _equal(embedding, tensors[OUTPUT])
    if not own and differs:
        raise FolderError(
            f"{folder / CONFIG} says that the logits share the embedding, and {OUTPUT} differs from it. Set "
            f"tie_word_embeddings to false to use it, or take it out of the weights."
        )
    if own and OUTPUT not in tensors and "scale_decoder_outputs" not in config:
        says = str(config.get("tie_word_embeddings", False)).lower()
        raise FolderError(
            f"{folder / CONFIG} says that the output matrix is one of its own (tie_word_embeddings is "
            f"{says}), and the weights have no {OUTPUT}. Put it there, or set tie_word_embeddings to true."
        )
    if own and not differs:
        unusual.append(
            "The matrix of the logits holds the embedding's numbers, unscaled. Here it is one of its own "
            "from then on."
        )


def _equal(one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.file, one.begin) == (other.file, other.begin):
        return True
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.begin)
        second.seek(other.begin)
        left = one.end - one.begin
        while left:
            part = min(left, 1 << 22)
            if first.read(part) != second.read(part):
                return False
            left -= part
    return True

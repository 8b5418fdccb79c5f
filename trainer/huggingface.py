"""How do T5's weights come from a folder of Hugging Face, and go into one that transformers loads?

    folder = t5_folder.read("t5-small/")               # standard library: dimensions, files, what is unusual
    params = load(folder)                              # our tree in numpy, float32
    export(Path("out/"), settings, params, …)          # model.safetensors, config.json, the vocabulary

One name of theirs for one of ours; a kernel is theirs transposed. Tensors are read one after the other, so
that no second copy of a model is ever in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from trainer.config.t5_folder import CONFIG, EMBEDDINGS, OUTPUT, SHARED, SPIECE, FolderError, T5Folder
from trainer.models import Settings, param_shapes, tensor_files
from trainer.protocol import whole

# In files of T5 1.0, and read by nobody: see transformers, `_keys_to_ignore_on_load_unexpected`.
_IDLE = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}
_MOST_NAMED = 3


def settings_of(folder: T5Folder, **more: Any) -> Settings:
    """The settings of the folder's model; dropout and the like are a run's own."""
    d = folder.dimensions
    return Settings(
        **{f: getattr(d, f) for f in d.__dataclass_fields__}, vocabulary=folder.vocabulary, **more
    )


def names(settings: Settings) -> dict[str, str]:
    """Theirs by ours."""
    return dict(_names(settings))


def _names(s: Settings) -> Iterator[tuple[str, str]]:
    yield "embedding", SHARED
    if s.output == "own":
        yield "output", OUTPUT
    for stack, layers in (("encoder", s.layers), ("decoder", s.of_decoder)):
        relative = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield f"{stack}_relative", relative
        yield f"{stack}_norm/scale", f"{stack}.final_layer_norm.weight"
        parts = {"attention": "SelfAttention", "cross": "EncDecAttention", "feed_forward": "DenseReluDense"}
        if stack == "encoder":
            del parts["cross"]
        for layer in range(layers):
            for number, (part, theirs) in enumerate(parts.items()):
                at = f"{stack}.block.{layer}.layer.{number}"
                yield f"{stack}_{layer}/{part}_norm/scale", f"{at}.layer_norm.weight"
                for kernel, their_kernel in _kernels(part, s).items():
                    yield f"{stack}_{layer}/{part}/{kernel}/kernel", f"{at}.{theirs}.{their_kernel}.weight"


def _kernels(part: str, s: Settings) -> Mapping[str, str]:
    if part != "feed_forward":
        return _ATTENTION
    if s.activation == "relu":
        return {"up": "wi", "down": "wo"}
    return {"gate": "wi_0", "up": "wi_1", "down": "wo"}


# -- in ----------------------------------------------------------------------------------------------------


def load(folder: T5Folder) -> dict[str, Any]:
    """The tree of parameters. FolderError names the file, what was found and what is allowed."""
    readers, theirs = _matched(folder)
    shapes = param_shapes(settings_of(folder))
    leaves = [
        _one(folder, theirs[_path(at)], readers, leaf.shape)
        for at, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    ]
    return dict(jax.tree.unflatten(jax.tree.structure(shapes), leaves))


def check(folder: T5Folder) -> None:
    """FolderError where `load` would find a tensor missing, foreign or of another shape. Of the numbers of a
    .safetensors file none is read."""
    _, theirs = _matched(folder)
    if folder.tensors is None:
        load(folder)
        return
    for at, leaf in jax.tree_util.tree_leaves_with_path(param_shapes(settings_of(folder))):
        name = theirs[_path(at)]
        shape = folder.tensors[name].shape
        _refuse_shape(folder, name, shape, leaf.shape[::-1] if _is_kernel(name) else leaf.shape)


def _matched(folder: T5Folder) -> tuple[Mapping[str, Callable[[], np.ndarray]], dict[str, str]]:
    """The folder's tensors by their names, and their names by ours."""
    readers = tensor_files.open_tensors(folder)
    theirs = names(settings_of(folder))
    theirs["embedding"] = next((name for name in EMBEDDINGS if name in readers), SHARED)
    if "output" in theirs and OUTPUT not in readers:  # transformers 5 makes the two one
        theirs["output"] = theirs["embedding"]
    _refuse_others(folder, readers, theirs)
    return readers, theirs


def _refuse_others(
    folder: T5Folder, readers: Mapping[str, Callable[[], np.ndarray]], theirs: Mapping[str, str]
) -> None:
    missing = sorted(set(theirs.values()) - readers.keys())
    if missing:
        raise FolderError(
            f"The weights in {folder.path} lack {_some(missing)}. Allowed is a whole {folder.family} model "
            f"of the sizes that its {CONFIG} states."
        )
    allowed = {*theirs.values(), *EMBEDDINGS, *_IDLE}
    if folder.dimensions.output == "shared" and OUTPUT in readers:
        if folder.tensors is None and not np.array_equal(readers[OUTPUT](), readers[theirs["embedding"]]()):
            raise FolderError(
                f"{folder.files[0]} has an output matrix of its own ({OUTPUT}), and {CONFIG} says that the "
                f"logits share the embedding. Set tie_word_embeddings to false there to use it."
            )
        allowed.add(OUTPUT)
    foreign = sorted(readers.keys() - allowed)
    if foreign:
        raise FolderError(
            f"The weights in {folder.path} hold {_some(foreign)}, which no {folder.family} model of the "
            f"sizes in its {CONFIG} has. Take them out, or mend {CONFIG}."
        )
    for alias in EMBEDDINGS:
        if alias in readers and alias != theirs["embedding"]:
            _refuse_unequal(folder, readers, theirs["embedding"], alias)


def _refuse_unequal(
    folder: T5Folder, readers: Mapping[str, Callable[[], np.ndarray]], one: str, other: str
) -> None:
    if not np.array_equal(readers[one](), readers[other]()):
        raise FolderError(
            f"The weights in {folder.path} have two embeddings: {one} and {other} differ. Allowed is one "
            f"that encoder and decoder share; take the wrong one out."
        )


def _one(
    folder: T5Folder, name: str, readers: Mapping[str, Callable[[], np.ndarray]], shape: tuple[int, ...]
) -> np.ndarray:
    numbers, turned = readers[name](), _is_kernel(name)
    _refuse_shape(folder, name, numbers.shape, shape[::-1] if turned else shape)
    # A copy also where none is needed: the file may change while the model is trained.
    return np.array(numbers.T if turned else numbers, np.float32, order="C")


def _refuse_shape(folder: T5Folder, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise FolderError(
            f"The weights in {folder.path}: {name} has the shape {list(found)}, and by {CONFIG} it is "
            f"{list(wanted)}. Mend {CONFIG}, or the weights."
        )


def _is_kernel(name: str) -> bool:
    """Is it one of the matrices that are transposed here?"""
    return name.rsplit(".", 2)[-2] in (*_ATTENTION.values(), "wi", "wi_0", "wi_1", "wo")


def _some(some: list[str]) -> str:
    more = f" and {len(some) - _MOST_NAMED:,} more" if len(some) > _MOST_NAMED else ""
    return ", ".join(some[:_MOST_NAMED]) + more


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


# -- out ---------------------------------------------------------------------------------------------------


def export(folder: Path, settings: Settings, params: Any, *, vocabulary: bytes, dropout: float) -> None:
    """A folder for `T5ForConditionalGeneration.from_pretrained`: weights, config.json, spiece.model."""
    problem = not_exportable(settings)
    if problem:
        raise ValueError(problem)
    folder.mkdir(parents=True, exist_ok=True)
    ours = {_path(at): np.asarray(leaf) for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
    tensors = {name: ours[own].T if _is_kernel(name) else ours[own] for own, name in names(settings).items()}
    tensor_files.save(folder / "model.safetensors", tensors)
    _write(folder / SPIECE, vocabulary)
    _write(folder / CONFIG, json.dumps(_config(settings, dropout), indent=2, sort_keys=True).encode() + b"\n")


def not_exportable(settings: Settings) -> str:
    """Why transformers has no such model; empty where it has."""
    if settings.stacks != "encoder-decoder":
        return (
            f"This model has the stacks {settings.stacks!r}, and a T5 of transformers is an encoder-decoder "
            f"with layers of its own in each stack. Allowed is model.stacks encoder-decoder; init and "
            f"orch translate read the run's own folder."
        )
    ours = {"positions": settings.positions, "norm": settings.norm}
    if ours == {"positions": "relative", "norm": "rms"}:
        return ""
    told = " and ".join(f"{name} {value!r}" for name, value in ours.items())
    return (
        f"This model has {told}, and a T5 has relative positions and rms norms. Allowed are models of T5's "
        f"kind, such as t5-tiny and t5-small."
    )


def _config(s: Settings, dropout: float) -> dict[str, Any]:
    """As transformers writes one, with all that our model has built in."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_model": s.d_model,
        "d_kv": s.head_dim,
        "d_ff": s.d_ff,
        "num_heads": s.heads,
        "num_layers": s.layers,
        "num_decoder_layers": s.of_decoder,
        "vocab_size": s.vocabulary,
        "feed_forward_proj": s.activation,
        "tie_word_embeddings": s.output == "shared",
        "scale_decoder_outputs": s.output == "shared",  # what transformers 5 reads
        "dropout_rate": dropout,
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "use_cache": True,
        "torch_dtype": "float32",
    }


def _write(path: Path, data: bytes) -> None:
    with whole(path) as unfinished:
        unfinished.write_bytes(data)

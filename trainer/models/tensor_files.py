"""How do named tensors come out of a .safetensors file or a PyTorch pickle, one at a time, and into a file?

What is computed with is float32: files in bfloat16 and float16 are widened as they are read. A .safetensors
file is mapped into memory; so is a pickle where it is a zip, as all of the last years are. A pickle is read
as weights only: one that holds more than tensors is refused, unopened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.t5_folder import FolderError, T5Folder, Tensor
from trainer.protocol import whole

_METADATA = {"format": "pt"}  # without which transformers refuses a file


def open_tensors(folder: T5Folder) -> dict[str, Callable[[], np.ndarray]]:
    """By name, what reads the tensor as float32. FolderError where a file cannot be read."""
    if folder.tensors is not None:
        return {name: _mapped(tensor) for name, tensor in folder.tensors.items()}
    found: dict[str, Callable[[], np.ndarray]] = {}
    for file in folder.files:
        found |= _unpickled(file)
    return found


def _mapped(tensor: Tensor) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[tensor.dtype]
        shape = tensor.shape or (1,)
        raw = np.memmap(tensor.file, kind, mode="r", offset=tensor.begin, shape=shape)
        if tensor.dtype == "BF16":  # the upper half of a float32
            return (raw.astype("<u4") << 16).view("<f4").reshape(tensor.shape)
        return np.asarray(raw, np.float32).reshape(tensor.shape)

    return read


def _unpickled(file: Path) -> dict[str, Callable[[], np.ndarray]]:
    try:
        import torch
    except ImportError as missing:
        raise FolderError(
            f"{file} is a file of PyTorch, which is not installed. Install it (pip install torch), or save "
            f"the model as .safetensors."
        ) from missing
    try:
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as problem:
            if "mmap" not in str(problem):
                raise
            tensors = torch.load(file, map_location="cpu", weights_only=True)  # of before zips
    except Exception as problem:  # whatever a file that is none can bring about
        more = "Weights only" in str(problem) or "weights_only" in str(problem)
        what = "holds more than tensors, and is not opened" if more else f"cannot be read ({_first(problem)})"
        raise FolderError(
            f"{file} {what}. Allowed is a file of tensors by name, as torch.save(model.state_dict()) writes "
            f"it; .safetensors is safer."
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(each, torch.Tensor) for each in tensors.values()):
        raise FolderError(
            f"{file} holds {type(tensors).__name__} with other things than tensors. Allowed are tensors by "
            f"name, as torch.save(model.state_dict()) writes them."
        )
    return {str(name): _widened(tensor) for name, tensor in tensors.items()}


def _first(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0][:120]


def _widened(tensor: Any) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        numbers: np.ndarray = tensor.float().numpy()
        return numbers

    return read


def save(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A .safetensors file in float32, whole or not at all. Equal tensors give equal bytes."""
    head: dict[str, Any] = {"__metadata__": _METADATA}
    at = 0
    for name in sorted(tensors):
        size = tensors[name].size * 4
        head[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole(path) as unfinished, unfinished.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            np.ascontiguousarray(tensors[name], "<f4").tofile(file)

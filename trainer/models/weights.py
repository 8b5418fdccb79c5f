"""How do parameters leave a run, and come back? One file of named arrays, `params.npz`, float32.

It holds the parameters that are evaluated, for whoever translates or trains on; a checkpoint holds the
whole run.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from trainer.models import mesh
from trainer.protocol import whole


def save(path: Path, params: Any, *, writes: bool = True) -> None:
    """The file is there whole or not at all. All processes of a gang call it, and one of them writes."""
    arrays: dict[str, Any] = {}
    for at, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = mesh.gathered(leaf)
        if writes:
            arrays[_name(at)] = array
    if not writes:
        return
    with whole(path) as file:
        np.savez(file, **arrays)


def load(path: Path, like: Any) -> Any:
    """Parameters of this structure (arrays or their shapes). ValueError says what does not fit."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    wanted = {_name(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(like)}
    wrong = sorted(arrays.keys() ^ wanted.keys())
    wrong = wrong or [name for name, leaf in wanted.items() if arrays[name].shape != leaf.shape]
    if wrong:
        raise ValueError(
            f"{path} does not fit this model: {', '.join(wrong[:3])} ({len(wrong)} of {len(wanted)} arrays "
            f"differ by name or shape). Use the config that it was trained with."
        )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """Of one array, unread."""
    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as array:
        version = np.lib.format.read_magic(array)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, _ = readers[version](array)
    return tuple(shape)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")

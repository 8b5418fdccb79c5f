"""Where do arrays live when there are several devices?

One mesh of three axes. `data`: each device its own rows, all parameters. `fsdp`: its own rows and a shard
of every large parameter, gathered when it is used. `tensor`: heads, hidden units and vocabulary are split.
The compiler adds the communication; the numbers are those of one device but for the order of sums.

    mesh = make_mesh(config.mesh)
    state, batch = place_state(state, mesh), place_batch(batch, mesh)
    with jax.set_mesh(mesh):
        state, metrics = step(state, batch)

Gradients and new states are to pass through `pin_state` inside the step: left to itself the compiler gives
back a whole copy to every device.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from trainer.config import MeshConfig
from trainer.models import meeting
from trainer.models.meeting import WITHIN_S
from trainer.models.roll_call import call_the_roll
from trainer.protocol import Place

HEARTBEAT_S = 30  # without one from a process, JAX ends the others
LEAVE_S = 30  # for the others to leave too

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")  # a batch's rows are split over both

# By a parameter's name, wherever it stands in a path: the axis of each dimension. All else is whole
# everywhere.
_RULES = {
    r"embedding|output": ("tensor", "fsdp"),
    r"(query|key|value|up|gate)/kernel": ("fsdp", "tensor"),
    r"(out|down)/kernel": ("tensor", "fsdp"),
    r"(up|gate)/bias": ("tensor",),
    r"(source|target)(_in|_out|_segments|_positions)?": (ROWS, None),  # a batch that is kept in the state
}
_PATTERNS = tuple((re.compile(rf"(^|/)({name})(/|$)"), axes) for name, axes in _RULES.items())


def start_distributed(place: Place, *, within_s: float = WITHIN_S) -> None:
    """Joins the other processes of a gang; before any other use of JAX. Nothing to do for one process, nor
    for one that has joined them already. PeerLost says who does not come in time."""
    joined = distributed.global_state
    if joined.client is not None:
        here = Place(joined.process_id, joined.num_processes, joined.coordinator_address)
        if here != dataclasses.replace(place, preempt_at=None):
            raise ValueError(
                f"This process is {_named(here)} and cannot be {_named(place)}. Start another one for that."
            )
        return
    if place.process_count == 1:
        return
    if place.coordinator is None:
        raise ValueError(
            f"Process {place.process_index} of {place.process_count} has no coordinator. "
            f"Give Place the host:port at which process 0 can be reached."
        )
    call_the_roll(place, within_s=within_s)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # only matters where there are just CPUs
    with meeting.telling_who_is_gone(place):
        jax.distributed.initialize(
            coordinator_address=place.coordinator,
            num_processes=place.process_count,
            process_id=place.process_index,
            initialization_timeout=math.ceil(within_s),
            heartbeat_timeout_seconds=HEARTBEAT_S,
            shutdown_timeout_seconds=LEAVE_S,
        )
        meeting.introduce()
        meeting.meet("start", within_s=within_s)
        jax.devices()  # they tell each other which they have
    _require_own_number(place)


def _require_own_number(place: Place) -> None:
    """On a TPU libtpu numbers the processes, by the machine's own place in its slice."""
    if jax.process_index() != place.process_index:
        raise RuntimeError(
            f"libtpu numbers this process {jax.process_index()}, and its gang numbers it "
            f"{place.process_index}: the hosts of the slice are not in their order, or one of them holds a "
            f"stale TPU_WORKER_ID. Start the workers of this host anew."
        )


def _named(place: Place) -> str:
    at = f" at {place.coordinator}" if place.coordinator else ""
    return f"process {place.process_index} of {place.process_count}{at}"


def make_mesh(config: MeshConfig) -> Mesh:
    """The first devices, in three axes; with several processes all devices, since each must take part."""
    shape = tuple(getattr(config, axis) for axis in AXES)
    devices, wanted = jax.devices(), math.prod(shape)
    if wanted > len(devices) or (jax.process_count() > 1 and wanted != len(devices)):
        raise ValueError(
            f"mesh.data · mesh.fsdp · mesh.tensor is {wanted} and there are {len(devices)} devices in "
            f"{jax.process_count()} processes. Allowed is at most their number, with several processes "
            f"exactly it."
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices[:wanted])


def partition(name: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """How the array at a path is split; optimizer states hold the parameters' paths within their own.

    A dimension that its axis does not divide stays whole. So does an array of another rank than its
    parameter, as Adafactor's row and column sums are: they are small.
    """

    def fitting(axis: Any, size: int) -> Any:
        parts = math.prod(mesh.shape[name] for name in ((axis,) if isinstance(axis, str) else axis or ()))
        return axis if size % parts == 0 else None

    for pattern, axes in _PATTERNS:
        if pattern.search(name) and len(axes) == len(shape):
            return PartitionSpec(*(fitting(axis, size) for axis, size in zip(axes, shape, strict=True)))
    return PartitionSpec()


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """The tree of shardings of a train state, of its parameters or of their shapes."""

    def one(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, partition(name, np.shape(leaf), mesh))

    return jax.tree_util.tree_map_with_path(one, state)


def place_state(state: Any, mesh: Mesh) -> Any:
    """A state on the mesh. Every process gives the whole of it and keeps its shards."""
    return jax.tree.map(_placed, state, state_shardings(state, mesh))


def place_batch(batch: Any, mesh: Mesh, *, leading_dims: int = 0) -> Any:
    """A batch on the mesh, split by rows. Every process gives the whole of it and keeps its own rows.

    So a run sees the same batches on any number of hosts; text is small. `leading_dims` come before the
    rows and stay whole: 1 for a chunk of batches that a scan goes through.
    """
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * leading_dims, ROWS))
    return jax.tree.map(lambda leaf: _placed(leaf, sharding), batch)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def gathered(leaf: Any) -> np.ndarray:
    """The whole array on the host, also where other hosts hold parts of it: then all of them ask together."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def pin_state(state: Any) -> Any:
    """Inside a step: a tree with the parameters' paths in it keeps their shards."""
    ambient = _ambient()
    if ambient is None:
        return state

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.lax.with_sharding_constraint(leaf, partition(name, leaf.shape, ambient))

    return jax.tree_util.tree_map_with_path(one, state)


def pin_rows(x: jax.Array, last_axis: str | None = None) -> jax.Array:
    """Inside a model: rows stay with their devices, so that the compiler moves parameters instead.

    Does nothing where the program is traced without `jax.set_mesh`, or the rows cannot be split.
    """
    ambient = _ambient()
    if ambient is None or x.shape[0] % math.prod(ambient.shape[axis] for axis in ROWS):
        return x
    if last_axis is not None and x.shape[-1] % ambient.shape[last_axis]:
        last_axis = None
    spec = PartitionSpec(ROWS, *[None] * (x.ndim - 2), last_axis)
    return jax.lax.with_sharding_constraint(x, spec)


def is_split() -> bool:
    """Is the program traced for several devices?"""
    return _ambient() is not None


def _ambient() -> AbstractMesh | None:
    """The mesh that the program is traced for, if it is like ours and has several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    ours = set(AXES) <= set(mesh.axis_names) and set(mesh.axis_types) == {AxisType.Auto}
    return mesh if ours and mesh.size > 1 else None

"""A small JAX network that the devices of several processes train together, each on its own rows."""

import time
from functools import cache
from pathlib import Path

import numpy as np

from trainer.protocol import Outcome, PeerLost, Place, Reply, Report, resume_note, whole

DEFAULTS = {"seed": 0, "steps": 60, "lr": 0.1}
ROWS, EVERY = 64, 10  # rows of a step, over all devices; steps between two reports


def check(config: dict) -> list[str]:
    """Sentences that say what is wrong. It is asked before anything is spent, and loads no JAX."""
    c = {**DEFAULTS, **config}
    problems = [f"Unknown key {k!r}. Allowed: {', '.join(DEFAULTS)}." for k in c if k not in DEFAULTS]
    return problems + [f"{k} is {c[k]}. Allowed: above 0." for k in ("steps", "lr") if c[k] <= 0]


def shape_key(config: dict) -> str:
    return "gang-jax"


def rows(seed: int, step: int):
    """All rows of a step, a function of the seed and the step alone."""
    rng = np.random.default_rng((seed, step))
    x = rng.normal(size=(ROWS, 8)).astype(np.float32)
    return x, np.sin(2 * x[:, :1] + x[:, 1:2] * x[:, 2:3])


def initial(seed: int):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (8, 32), "b1": (32,), "w2": (32, 1)}
    return {name: rng.normal(size=shape).astype(np.float32) / 4 for name, shape in shapes.items()}


@cache  # the processes stay for further trials, and have met then
def devices_of(coordinator: str, process_count: int, process_index: int):
    import jax

    if process_count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # for machines that have CPUs alone
        jax.distributed.initialize(coordinator, process_count, process_index)
    auto = (jax.sharding.AxisType.Auto,)  # the compiler adds the communication
    return jax.make_mesh((jax.device_count(),), ("rows",), axis_types=auto)


@cache
def program(mesh):
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    def loss_fn(params, x, y):
        return jnp.mean((jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] - y) ** 2)

    def step(params, x, y, lr):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)  # the mean over the rows of all devices
        return jax.tree.map(lambda p, g: p - lr * g, params, grads), loss

    return jax.jit(step, out_shardings=NamedSharding(mesh, PartitionSpec()))  # whole on every device


def train(c: dict, reporter, workdir: Path, place: Place) -> Outcome:
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = devices_of(place.coordinator, place.process_count, place.process_index)

    def put(array, *axes):
        """Every process has the whole array and keeps the part of its own devices."""
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    params, start = initial(c["seed"]), 0
    if note := resume_note(workdir):  # an earlier attempt saved; all processes see the one file
        with np.load(note["checkpoint"]) as saved:
            params, start = {name: saved[name] for name in params}, int(saved["step"])
    params = {name: put(array) for name, array in params.items()}
    began = time.perf_counter()
    for step in range(start + 1, c["steps"] + 1):
        x, y = (put(array, "rows") for array in rows(c["seed"], step))
        params, loss = program(mesh)(params, x, y, c["lr"])
        if step % EVERY and step < c["steps"]:
            continue
        values = {"loss": float(loss)}
        clocks = {"train_s": time.perf_counter() - began, "steps": step - start}
        # Every process reports, and all of them hear the same.
        reply = reporter(Report(step, "train", values, {"lr": c["lr"]}, clocks))
        if reply is not Reply.GO and step < c["steps"]:
            path = workdir / "checkpoint.npz"
            if place.process_index == 0:
                with whole(path) as file:
                    np.savez(file, step=step, **jax.tree.map(np.asarray, params))
            return Outcome("stopped", values, clocks, checkpoint=str(path))
    return Outcome("completed", values, clocks)


def run(config: dict, reporter, workdir: Path, place: Place) -> Outcome:
    import jax

    try:
        return train({**DEFAULTS, **config}, reporter, workdir, place)
    except jax.errors.JaxRuntimeError as problem:
        if place.process_count == 1:
            raise
        raise PeerLost(str(problem)) from problem

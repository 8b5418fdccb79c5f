"""A small JAX network as a study's entrypoint: does guided tuning of alpha and beta1 beat BO on it?"""

import time
from functools import cache
from pathlib import Path

import numpy as np

from trainer.protocol import Outcome, Place, Reply, Report, resume_note

DEFAULTS = {"seed": 0, "steps": 200, "lr": 0.1, "alpha": 1.0, "beta1": 0.9, "guide": False, "reach": 1.0}
EVERY = 20  # steps between two reports


def check(config: dict) -> list[str]:
    """Sentences that say what is wrong. It is asked before anything is spent, and loads no JAX."""
    c = {**DEFAULTS, **config}
    problems = [f"Unknown key {k!r}. Allowed: {', '.join(DEFAULTS)}." for k in c if k not in DEFAULTS]
    problems += [f"{k} is {c[k]}. Allowed: above 0." for k in ("steps", "lr", "alpha", "reach") if c[k] <= 0]
    if not 0 < c["beta1"] < 1:
        problems.append(f"beta1 is {c['beta1']}. Allowed: between 0 and 1.")
    return problems


def shape_key(config: dict) -> str:
    return f"guided-vs-bo-{config.get('guide', False)}"  # two programs: guided, and not


def learns(config: dict) -> list[str]:
    return ["alpha", "beta1"] if config.get("guide") else []


def rows(stream: int, step: int, count: int):
    """Noisy data, a function of the stream and the step alone: a resumed run sees what it would have seen."""
    rng = np.random.default_rng((stream, step))
    x = rng.normal(size=(count, 8)).astype(np.float32)
    y = np.sin(2 * x[:, :1] + x[:, 1:2] * x[:, 2:3]) + 0.3 * rng.normal(size=(count, 1))
    return x, y.astype(np.float32)


def loss_fn(params, batch):
    import jax.numpy as jnp

    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] - y) ** 2)


def initial(seed: int):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (8, 32), "b1": (32,), "w2": (32, 1)}
    return {name: rng.normal(size=shape).astype(np.float32) / 4 for name, shape in shapes.items()}


def optimizer_of(c: dict):
    import optax

    from trainer.guidance import HeldOut, Hyper, eta_for_reach, guided

    return guided(
        optax.adamw,
        [Hyper("alpha", c["alpha"], learn=c["guide"]), Hyper("beta1", c["beta1"], learn=c["guide"])],
        learning_rate=optax.cosine_decay_schedule(c["lr"], c["steps"]),
        estimator=HeldOut() if c["guide"] else None,
        eta=eta_for_reach(c["reach"], steps=c["steps"]),
        loss_fn=loss_fn,
    )


@cache
def programs(guide: bool, steps: int, lr: float):
    """Compiled once a worker: alpha, beta1 and eta are numbers in the optimizer's state."""
    import jax
    import optax

    optimizer = optimizer_of({**DEFAULTS, "guide": guide, "steps": steps, "lr": lr})

    def step(params, state, batch, held_out):
        grads = jax.grad(loss_fn)(params, batch)
        updates, state = optimizer.update(grads, state, params, guidance_batch=held_out)
        return optax.apply_updates(params, updates), state

    params = initial(0)
    train = jax.jit(step).lower(params, optimizer.init(params), rows(0, 0, 64), rows(0, 0, 256))
    return train.compile(), jax.jit(loss_fn).lower(params, rows(0, 0, 2048)).compile()


def run(config: dict, reporter, workdir: Path, place: Place) -> Outcome:
    import jax

    c = {**DEFAULTS, **config}
    began = time.perf_counter()
    train, evaluate = programs(c["guide"], c["steps"], c["lr"])
    clocks = {"compile_s": time.perf_counter() - began, "train_s": 0.0, "steps": 0}  # of this attempt
    params = initial(c["seed"])
    state, start = optimizer_of(c).init(params), 0
    if note := resume_note(workdir):  # an earlier attempt saved
        with np.load(note["checkpoint"]) as saved:
            leaves = [saved[f"arr_{i}"] for i in range(len(saved.files) - 1)]
            params, state = jax.tree.unflatten(jax.tree.structure((params, state)), leaves)
            start = int(saved["step"])
    guidance, dev = rows(10**9, 0, 256), rows(10**9, 1, 2048)  # held out; the same for all trials
    for step in range(start + 1, c["steps"] + 1):
        began = time.perf_counter()
        params, state = jax.block_until_ready(train(params, state, rows(c["seed"], step, 64), guidance))
        clocks = {**clocks, "train_s": clocks["train_s"] + time.perf_counter() - began, "steps": step - start}
        if step % EVERY and step < c["steps"]:
            continue
        loss = float(evaluate(params, dev))
        if not np.isfinite(loss):
            return Outcome("diverged", {}, clocks)
        hyper = {name: float(state.values[name]) for name in ("alpha", "beta1")}
        reply = reporter(Report(step, "eval", {"loss": loss}, hyper, clocks))
        if reply is not Reply.GO and step < c["steps"]:
            path = workdir / "checkpoint.npz"
            np.savez(path, *jax.tree.leaves((params, state)), step=step)
            return Outcome("stopped", {"loss": loss}, clocks, checkpoint=str(path))
    return Outcome("completed", {"loss": loss}, clocks)

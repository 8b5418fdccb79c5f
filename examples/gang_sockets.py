"""A small network in numpy that several processes train together: they add their gradients over sockets."""

import socket
import time
from functools import cache
from pathlib import Path

import numpy as np

from trainer.protocol import Outcome, PeerLost, Place, Reply, Report, resume_note, whole

DEFAULTS = {"seed": 0, "steps": 60, "lr": 0.1}
ROWS, EVERY = 64, 10  # rows of a step, over all processes; steps between two reports
WAIT_S = 60  # for another process


def check(config: dict) -> list[str]:
    """Sentences that say what is wrong."""
    c = {**DEFAULTS, **config}
    problems = [f"Unknown key {k!r}. Allowed: {', '.join(DEFAULTS)}." for k in c if k not in DEFAULTS]
    return problems + [f"{k} is {c[k]}. Allowed: above 0." for k in ("steps", "lr") if c[k] <= 0]


def shape_key(config: dict) -> str:
    return "gang-sockets"


def rows(seed: int, step: int):
    """All rows of a step, a function of the seed and the step alone."""
    rng = np.random.default_rng((seed, step))
    x = rng.normal(size=(ROWS, 8))
    return x, np.sin(2 * x[:, :1] + x[:, 1:2] * x[:, 2:3])


def initial(seed: int):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) / 4 for shape in ((8, 32), (32,), (32, 1))]


def summed_over_rows(params, x, y):
    """The gradients by w1, b1 and w2, and the loss."""
    w1, b1, w2 = params
    hidden = np.tanh(x @ w1 + b1)
    error = hidden @ w2 - y
    inner = 2 * error @ w2.T * (1 - hidden**2)
    return [x.T @ inner, inner.sum(axis=0), 2 * hidden.T @ error, (error**2).sum()]


@cache  # the processes stay for further trials, and have met then
def connections(coordinator: str, process_count: int, process_index: int):
    """Of process 0 to all others, in their order; of another one to process 0."""
    if process_count == 1:
        return []
    host, _, port = coordinator.rpartition(":")
    if process_index > 0:
        return [connected((host, int(port)), process_index)]
    with socket.create_server((host, int(port))) as server:
        server.settimeout(WAIT_S)
        met = [server.accept()[0] for _ in range(process_count - 1)]
    by_index = {}
    for each in met:
        each.settimeout(WAIT_S)
        with each:
            file = each.makefile("rwb")  # which keeps it open
        by_index[int.from_bytes(file.read(4))] = file
    return [by_index[index] for index in range(1, process_count)]


def connected(address, process_index: int):
    until = time.monotonic() + WAIT_S
    while True:
        try:
            with socket.create_connection(address, timeout=WAIT_S) as connection:
                file = connection.makefile("rwb")  # which keeps it open
            break
        except ConnectionRefusedError:  # process 0 has yet to begin
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    file.write(process_index.to_bytes(4))
    file.flush()
    return file


def received(file, like):
    told = file.read(like.nbytes)
    if len(told) < like.nbytes:
        raise ConnectionError("Another process of the gang has ended.")
    return np.frombuffer(told, like.dtype).reshape(like.shape)


def total(own, peers, place: Place):
    """The sum over all processes, which is the same in each of them: process 0 adds and tells."""
    if place.process_index == 0:
        for file in peers:
            own = own + received(file, own)
    for file in peers:
        file.write(own.tobytes())
        file.flush()
    return own if place.process_index == 0 else received(peers[0], own)


def train(c: dict, reporter, workdir: Path, place: Place) -> Outcome:
    peers = connections(place.coordinator, place.process_count, place.process_index)
    params, start = initial(c["seed"]), 0
    if note := resume_note(workdir):  # an earlier attempt saved; all processes see the one file
        with np.load(note["checkpoint"]) as saved:
            params, start = [saved[f"arr_{i}"] for i in range(3)], int(saved["step"])
    began = time.perf_counter()
    for step in range(start + 1, c["steps"] + 1):
        x, y = (array[place.process_index :: place.process_count] for array in rows(c["seed"], step))
        parts = summed_over_rows(params, x, y)
        means = total(np.concatenate([np.ravel(part) for part in parts]), peers, place) / ROWS
        *grads, loss = np.split(means, np.cumsum([p.size for p in params]))
        params = [p - c["lr"] * g.reshape(p.shape) for p, g in zip(params, grads, strict=True)]
        if step % EVERY and step < c["steps"]:
            continue
        values = {"loss": float(loss[0])}
        clocks = {"train_s": time.perf_counter() - began, "steps": step - start}
        # Every process reports, and all of them hear the same.
        reply = reporter(Report(step, "train", values, {"lr": c["lr"]}, clocks))
        if reply is not Reply.GO and step < c["steps"]:
            path = workdir / "checkpoint.npz"
            if place.process_index == 0:
                with whole(path) as file:
                    np.savez(file, *params, step=step)
            return Outcome("stopped", values, clocks, checkpoint=str(path))
    return Outcome("completed", values, clocks)


def run(config: dict, reporter, workdir: Path, place: Place) -> Outcome:
    try:
        return train({**DEFAULTS, **config}, reporter, workdir, place)
    except (ConnectionError, TimeoutError) as problem:
        raise PeerLost(f"Process {place.process_index} lost another one of its gang: {problem}") from problem

"""What should the Transformer compute? The same model a second time: numpy, float64, loops over heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainer.models import Settings

Array = np.ndarray


def norm(x: Array, params: Any) -> Array:
    if "bias" in params:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def feed_forward(x: Array, params: Any) -> Array:
    def project(name: str, y: Array) -> Array:
        return y @ params[name]["kernel"] + params[name].get("bias", 0)

    if "gate" in params:
        return project("down", gelu(project("gate", x)) * project("up", x))
    return project("down", np.maximum(project("up", x), 0))


def attention(x: Array, source: Array, params: Any, sees: Array, s: Settings, bias: Array | None) -> Array:
    """`sees` is (queries, keys) of one row, `bias` (heads, queries, keys)."""
    heads = []
    for h in range(s.heads):
        part = slice(h * s.head_dim, (h + 1) * s.head_dim)
        query, key, value = (
            (y @ params[name]["kernel"])[:, part]
            for name, y in (("query", x), ("key", source), ("value", source))
        )
        scores = query @ key.T
        if s.positions == "sinusoidal":
            scores = scores / math.sqrt(s.head_dim)
        if bias is not None:
            scores = scores + bias[h]
        weights = np.where(sees, np.exp(scores - scores.max()), 0)
        heads.append(weights / weights.sum(-1, keepdims=True) @ value)
    return np.concatenate(heads, -1) @ params["out"]["kernel"]


def bucket(offset: int, *, bidirectional: bool) -> int:
    """T5's, by its own words: half the buckets for exact distances, half for logarithms up to 128."""
    start, count = 0, 32
    if bidirectional:
        count = 16
        start = 16 if offset > 0 else 0
        distance = abs(offset)
    else:
        distance = max(-offset, 0)
    exact = count // 2
    if distance < exact:
        return start + distance
    far = exact + math.floor(math.log(distance / exact) / math.log(128 / exact) * (count - exact) + 1e-9)
    return start + min(far, count - 1)


def bias_of(table: Array, length: int, *, bidirectional: bool) -> Array:
    return np.array(
        [
            [
                [table[bucket(k - q, bidirectional=bidirectional), h] for k in range(length)]
                for q in range(length)
            ]
            for h in range(table.shape[1])
        ]
    )


def sinusoid(position: int, width: int) -> Array:
    half = width // 2
    rates = [10_000 ** (-i / (half - 1)) for i in range(half)]
    return np.array([math.sin(position * r) for r in rates] + [math.cos(position * r) for r in rates])


def logits_of_row(params: Any, source: Array, target: Array, s: Settings) -> Array:
    """One unpacked row without padding in its target."""
    relative = s.positions == "relative"
    table = params["embedding"]

    def embed(tokens: Array) -> Array:
        x = table[tokens]
        return x if relative else x + np.array([sinusoid(i, s.d_model) for i in range(len(tokens))])

    n, m = len(source), len(target)
    bias = bias_of(params["encoder_relative"], n, bidirectional=True) if relative else None
    sees = np.broadcast_to(source != 0, (n, n))
    x = embed(source)
    for i in range(s.layers):
        p = params[f"encoder_{i}"]
        y = norm(x, p["attention_norm"])
        x = x + attention(y, y, p["attention"], sees, s, bias)
        x = x + feed_forward(norm(x, p["feed_forward_norm"]), p["feed_forward"])
    encoded = norm(x, params["encoder_norm"])

    bias = bias_of(params["decoder_relative"], m, bidirectional=False) if relative else None
    causal = np.tril(np.ones((m, m), bool))
    sees = np.broadcast_to(source != 0, (m, n))
    x = embed(target)
    for i in range(s.layers):
        p = params[f"decoder_{i}"]
        y = norm(x, p["attention_norm"])
        x = x + attention(y, y, p["attention"], causal, s, bias)
        x = x + attention(norm(x, p["cross_norm"]), encoded, p["cross"], sees, s, None)
        x = x + feed_forward(norm(x, p["feed_forward_norm"]), p["feed_forward"])
    return norm(x, params["decoder_norm"]) @ table.T / math.sqrt(s.d_model)


def logits_of_joined(params: Any, source: Array, target: Array, s: Settings) -> Array:
    """One stack over an unpacked row, source and target without padding: (target, vocabulary)."""
    relative, n, length = s.positions == "relative", len(source), len(source) + len(target)
    x = params["embedding"][np.concatenate([source, target])]
    if not relative:
        x = x + np.array([sinusoid(i, s.d_model) for i in range(length)])
    sees = np.tril(np.ones((length, length), bool))
    if s.stacks == "prefix-lm":
        sees[:, :n] = True
    both = s.stacks == "prefix-lm"
    bias = bias_of(params["decoder_relative"], length, bidirectional=both) if relative else None
    for i in range(s.layers):
        p = params[f"decoder_{i}"]
        y = norm(x, p["attention_norm"])
        x = x + attention(y, y, p["attention"], sees, s, bias)
        x = x + feed_forward(norm(x, p["feed_forward_norm"]), p["feed_forward"])
    return norm(x[n:], params["decoder_norm"]) @ params["embedding"].T / math.sqrt(s.d_model)

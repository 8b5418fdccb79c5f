"""What is a Transformer made of? Projections, norms, attention, feed-forward, and the two kinds of layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from trainer.models.dropout import Noise
from trainer.models.mesh import is_split
from trainer.models.sizes import Settings

# The values come from trainer/models/initial.py, which draws them by name; here only shapes are declared.
_declared = nn.initializers.zeros

# Added to a score that is to vanish. A finite one, so that a row with nothing to look at gives no NaN.
_MASKED = -1e9

# Up to this width a kernel's gradient is taken with an operand turned beforehand.
_NARROW = 128

# Where a layer drops: `Noise` needs a number for each.
_SELF_WEIGHTS, _SELF_OUT, _CROSS_WEIGHTS, _CROSS_OUT, _FEED_HIDDEN, _FEED_OUT = range(6)


class View(NamedTuple):
    """What is seen: `mask` (rows or 1, 1, queries or 1, keys), `bias` (rows or 1, heads, queries, keys)."""

    mask: jax.Array | None
    bias: jax.Array | None = None


class KeysValues(NamedTuple):
    """Of one attention, each (rows, heads, head_dim, positions): as the products read them, so that a
    step of decoding need not transpose its cache (on a CPU a third of the time of a beam search)."""

    keys: jax.Array
    values: jax.Array


class Projection(nn.Module):
    features: int
    dtype: Any
    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", _declared, (x.shape[-1], self.features))
        y = _product(x, kernel.astype(self.dtype))
        if self.bias:
            y = y + self.param("bias", _declared, (self.features,)).astype(self.dtype)
        return y


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel. Of a narrow kernel the gradient is taken as `_kernel_gradient` says, which a wide one
    would lose by (8 % of a step at `small`). Shapes alone decide, so that a run is the same everywhere."""
    narrow = min(kernel.shape) <= _NARROW and x.dtype == kernel.dtype == jnp.float32
    return _narrow_product(x, kernel) if narrow and not is_split() else x @ kernel


@jax.custom_jvp
def _narrow_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


@_narrow_product.defjvp
def _narrow_product_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (dx, dk) = primals, tangents
    along: Any = jax.custom_derivatives.linear_call(jnp.matmul, _kernel_gradient, x, dk)
    return x @ kernel, dx @ kernel + along


def _kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """xᵀ g with the narrower of the two turned beforehand, as a CPU's fast products (YNNPACK) want it; the
    barriers keep the compiler from undoing that. It saves a tenth of a step at `tiny`."""
    apart = jax.lax.optimization_barrier
    x, g = (each.reshape(-1, each.shape[-1]) for each in (x, g))
    if x.shape[1] <= g.shape[1]:
        return apart(x.T) @ g
    return apart(apart(g.T) @ x).T


class Norm(nn.Module):
    """LayerNorm with scale and bias, or RMSNorm with a scale (T5), in float32."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s = self.settings
        wide = x.astype(s.wide)
        if s.norm == "layer":
            wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-6)
        wide = wide * self.param("scale", _declared, (s.d_model,))
        if s.norm == "layer":
            wide = wide + self.param("bias", _declared, (s.d_model,))
        return wide.astype(s.dtype)


class Attention(nn.Module):
    """Multi-head attention without biases. With relative positions it is T5's: scores are not scaled."""

    settings: Settings
    places: tuple[int, int]

    def setup(self) -> None:
        s = self.settings
        self.query, self.key, self.value = (Projection(s.d_attention, s.dtype) for _ in range(3))
        self.out = Projection(s.d_model, s.dtype)

    def keys_values(self, x: jax.Array) -> KeysValues:
        keys, values = self._heads(self.key(x)), self._heads(self.value(x))
        return KeysValues(keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 3, 1))

    def __call__(self, x: jax.Array, seen: KeysValues, view: View, noise: Noise) -> jax.Array:
        s = self.settings
        weights = jax.nn.softmax(self._scores(self._query(x), seen, view)).astype(s.dtype)
        weights = noise.drop(weights, s.attention_dropout, place=self.places[0])
        mixed = jnp.einsum("bhqk,bhdk->bqhd", weights, seen.values)
        y = self.out(mixed.reshape(*x.shape[:2], s.d_attention))
        return noise.drop(y, s.dropout, place=self.places[1])

    def over_two(
        self, x: jax.Array, seen: tuple[KeysValues, KeysValues], views: tuple[View, View]
    ) -> jax.Array:
        """One attention to both. They stay apart in memory: all beams of a row share one of them."""
        query = self._query(x)
        scores = [self._scores(query, one, view) for one, view in zip(seen, views, strict=True)]
        weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1)).astype(self.settings.dtype)
        parts = jnp.split(weights, [scores[0].shape[-1]], axis=-1)
        first, second = (
            jnp.einsum("bhqk,bhdk->bqhd", part, one.values) for part, one in zip(parts, seen, strict=True)
        )
        return self.out((first + second).reshape(*x.shape[:2], self.settings.d_attention))

    def _query(self, x: jax.Array) -> jax.Array:
        query = self._heads(self.query(x))
        if self.settings.positions == "sinusoidal":
            query = query * jnp.asarray(self.settings.head_dim**-0.5, query.dtype)
        return query

    def _scores(self, query: jax.Array, seen: KeysValues, view: View) -> jax.Array:
        scores = jnp.einsum("bqhd,bhdk->bhqk", query, seen.keys).astype(self.settings.wide)
        if view.bias is not None:
            scores = scores + view.bias
        return scores if view.mask is None else jnp.where(view.mask, scores, _MASKED)

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], self.settings.heads, self.settings.head_dim)


class FeedForward(nn.Module):
    """Two projections; a LayerNorm model has biases in them, an RMSNorm model (T5) none anywhere."""

    settings: Settings

    @nn.compact
    def __call__(self, x: jax.Array, noise: Noise) -> jax.Array:
        s = self.settings
        biased = s.norm == "layer"
        up = Projection(s.d_ff, s.dtype, bias=biased, name="up")(x)
        if s.activation == "relu":
            hidden = jax.nn.relu(up)
        else:
            gate = Projection(s.d_ff, s.dtype, bias=biased, name="gate")(x)
            hidden = jax.nn.gelu(gate, approximate=True) * up
        hidden = noise.drop(hidden, s.dropout, place=_FEED_HIDDEN)
        y = Projection(s.d_model, s.dtype, bias=biased, name="down")(hidden)
        return noise.drop(y, s.dropout, place=_FEED_OUT)


class EncoderLayer(nn.Module):
    """Of an encoder, or of a single stack."""

    settings: Settings

    def setup(self) -> None:
        s = self.settings
        self.attention_norm, self.feed_forward_norm = Norm(s), Norm(s)
        self.attention = Attention(s, (_SELF_WEIGHTS, _SELF_OUT))
        self.feed_forward = FeedForward(s)

    def __call__(self, x: jax.Array, view: View, noise: Noise) -> jax.Array:
        return self.keeping(x, view, noise)[0]

    def keeping(self, x: jax.Array, view: View, noise: Noise) -> tuple[jax.Array, KeysValues]:
        """What later positions need of these is given too."""
        normed = self.attention_norm(x)
        seen = self.attention.keys_values(normed)
        x = x + self.attention(normed, seen, view, noise)
        return x + self.feed_forward(self.feed_forward_norm(x), noise), seen

    def step(
        self,
        x: jax.Array,
        past: KeysValues,
        prefix: KeysValues,
        *,
        index: jax.Array,
        views: tuple[View, View],
    ) -> tuple[jax.Array, KeysValues]:
        """As a decoder's, behind a prefix."""
        normed = self.attention_norm(x)
        past = _with_one_more(past, self.attention.keys_values(normed), index)
        x = x + self.attention.over_two(normed, (past, prefix), views)
        return x + self.feed_forward(self.feed_forward_norm(x), Noise()), past


class DecoderLayer(nn.Module):
    """An encoder's, with an attention to the encoded source: in shared stacks it serves as both."""

    settings: Settings

    def setup(self) -> None:
        s = self.settings
        self.attention_norm, self.cross_norm, self.feed_forward_norm = (Norm(s) for _ in range(3))
        self.attention = Attention(s, (_SELF_WEIGHTS, _SELF_OUT))
        self.cross = Attention(s, (_CROSS_WEIGHTS, _CROSS_OUT))
        self.feed_forward = FeedForward(s)

    def __call__(
        self, x: jax.Array, encoded: jax.Array, view: View, cross_view: View, noise: Noise
    ) -> jax.Array:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, self.attention.keys_values(normed), view, noise)
        return self._rest(x, self.cross.keys_values(encoded), cross_view, noise)

    def cross_keys_values(self, encoded: jax.Array) -> KeysValues:
        """What stays the same over all steps of a decoding."""
        return self.cross.keys_values(encoded)

    def step(
        self, x: jax.Array, past: KeysValues, cross: KeysValues, *, index: jax.Array, views: tuple[View, View]
    ) -> tuple[jax.Array, KeysValues]:
        """One position a row, at `index`; its keys and values are written into `past`."""
        noise = Noise()
        normed = self.attention_norm(x)
        past = _with_one_more(past, self.attention.keys_values(normed), index)
        x = x + self.attention(normed, past, views[0], noise)
        return self._rest(x, cross, views[1], noise), past

    def _rest(self, x: jax.Array, cross: KeysValues, view: View, noise: Noise) -> jax.Array:
        x = x + self.cross(self.cross_norm(x), cross, view, noise)
        return x + self.feed_forward(self.feed_forward_norm(x), noise)


def _with_one_more(past: KeysValues, new: KeysValues, index: jax.Array) -> KeysValues:
    return KeysValues(
        *(
            jax.lax.dynamic_update_slice_in_dim(old, now, index, axis=3)
            for old, now in zip(past, new, strict=True)
        )
    )

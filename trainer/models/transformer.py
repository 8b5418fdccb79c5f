"""How do a source and what is written so far become the logits of the next token?

One model for NMT and T5: pre-norm, one embedding for source and target, and for the logits where these have
no matrix of their own. `Settings.stacks` says how its layers are arranged, by sharing and by masks: an
encoder and a decoder, both of the same layers, or one stack over source and target joined (T5's paper, 3.2).
The parameters are the same tree with and without `scan_layers` and `remat`, so that optimizers see the same
tensors (a norm of stacked layers would change LAMB) and a checkpoint fits either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from trainer.models.dropout import Noise
from trainer.models.joined import Joined, at_places, joined
from trainer.models.layers import DecoderLayer, EncoderLayer, KeysValues, Norm, View
from trainer.models.mesh import pin_rows
from trainer.models.positions import BUCKETS, positions_in_segments, relative_buckets, sinusoids
from trainer.models.sizes import Settings

Batch = Mapping[str, jax.Array]

_SOURCE, _TARGET, _ENCODED, _DECODED = range(4)  # places: embeddings and, in a T5, what leaves a stack
_QUIET = Noise()


class Cache(NamedTuple):
    """A decoding under way. Every array but `step` begins with its rows; of a beam only `past` moves. `cross`
    is of the encoded source, or of the source as one stack has seen it."""

    step: jax.Array  # how many positions are written, the same in all rows
    past: tuple[KeysValues, ...]
    cross: tuple[KeysValues, ...]
    source_mask: jax.Array


class Transformer(nn.Module):
    settings: Settings

    def setup(self) -> None:
        s = self.settings
        self.embedding = self.param("embedding", nn.initializers.zeros, (s.vocabulary, s.d_model))
        if s.positions == "relative":
            shape = (BUCKETS, s.heads)
            if not s.one_stack:
                self.encoder_table = self.param("encoder_relative", nn.initializers.zeros, shape)
            self.decoder_table = self.param("decoder_relative", nn.initializers.zeros, shape)
        if s.output == "own":
            self.output = self.param("output", nn.initializers.zeros, (s.vocabulary, s.d_model))
        if s.stacks == "encoder-decoder":
            self.encoder = [EncoderLayer(s) for _ in range(s.layers)]
        self.decoder = [(EncoderLayer if s.one_stack else DecoderLayer)(s) for _ in range(s.of_decoder)]
        if not s.one_stack:
            self.encoder_norm = Norm(s)
        self.decoder_norm = Norm(s)

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """Logits for every position of `target_in`, at least float32."""
        noise = Noise.of(key, layers=_beside_layers(self.settings) + 1)
        segments: Any = batch.get("source_segments"), batch.get("target_segments")
        if self.settings.one_stack:
            row = joined(batch["source"], batch["target_in"], None if segments[1] is None else segments)
            x = self._through(EncoderLayer, self.decoder, *self._begun(row, noise), noise)
            return self._logits(at_places(x, row.targets), noise)
        encoded = self.encode(batch["source"], segments[0], batch.get("source_positions"), noise)

        target = batch["target_in"]
        index = jnp.arange(target.shape[1])
        causal = (index[:, None] >= index[None, :])[None, None]
        mask = causal if segments[1] is None else causal & _same(segments[1], segments[1])
        cross_mask = _filled(batch["source"]) if segments[1] is None else _same(segments[1], segments[0])
        view, cross_view = View(mask, self._bias("decoder", index, index)), View(cross_mask)

        positions = _positions(segments[1], batch.get("target_positions"))
        x = self._embed(target, positions, noise, _TARGET)
        x = self._through(DecoderLayer, self.decoder, x, (encoded, view, cross_view), noise)
        return self._logits(x, noise)

    def encode(
        self,
        source: jax.Array,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        noise: Noise = _QUIET,
    ) -> jax.Array:
        index = jnp.arange(source.shape[1])
        mask = _filled(source) if segments is None else _same(segments, segments)
        x = self._embed(source, _positions(segments, positions), noise, _SOURCE)
        view = View(mask, self._bias("encoder", index, index))
        layers = self.decoder if self.settings.stacks == "shared" else self.encoder
        x = self.encoder_norm(self._through(EncoderLayer, layers, x, (view,), noise))
        return self._leaving(x, noise, _ENCODED)

    def begin(self, source: jax.Array, length: int) -> Cache:
        """Nothing is written yet; up to `length` positions may be."""
        s = self.settings
        if s.one_stack:
            cross, source_mask = self._prefix(source)
        else:
            encoded, source_mask = self.encode(source), _filled(source)
            cross = tuple(layer.cross_keys_values(encoded) for layer in self.decoder)
        empty = jnp.zeros((source.shape[0], s.heads, s.head_dim, length), s.dtype)
        return Cache(
            step=jnp.zeros((), jnp.int32),
            past=tuple(KeysValues(empty, empty) for _ in self.decoder),
            cross=cross,
            source_mask=source_mask,
        )

    def extend(self, cache: Cache, tokens: jax.Array) -> tuple[jax.Array, Cache]:
        """The logits (rows, vocabulary) that follow one more token a row."""
        length = cache.past[0].keys.shape[3]
        index, here = jnp.arange(length), cache.step[None]
        seen = View((index <= cache.step)[None, None, None], self._bias("decoder", here, index))
        positions, before = here[None], View(cache.source_mask)
        if self.settings.one_stack:
            positions, before, length = self._behind(cache, length)
        views = seen, before
        x = self._embed(tokens[:, None], positions, _QUIET, _TARGET, length=length)
        past = []
        for layer, old, cross in zip(self.decoder, cache.past, cache.cross, strict=True):
            x, new = layer.step(x, old, cross, index=cache.step, views=views)
            past.append(new)
        return self._logits(x)[:, 0], cache._replace(step=cache.step + 1, past=tuple(past))

    # -- one stack ----------------------------------------------------------------------------------------

    def _begun(self, row: Joined, noise: Noise) -> tuple[jax.Array, tuple[View]]:
        """What enters the layers, and what each place sees."""
        index = jnp.arange(row.tokens.shape[1])
        sees = (index[:, None] >= index[None, :])[None, None]
        if self.settings.stacks == "prefix-lm":
            sees = sees | row.is_source[:, None, None, :]
        view = View(sees & _same(row.segments, row.segments), self._bias("decoder", index, index))
        return self._embed(row.tokens, positions_in_segments(row.segments), noise, _TARGET), (view,)

    def _prefix(self, source: jax.Array) -> tuple[tuple[KeysValues, ...], jax.Array]:
        """The keys and values of the sources in every layer, and where there are any."""
        row = joined(source, source[:, :0], None)
        x, (view,) = self._begun(row, _QUIET)
        every = []
        for layer in self.decoder:
            x, seen = layer.keeping(pin_rows(x), view, _QUIET)
            every.append(seen)
        return tuple(every), row.is_source[:, None, None, :]

    def _behind(self, cache: Cache, length: int) -> tuple[jax.Array, View, int]:
        """Where the next position of each row stands, what it sees of its source, and how many places there
        are."""
        sources = cache.source_mask.shape[-1]
        here = jnp.sum(cache.source_mask, axis=(2, 3), dtype=jnp.int32) + cache.step  # (rows, 1)
        bias = self._bias("decoder", here[:, 0], jnp.arange(sources))  # a query of each row
        bias = None if bias is None else bias.transpose(2, 1, 0, 3)
        return here, View(cache.source_mask, bias), sources + length

    # -- what all stacks do ------------------------------------------------------------------------------

    def _embed(
        self,
        tokens: jax.Array,
        positions: jax.Array | None,
        noise: Noise,
        place: int,
        length: int | None = None,
    ) -> jax.Array:
        s = self.settings
        x = self.embedding[tokens]
        if s.positions == "sinusoidal":
            table = sinusoids(length or tokens.shape[1], s.d_model)
            x = x + (table if positions is None else table[positions])
        return noise.at(_beside_layers(s)).drop(x.astype(s.dtype), s.dropout, place=place)

    def _leaving(self, x: jax.Array, noise: Noise, place: int) -> jax.Array:
        """T5 drops what leaves a stack, too (2.1 of its paper)."""
        s = self.settings
        return noise.at(_beside_layers(s)).drop(x, s.dropout, place=place) if s.norm == "rms" else x

    def _bias(self, stack: str, query: jax.Array, key: jax.Array) -> jax.Array | None:
        """(1, heads, queries, keys). One-hot, since a gather's gradient would add 10^5 rows into 32."""
        s = self.settings
        if s.positions == "sinusoidal":
            return None
        table = self.encoder_table if stack == "encoder" else self.decoder_table
        ahead = stack == "encoder" or s.stacks == "prefix-lm"  # are there keys behind a query?
        buckets = relative_buckets(query, key, bidirectional=ahead)
        return jnp.einsum("qkn,nh->hqk", jax.nn.one_hot(buckets, BUCKETS, dtype=s.wide), table)[None]

    def _through(
        self,
        kind: type[EncoderLayer] | type[DecoderLayer],
        layers: Sequence[Any],
        x: jax.Array,
        others: tuple[Any, ...],
        noise: Noise,
    ) -> jax.Array:
        s = self.settings
        if self.is_initializing():  # the shapes are declared on the way, shared ones in the decoder
            for layer in layers if isinstance(layers[0], kind) else ():
                x = layer(x, *others, noise)
            return x
        body = kind(s, parent=None)
        first = 0 if kind is EncoderLayer else s.layers

        def through_one(params: Any, x: jax.Array, number: Any) -> jax.Array:
            through: Any = body.apply({"params": params}, pin_rows(x), *others, noise.at(number))
            return through

        if s.remat:
            through_one = jax.checkpoint(through_one, prevent_cse=not s.scan_layers)
        params = [_of_kind(kind, layer.variables["params"]) for layer in layers]
        if s.scan_layers:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
            numbers = first + jnp.arange(len(params))
            return jax.lax.scan(lambda x, of: (through_one(of[0], x, of[1]), None), x, (stacked, numbers))[0]
        for number, of_layer in enumerate(params):
            x = through_one(of_layer, x, first + number)
        return pin_rows(x)

    def _logits(self, x: jax.Array, noise: Noise = _QUIET) -> jax.Array:
        s = self.settings
        x = self._leaving(self.decoder_norm(x), noise, _DECODED)
        matrix = self.output if s.output == "own" else self.embedding
        if s.output == "shared":
            x = x * jnp.asarray(s.d_model**-0.5, s.dtype)  # the embedding's numbers are N(0, 1)
        return pin_rows(_products(x, matrix.astype(s.dtype)), "tensor")


def _of_kind(kind: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a layer of this kind has of a decoder's."""
    return {k: v for k, v in params.items() if kind is DecoderLayer or not k.startswith("cross")}


def _beside_layers(s: Settings) -> int:
    """The number behind those of the layers, at which all else is dropped."""
    return s.layers + s.of_decoder


@jax.custom_jvp
def _products(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Products with all rows of a matrix, kept as wide as they were summed.

    Their derivative is taken in the type of the computation: left to itself the backward pass would
    multiply float32 by bfloat16, at a fraction of the speed, in the model's largest product.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum("rtd,vd->rtv", x, matrix, preferred_element_type=wide)


@_products.defjvp
def _products_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x, matrix), (dx, dm) = primals, tangents
    logits = _products(x, matrix)
    change = jnp.einsum("rtd,vd->rtv", dx, matrix) + jnp.einsum("rtd,vd->rtv", x, dm)
    return logits, change.astype(logits.dtype)


def _filled(tokens: jax.Array) -> jax.Array:
    return (tokens != 0)[:, None, None, :]


def _same(query_segments: jax.Array, key_segments: jax.Array) -> jax.Array:
    """(rows, 1, queries, keys): padding has segment 0 and sees padding, which the loss leaves out."""
    return (query_segments[:, :, None] == key_segments[:, None, :])[:, None]


def _positions(segments: jax.Array | None, stated: jax.Array | None) -> jax.Array | None:
    if stated is not None or segments is None:
        return stated
    return positions_in_segments(segments)


# -- the model as functions ------------------------------------------------------------------------------


def forward(settings: Settings, params: Any, batch: Batch, *, key: jax.Array | None = None) -> jax.Array:
    """The logits of a batch; dropout is on where there is a key."""
    logits: Any = Transformer(settings).apply({"params": params}, batch, key)
    return logits


def start_decoding(settings: Settings, params: Any, source: jax.Array, *, length: int) -> Cache:
    cache: Any = Transformer(settings).apply({"params": params}, source, length, method="begin")
    return cache


def decode_step(settings: Settings, params: Any, cache: Cache, tokens: jax.Array) -> tuple[jax.Array, Cache]:
    """The logits (rows, vocabulary) after one more token a row, and the cache that has seen it."""
    extended: Any = Transformer(settings).apply({"params": params}, cache, tokens, method="extend")
    return extended

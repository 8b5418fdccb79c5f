"""Which sentence does the model write? Greedy and beam search over the cache, each one compiled program.

    ids = decode(settings, params, source, beam=4, length=64)             # (rows, 64), 0 after the end
    sentences = translate_all(settings, params, sources)                  # lists of ids, in the given order

A hypothesis is a sequence of at most `length` tokens, the last of which is the end of the sentence: the last
step can write nothing else. Its score is its log-probability over ((5 + tokens) / 6)^length_penalty, the end
being one of the tokens (Wu et al. 2016, equation 14, without coverage). Each step takes the `beam` best
continuations: those that end are finished, and the best that do not go on. A row is done when `beam`
hypotheses are finished, or when none under way can still beat the best one. So a beam of 1 is greedy search.

What a source becomes depends on nothing beside it. Its own length decides how far it is padded, how many rows
its batch has and how long its translation may be; so it always goes through the same program, in which no row
sees another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from trainer.data.vocabulary import END as EOS
from trainer.data.vocabulary import PAD, UNKNOWN
from trainer.models import Settings, decode_step, start_decoding
from trainer.models.mesh import ROWS as SHARDED
from trainer.models.mesh import place_batch
from trainer.models.programs import one_at_a_time

ROWS = 64  # at most in a batch
NARROW, NARROW_ROWS = 128, 16  # up to this width a step costs by the row, and a batch waits for its longest
TOKENS = 2**16  # at most in a batch: of sources and translations, those of all hypotheses
LEAST_BUCKET = 16  # a bucket more is a program more to compile, 2 s at `tiny`, and shorter ones gain little
LEAST_CACHE = 16  # a longer cache begins shorter and doubles; each doubling compiles the step again, 1 s


class Found(NamedTuple):
    """The best hypothesis of each row; nothing, with the score -inf, where the source is empty."""

    ids: jax.Array  # (rows, length), without the end, 0 behind it
    scores: jax.Array  # (rows,), float32
    steps: jax.Array  # how many the longest search took


class _Search(NamedTuple):
    step: jax.Array
    cache: Any  # its `past` is (beam, rows, …): in front, vmap need not move it. The rest is shared by beams.
    tokens: jax.Array  # (rows, beam), the newest of each hypothesis under way, best first
    written: jax.Array  # (rows, beam, length), all of them
    live: jax.Array  # (rows, beam), their log-probabilities; -inf: there is none
    best: Found  # of those that are finished
    finished: jax.Array  # (rows,), how many are
    done: jax.Array  # (rows,)


def decode(settings: Settings, params: Any, source: Any, **options: Any) -> jax.Array:
    """The ids (rows, length) that the model writes for each row of `source`, without the end, 0 behind it.
    The options are those of `find`."""
    return find(settings, params, source, **options).ids


def find(
    settings: Settings,
    params: Any,
    source: Any,
    *,
    beam: int = 4,
    length_penalty: float = 0.6,
    length: int,
    unknown: bool = True,
    never: Sequence[int] = (),
) -> Found:
    """What `decode` finds, with the scores.

    Compiled once for each shape of `source`, beam and length, whatever the parameters. `unknown`: whether
    it may write the id for unknown text; padding it never writes, nor the ids in `never`.
    """
    for name, value in (("beam", beam), ("length", length)):
        if value < 1:
            raise ValueError(f"The {name} is {value}. Allowed is a whole number from 1.")
    if not 0 <= length_penalty < math.inf:
        raise ValueError(
            f"The length penalty is {length_penalty}. Allowed is a number from 0 (none); 0.6 is usual."
        )
    if source.ndim != 2 or source.shape[1] == 0:
        raise ValueError(f"The source has the shape {source.shape}. Give (rows, length), 0 for padding.")
    shape = {"beam": beam, "length": length, "unknown": unknown}
    shut = None
    if len(never):
        shut = np.zeros(settings.vocabulary, bool)
        shut[list(never)] = True
    found: Found = _found(settings, params, source, np.float32(length_penalty), shut, **shape)
    return found


def translate_all(
    settings: Settings,
    params: Any,
    sources: Sequence[Sequence[int]],
    *,
    rows: int | None = None,
    beam: int = 4,
    length_penalty: float = 0.6,
    length: int | None = None,
    unknown: bool = True,
    never: Sequence[int] = (),
    mesh: Mesh | None = None,
) -> list[list[int]]:
    """What the model writes for each source, in their order; nothing for an empty one.

    Sources that are padded to the same power of two go together, `rows` at a time at most and so many that
    a batch has `TOKENS` at most (more where the mesh does not divide them): a program for each power of two.
    Without `rows` they are by the model's width; without a `length` it is that of `limit_of`. With a mesh the
    parameters are to lie on it.
    """
    if rows is None:
        rows = NARROW_ROWS if settings.d_model <= NARROW else ROWS
    if rows < 1:
        raise ValueError(f"rows is {rows}. Allowed is a whole number from 1.")
    largest = max((max(source) for source in sources if len(source)), default=PAD)
    if largest >= settings.vocabulary:
        raise ValueError(
            f"A source holds the id {largest}, and the model has {settings.vocabulary} of them, from 0. "
            f"Encode it with the vocabulary that the model was trained with."
        )
    parts = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in SHARDED)
    options: dict[str, Any] = {"beam": beam, "length_penalty": length_penalty, "unknown": unknown}
    options |= {"never": never}
    translations: list[list[int]] = [[] for _ in sources]
    with nullcontext() if mesh is None else jax.set_mesh(mesh):
        for width, alike in _by_width(sources):
            longest = limit_of(width) if length is None else length
            size = math.ceil(min(rows, _rows_within(beam * (width + longest))) / parts) * parts
            for begin in range(0, len(alike), size):
                numbers = alike[begin : begin + size]
                batch = np.zeros((size, width), np.int32)  # as many rows as every batch of this width has
                for row, number in enumerate(numbers):
                    batch[row, : len(sources[number])] = sources[number]
                placed = batch if mesh is None else place_batch(batch, mesh)
                ids = decode(settings, params, placed, length=longest, **options)
                for number, written in zip(numbers, np.asarray(ids), strict=False):  # rows may be to spare
                    translations[number] = written[written != PAD].tolist()
    return translations


def limit_of(tokens: int) -> int:
    """How long the translation of so many tokens may be: half as much again as their padded length, and 8."""
    return _padded(tokens) * 3 // 2 + 8


def _padded(tokens: int) -> int:
    return max(LEAST_BUCKET, 1 << (tokens - 1).bit_length())


def _rows_within(tokens_a_row: int) -> int:
    """The most rows, a power of two, that have `TOKENS` together; one row has them, however long it is."""
    return 1 << (max(1, TOKENS // tokens_a_row).bit_length() - 1)


def _by_width(sources: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[int]]]:
    """Which sources are padded to which length. The shortest come first: a batch ends with its last row."""
    some = sorted((i for i, source in enumerate(sources) if len(source)), key=lambda i: len(sources[i]))
    for width, alike in groupby(some, lambda i: _padded(len(sources[i]))):
        yield width, list(alike)


# -- the compiled search ---------------------------------------------------------------------------------


@one_at_a_time
@functools.partial(jax.jit, static_argnames=("settings", "beam", "length", "unknown"))
def _found(
    settings: Settings,
    params: Any,
    source: jax.Array,
    length_penalty: jax.Array,
    never: jax.Array | None,
    *,
    beam: int,
    length: int,
    unknown: bool,
) -> Found:
    vocabulary = jnp.arange(settings.vocabulary)
    barred = (vocabulary == PAD) | ((vocabulary == UNKNOWN) & (not unknown))
    barred = barred if never is None else barred | never

    def penalty(tokens: Any) -> jax.Array:
        return ((5 + jnp.asarray(tokens, jnp.float32)) / 6) ** length_penalty

    def follow(now: _Search) -> _Search:
        logits, cache = _one_more(settings, params, now.cache, now.tokens)
        shut = jnp.where(now.step == length - 1, vocabulary != EOS, barred)
        gained = jnp.where(shut, -jnp.inf, jax.nn.log_softmax(logits.astype(jnp.float32)))
        total = (now.live[:, :, None] + gained).reshape(len(source), -1)
        # Each of `beam` hypotheses may end in one way: so many go on among twice as many candidates.
        top, candidate = jax.lax.top_k(total, 2 * beam)
        parent, token = jnp.divmod(candidate, settings.vocabulary)

        ending = jnp.where(token == EOS, top, -jnp.inf)[:, :beam]
        best = _better(now, ending / penalty(now.step + 1), parent)
        finished = now.finished + jnp.sum(ending > -jnp.inf, axis=1)

        live, order = jax.lax.top_k(jnp.where(token == EOS, -jnp.inf, top), beam)
        parent, token = _chosen(parent, order), _chosen(token, order)
        written = _chosen(now.written, parent)
        written = jax.lax.dynamic_update_slice_in_dim(written, token[..., None], now.step, axis=2)
        if beam > 1:
            past = jax.tree.map(lambda x: _chosen(x, parent.T, axis=0), cache.past)
            cache = cache._replace(past=past)

        # A log-probability only falls, and no divisor is larger than that of the last step.
        beaten = best.scores >= live[:, 0] / penalty(length)
        done = now.done | (finished >= beam) | beaten
        return _Search(now.step + 1, cache, token, written, live, best, finished, done)

    sizes = _cache_sizes(length)
    now = _start(settings, params, source, beam=beam, length=length, size=sizes[0])
    for size in sizes:
        under_way = functools.partial(_under_way, size=size)
        now = jax.lax.while_loop(under_way, follow, _with_room(now, size))
    if jax.sharding.get_abstract_mesh().empty:
        return now.best
    # Whole on every device, so that every process can read it.
    best: Found = jax.lax.with_sharding_constraint(now.best, PartitionSpec())
    return best


def _cache_sizes(length: int) -> list[int]:
    """Doubling up to `length`. Every step reads the whole cache, and most sentences end early."""
    sizes = [length]
    while sizes[0] >= 2 * LEAST_CACHE:
        sizes.insert(0, math.ceil(sizes[0] / 2))
    return sizes


def _under_way(now: _Search, *, size: int) -> jax.Array:
    return (now.step < size) & ~jnp.all(now.done)


def _with_room(now: _Search, size: int) -> _Search:
    """The search with a cache for `size` positions."""

    def grown(x: jax.Array) -> jax.Array:
        return jnp.pad(x, [(0, size - n if axis == x.ndim - 1 else 0) for axis, n in enumerate(x.shape)])

    return now._replace(cache=now.cache._replace(past=jax.tree.map(grown, now.cache.past)))


def _start(
    settings: Settings, params: Any, source: jax.Array, *, beam: int, length: int, size: int
) -> _Search:
    """One empty hypothesis in each row, at the token 0 that every target begins with."""
    rows = len(source)
    cache = start_decoding(settings, params, source, length=size)
    past = jax.tree.map(lambda x: jnp.broadcast_to(x, (beam, *x.shape)), cache.past)
    return _Search(
        step=jnp.zeros((), jnp.int32),
        cache=cache._replace(past=past),
        tokens=jnp.zeros((rows, beam), jnp.int32),
        written=jnp.zeros((rows, beam, length), jnp.int32),
        live=jnp.full((rows, beam), -jnp.inf).at[:, 0].set(0.0),
        best=Found(jnp.zeros((rows, length), jnp.int32), jnp.full(rows, -jnp.inf), steps=jnp.int32(0)),
        finished=jnp.zeros(rows, jnp.int32),
        done=jnp.all(source == PAD, axis=1),
    )


def _one_more(settings: Settings, params: Any, cache: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
    """The logits (rows, beam, vocabulary). Under vmap all beams of a row read one copy of its source."""
    axes = cache._replace(step=None, past=0, cross=None, source_mask=None)
    step = functools.partial(decode_step, settings, params)
    return jax.vmap(step, in_axes=(axes, 1), out_axes=(1, axes))(cache, tokens)


def _better(now: _Search, scores: jax.Array, parent: jax.Array) -> Found:
    """The best finished hypotheses, now that those with a score have ended too."""
    winner = jnp.argmax(scores, axis=1, keepdims=True)
    ids = _chosen(now.written, _chosen(parent, winner))[:, 0]
    score = _chosen(scores, winner)[:, 0]
    wins = (score > now.best.scores) & ~now.done
    ids = jnp.where(wins[:, None], ids, now.best.ids)
    return Found(ids, jnp.where(wins, score, now.best.scores), now.step + 1)


def _chosen(x: jax.Array, index: jax.Array, *, axis: int = 1) -> jax.Array:
    """x[row, index[row, i]], or with axis 0 x[index[i, row], row]."""
    index = index.reshape(*index.shape, *[1] * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=axis, mode="promise_in_bounds")

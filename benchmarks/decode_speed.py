"""How many sentences a second does beam search write? Ours over `generate` of Hugging Face transformers.

An encoder-decoder of equal dimensions, layers, heads, vocabulary and tied embeddings (theirs is a Marian, the
faster of their two, T5 being the other), random weights, sources of 17 to 32 tokens sorted by length, 32 rows
at a time, beam 4, 32 steps for every sentence since neither side may end before. One thread on one core, CPU
time, both in turn in every round; from lists of ids to lists of ids.  python -m benchmarks.decode_speed
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.measuring import Result, result, show, spread
from trainer.config import ModelConfig
from trainer.models import Settings, init_params, model_settings
from trainer.scoring.decode import EOS, PAD, translate_all

STEPS, ROWS = 32, 32
MISSING = (
    "This benchmark compares with Hugging Face transformers, which is not installed. Install the extra "
    "`bench-decode`: pip install -e '.[bench-decode]'."
)
# Of a model: vocabulary, sentences, rounds.
SIZES = {"tiny": (320, 128, 9), "small": (8_000, 32, 5)}
Translate = Callable[[list[list[int]]], object]


def one_thread() -> None:
    """For JAX before it starts its threads, which it does when first used, and for PyTorch."""
    import torch

    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def sentences(count: int, vocabulary: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return sorted((rng.integers(3, vocabulary, rng.integers(17, 33)).tolist() for _ in range(count)), key=len)


def ours(settings: Settings, *, beam: int) -> Translate:
    params = init_params(settings, 0)
    # One dimension of the last norm is there to make the end impossible before the last step.
    params["decoder_norm"]["scale"][0], params["decoder_norm"]["bias"][0] = 0, 100
    params["embedding"][:, 0] = 0
    params["embedding"][EOS, 0] = -100
    params = jax.device_put(params)

    def translate(sources: list[list[int]]) -> object:
        written = translate_all(settings, params, sources, rows=ROWS, beam=beam, length=STEPS)
        assert {len(ids) for ids in written} == {STEPS - 1}  # and the end
        return written

    return translate


def theirs(settings: Settings, *, beam: int) -> Translate:
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    s = settings
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", s.layers), ("attention_heads", s.heads), ("ffn_dim", s.d_ff))
    }
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    config = MarianConfig(
        vocab_size=s.vocabulary,
        d_model=s.d_model,
        activation_function=s.activation,
        max_position_embeddings=128,
        forced_eos_token_id=None,
        **sizes,
        **ids,
    )
    model: Any = MarianMTModel(config).eval()
    penalty = {"length_penalty": 0.6} if beam > 1 else {}

    def translate(sources: list[list[int]]) -> object:
        written = []
        for begin in range(0, len(sources), ROWS):
            rows = sources[begin : begin + ROWS]
            batch = torch.zeros(len(rows), len(rows[-1]), dtype=torch.long)
            for row, source in enumerate(rows):
                batch[row, : len(source)] = torch.tensor(source)
            with torch.inference_mode():
                ids = model.generate(
                    batch,
                    attention_mask=(batch != PAD).long(),
                    num_beams=beam,
                    do_sample=False,
                    min_new_tokens=STEPS,
                    max_new_tokens=STEPS,
                    **penalty,
                )
            assert ids.shape == (len(rows), 1 + STEPS)
            written += ids[:, 1:].tolist()
        return written

    return translate


def compare(size: str, *, beam: int) -> dict[str, Any]:
    """Sentences per second of both, and the ratio by round."""
    vocabulary, count, rounds = SIZES[size]
    settings = model_settings(ModelConfig(size=size), vocabulary=vocabulary)
    sides = {"ours": ours(settings, beam=beam), "theirs": theirs(settings, beam=beam)}
    sources = sentences(count, vocabulary)
    times_s: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):  # the first compiles
        for side, translate in sides.items():
            begun_s = time.process_time()
            translate(sources)
            if number:
                times_s[side].append(time.process_time() - begun_s)
    rates = {side: count / statistics.median(times) for side, times in times_s.items()}
    by_round = [t / o for t, o in zip(times_s["theirs"], times_s["ours"], strict=True)]
    return {"ratio": rates["ours"] / rates["theirs"], "per_s": rates, "spread": spread(by_round)}


def measure() -> Result:
    one_thread()
    tiny = compare("tiny", beam=4)
    others = {"greedy": compare("tiny", beam=1), "small": compare("small", beam=4)}
    return result(
        "decode_speed",
        ratios={"vs_hf_generate": tiny["ratio"]},
        figures={"sentences_per_s": tiny["per_s"], "spread": tiny["spread"], **others},
        wants={"vs_hf_generate": "≥ 3"},
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        import transformers
    except ImportError:
        sys.exit(MISSING)
    transformers.logging.set_verbosity_error()
    show(measure())

"""Is our T5 that of Hugging Face transformers? Random weights go through a folder that it wrote, and back."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from trainer import huggingface
from trainer.config import t5_folder
from trainer.models import Settings, forward
from trainer.models.losses import token_cross_entropy
from trainer.scoring.decode import find

with warnings.catch_warnings():  # what its import warns of is none of ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY = 96
KINDS = [
    pytest.param(activation, tied, depths, kind, id=f"{name}-{'shared' if tied else 'own'}-{depths}-{kind}")
    for (name, activation), tied, depths, kind in itertools.product(
        (("1.0", "relu"), ("1.1", "gated-gelu")),
        (True, False),
        ((2, 2), (1, 3)),
        ("float32", "bfloat16"),
    )
]


@dataclass(frozen=True)
class Both:
    theirs: Any
    path: Path
    folder: t5_folder.T5Folder
    settings: Settings
    params: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both models by kind, made once."""
    known: dict[Any, Both] = {}

    def make(activation: str, tied: bool, depths: tuple[int, int], kind: str) -> Both:
        key = (activation, tied, depths, kind)
        if key not in known:
            known[key] = _both(tmp_path_factory.mktemp("folder"), *key)
        return known[key]

    return make


def _both(path: Path, activation: str, tied: bool, depths: tuple[int, int], kind: str) -> Both:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=depths[0],
        num_decoder_layers=depths[1],
        num_heads=4,
        feed_forward_proj=activation,
        tie_word_embeddings=tied,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "layer_norm" in name:
                tensor.add_(0.2 * torch.randn_like(tensor))
        if not tied:  # numbers of its own, and its own place in memory
            own = 0.3 * torch.randn(VOCABULARY, 32)
            model.lm_head.weight = torch.nn.Parameter(own)
    _make_ends_likely(model.eval())
    model = model.to(getattr(torch, kind))
    model.save_pretrained(path)
    read = t5_folder.read(path)
    model = model.float()  # computed in float32, with the numbers of the file
    return Both(model, path, read, huggingface.settings_of(read), huggingface.load(read))


def _make_ends_likely(model: Any) -> None:
    """So that sentences end by themselves: the end's row of the logits' matrix turns to where the decoder
    points on average."""
    batch = batch_of(8, 20, 30, seed=9)
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(batch["source"]),
            decoder_input_ids=torch.tensor(batch["target_in"]),
            output_hidden_states=True,
        )
        scale = 32**-0.5 if model.config.scale_decoder_outputs else 1.0
        mean = found.decoder_hidden_states[-1].mean(dim=(0, 1))
        wanted = torch.logsumexp(found.logits, dim=-1).mean() - 1.0
        model.lm_head.weight[1] = mean * (wanted / (scale * mean.square().sum()))


def batch_of(rows: int, source_length: int, target_length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of several lengths, padded."""
    rng = np.random.default_rng(seed)
    source = rng.integers(3, VOCABULARY, (rows, source_length))
    target = rng.integers(3, VOCABULARY, (rows, target_length))
    for row in range(1, rows):
        source[row, source_length - 2 * row :] = 0
        target[row, target_length - row :] = 0
    shifted = np.concatenate([np.zeros((rows, 1), int), target[:, :-1]], axis=1)
    return {"source": source, "target_in": shifted, "target_out": target}


def their_logits(model: Any, batch: Any) -> Any:
    return model(
        input_ids=torch.tensor(batch["source"]),
        attention_mask=torch.tensor((batch["source"] != 0).astype(np.int64)),
        decoder_input_ids=torch.tensor(batch["target_in"]),
    ).logits


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS)
def test_the_logits_agree_beyond_the_last_bucket_and_with_padding(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str
) -> None:
    both = made(activation, tied, depths, kind)
    batch = batch_of(3, 150, 140)
    with torch.no_grad():
        expected = their_logits(both.theirs, batch).numpy()
    found = np.asarray(forward(both.settings, both.params, batch))
    written = batch["target_out"] != 0
    assert np.max(np.abs(found - expected)[written]) < 1e-4
    assert np.std(expected[written]) > 0.1  # no agreement of zeros


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS[::2])
def test_the_loss_and_its_gradient_to_every_tensor_agree(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str
) -> None:
    both = made(activation, tied, depths, kind)
    batch = batch_of(3, 24, 20, seed=1)
    both.theirs.zero_grad()
    target = torch.tensor(batch["target_out"])
    logits = their_logits(both.theirs, batch)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=0)
    loss.backward()

    def ours(params: Any) -> jax.Array:
        return token_cross_entropy(forward(both.settings, params, batch), batch["target_out"])

    value, gradient = jax.value_and_grad(ours)(jax.tree.map(jax.numpy.asarray, both.params))
    assert float(value) == pytest.approx(loss.item(), rel=1e-3)
    theirs = dict(both.theirs.named_parameters())
    found = {
        jax.tree_util.keystr(at, simple=True, separator="/"): np.asarray(leaf)
        for at, leaf in jax.tree_util.tree_leaves_with_path(gradient)
    }
    for own, name in huggingface.names(both.settings).items():
        expected = theirs[name].grad.numpy()
        expected = expected.T if own.endswith("kernel") else expected
        assert np.max(np.abs(found[own] - expected)) < 1e-3 * max(1.0, float(np.max(np.abs(expected)))), own
        assert np.any(expected), own


def their_search(both: Both, source: np.ndarray, *, beams: int, length: int) -> tuple[np.ndarray, Any]:
    with torch.no_grad():
        written = both.theirs.generate(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor((source != 0).astype(np.int64)),
            num_beams=beams,
            **({"length_penalty": 0.0} if beams > 1 else {}),
            do_sample=False,
            max_new_tokens=length,
            use_cache=False,  # theirs counts the encoder's layers where it makes room for the decoder's
            early_stopping=True,  # when as many sentences have ended as the beam is wide: ours
            suppress_tokens=[0],  # ours never writes padding
            return_dict_in_generate=True,
            output_scores=True,
        )
    return written.sequences.numpy()[:, 1:], getattr(written, "sequences_scores", None)


def without_end(row: np.ndarray) -> list[int]:
    ids = row.tolist()
    return [i for i in (ids[: ids.index(1)] if 1 in ids else ids) if i != 0]


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS[::4])
def test_greedy_output_is_the_same_token_for_token(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str
) -> None:
    both = made(activation, tied, depths, kind)
    source = batch_of(3, 20, 8, seed=2)["source"]
    expected, _ = their_search(both, source, beams=1, length=12)
    # Ours must end with the end of a sentence, and so has one token more to write.
    found = np.asarray(find(both.settings, both.params, source, beam=1, length=13).ids)
    for ours, theirs in zip(found, expected, strict=True):
        ended = without_end(theirs)
        assert without_end(ours)[: len(ended)] == ended
        assert len(ended) > 2 or 1 in theirs


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS[::6])
def test_a_beam_of_four_finds_the_same_score(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str
) -> None:
    both = made(activation, tied, depths, kind)
    source = batch_of(3, 20, 8, seed=3)["source"]
    # So long that all hypotheses end by themselves, in both.
    _, expected = their_search(both, source, beams=4, length=60)
    found = find(both.settings, both.params, source, beam=4, length_penalty=0.0, length=60)
    assert np.asarray(found.scores) == pytest.approx(expected.numpy(), abs=1e-3)


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS)
def test_out_and_in_again_is_the_same_bit_for_bit(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str, tmp_path: Path
) -> None:
    both = made(activation, tied, depths, kind)
    out = tmp_path / "out"
    huggingface.export(out, both.settings, both.params, vocabulary=b"pieces", dropout=0.1)
    again = t5_folder.read(out)
    assert again.dimensions == both.folder.dimensions
    for one, other in zip(
        jax.tree.leaves(huggingface.load(again)), jax.tree.leaves(both.params), strict=True
    ):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("activation", "tied", "depths", "kind"), KINDS[::2])
def test_what_we_write_they_read_as_the_same_model(
    made: Any, activation: str, tied: bool, depths: tuple[int, int], kind: str, tmp_path: Path
) -> None:
    both = made(activation, tied, depths, kind)
    out = tmp_path / "out"
    huggingface.export(out, both.settings, both.params, vocabulary=b"pieces", dropout=0.1)
    read = transformers.T5ForConditionalGeneration.from_pretrained(out).eval()
    batch = batch_of(2, 30, 12, seed=4)
    with torch.no_grad():
        expected = their_logits(read, batch).numpy()
    found = np.asarray(forward(both.settings, both.params, batch))
    assert np.max(np.abs(found - expected)[batch["target_out"] != 0]) < 1e-4


def test_an_output_matrix_of_its_own_is_in_the_file_with_numbers_of_its_own(made: Any) -> None:
    both = made("gated-gelu", False, (2, 2), "float32")
    readers = huggingface.tensor_files.open_tensors(both.folder)
    assert not np.array_equal(readers["lm_head.weight"](), readers["shared.weight"]())
    # transformers 5 writes tie_word_embeddings as true whatever was asked for, and tells them apart by this.
    assert json.loads((both.path / "config.json").read_text())["scale_decoder_outputs"] is False


@pytest.fixture
def pickled(made: Any, tmp_path: Path) -> Path:
    both = made("relu", True, (2, 2), "float32")
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_bytes((both.path / "config.json").read_bytes())
    torch.save(both.theirs.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_a_pickle_gives_the_same_as_safetensors(made: Any, pickled: Path) -> None:
    expected = made("relu", True, (2, 2), "float32").params
    found = huggingface.load(t5_folder.read(pickled))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.tobytes() == other.tobytes()


def test_shards_with_an_index_give_the_same_as_one_file(made: Any, tmp_path: Path) -> None:
    both = made("relu", True, (2, 2), "float32")
    both.theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    folder = t5_folder.read(tmp_path)
    assert len(folder.files) > 1
    for one, other in zip(
        jax.tree.leaves(huggingface.load(folder)), jax.tree.leaves(both.params), strict=True
    ):
        assert one.tobytes() == other.tobytes()


class _Harm:
    def __reduce__(self) -> Any:
        return (print, ("harm done",))


def test_a_pickle_that_holds_more_than_tensors_is_refused_unopened(
    pickled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"shared.weight": _Harm()}, pickled / "pytorch_model.bin")
    with pytest.raises(t5_folder.FolderError) as problem:
        huggingface.load(t5_folder.read(pickled))
    assert str(problem.value) == (
        f"{pickled / 'pytorch_model.bin'} holds more than tensors, and is not opened. Allowed is a file of "
        f"tensors by name, as torch.save(model.state_dict()) writes it; .safetensors is safer."
    )
    assert "harm done" not in capsys.readouterr().out

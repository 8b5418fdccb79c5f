"""What is said of a folder that is to hold a T5? Files are made by hand; transformers is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import huggingface
from trainer.config import t5_folder
from trainer.config.choices import MODELS
from trainer.config.t5_folder import FolderError
from trainer.models import Settings, init_params, tensor_files

SETTINGS = Settings(
    **{k: getattr(MODELS["t5-tiny"], k) for k in MODELS["t5-tiny"].__dataclass_fields__}, vocabulary=40
)
ADVICE = "Allowed are folders of T5, T5 1.1, Flan-T5 and mT5 as transformers writes them."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    huggingface.export(place, SETTINGS, init_params(SETTINGS, 0), vocabulary=b"pieces", dropout=0.1)
    return place


def changed(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def refusal(folder: Path) -> str:
    with pytest.raises(FolderError) as problem:
        huggingface.check(t5_folder.read(folder))
    return str(problem.value)


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    return {name: read() for name, read in tensor_files.open_tensors(t5_folder.read(folder)).items()}


def test_a_whole_folder_is_what_its_config_says(folder: Path) -> None:
    found = t5_folder.read(folder)
    huggingface.check(found)
    assert (found.family, found.dimensions, found.vocabulary) == ("T5", MODELS["t5-tiny"], 40)
    assert (found.format, [file.name for file in found.files]) == ("safetensors", ["model.safetensors"])
    assert found.unusual == ()


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ({}, "T5"),
        ({"feed_forward_proj": "gated-gelu"}, "T5 1.1"),
        ({"model_type": "mt5", "feed_forward_proj": "gated-gelu"}, "mT5"),
    ],
)
def test_the_family_follows_from_the_config(folder: Path, values: dict[str, Any], family: str) -> None:
    changed(folder, **values)
    assert t5_folder.read(folder).family == family


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"model_type": "umt5"},
            f"CONFIG is of a model of the type 'umt5'. Allowed are 't5' and 'mt5'. {ADVICE}",
        ),
        (
            {"model_type": "longt5"},
            f"CONFIG is of a model of the type 'longt5'. Allowed are 't5' and 'mt5'. {ADVICE}",
        ),
        (
            {"architectures": ["T5EncoderModel"]},
            "CONFIG is of T5EncoderModel, an encoder alone. Allowed is a whole model, encoder and decoder. "
            f"{ADVICE}",
        ),
        (
            {"relative_attention_num_buckets": 64},
            f"CONFIG: relative_attention_num_buckets is 64. Allowed is 32. {ADVICE}",
        ),
        ({"pad_token_id": 2}, f"CONFIG: pad_token_id is 2. Allowed is 0. {ADVICE}"),
        (
            {"feed_forward_proj": "gated-silu"},
            "CONFIG: feed_forward_proj is 'gated-silu'. Allowed: relu, gated-gelu.",
        ),
        ({"d_ff": "wide"}, "CONFIG: d_ff is 'wide'. Allowed is a whole number from 1."),
        ({"num_heads": None}, "CONFIG: num_heads is None. Allowed is a whole number from 1."),
        (
            {"vocab_size": 41},
            "CONFIG says that the vocabulary has 41 rows, and the embedding has 40. Allowed is the same "
            "number: mend config.json, or the weights.",
        ),
        (
            {"tie_word_embeddings": False, "scale_decoder_outputs": None},
            "CONFIG says that the output matrix is one of its own (tie_word_embeddings is false), and the "
            "weights have no lm_head.weight. Put it there, or set tie_word_embeddings to true.",
        ),
        (
            {"d_ff": 200},
            "The weights in FOLDER: decoder.block.0.layer.2.DenseReluDense.wo.weight has the shape [64, "
            "256], and by config.json it is [64, 200]. Mend config.json, or the weights.",
        ),
        (
            {"num_layers": 1, "num_decoder_layers": 2},
            "The weights in FOLDER hold encoder.block.1.layer.0.SelfAttention.k.weight, "
            "encoder.block.1.layer.0.SelfAttention.o.weight, encoder.block.1.layer.0.SelfAttention.q.weight "
            "and 5 more, which no T5 model of the sizes in its config.json has. Take them out, or mend "
            "config.json.",
        ),
        (
            {"num_layers": 3, "num_decoder_layers": 2},
            "The weights in FOLDER lack encoder.block.2.layer.0.SelfAttention.k.weight, "
            "encoder.block.2.layer.0.SelfAttention.o.weight, encoder.block.2.layer.0.SelfAttention.q.weight "
            "and 5 more. Allowed is a whole T5 model of the sizes that its config.json states.",
        ),
    ],
)
def test_a_config_that_cannot_be_ours_gets_a_sentence(
    folder: Path, values: dict[str, Any], sentence: str
) -> None:
    changed(folder, **values)
    told = sentence.replace("CONFIG", str(folder / "config.json")).replace("FOLDER", str(folder))
    assert refusal(folder) == told


def test_a_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == (
        f"{tmp_path / 'none'} is to hold a T5 model, and there is no such folder. {ADVICE}"
    )
    assert refusal(tmp_path) == f"{tmp_path} is to hold a T5 model, and it has no config.json. {ADVICE}"


def test_a_file_that_is_cut_off_is_noticed_before_its_numbers_are_read(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    last = sorted(huggingface.names(SETTINGS).values())[-1]
    assert refusal(folder) == (
        f"{file} has {len(whole) - 5:,} bytes, and its tensor {last} ends at byte {len(whole):,}: the file "
        f"is cut off. Copy it anew."
    )
    file.write_bytes(whole[:100])
    length = int.from_bytes(whole[:8], "little")
    assert refusal(folder) == (
        f"{file} has 100 bytes and is to begin with a head of {length:,}: it is cut off, or no .safetensors "
        f"file. Copy it anew."
    )


def test_weights_that_are_not_there(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == (
        f"{folder} has neither model.safetensors nor pytorch_model.bin, nor the index of their shards "
        f"(model.safetensors.index.json). Put the weights there."
    )
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "../two.safetensors"}}))
    assert refusal(folder) == (
        f"{index} names '../two.safetensors', outside the folder. Copy the whole folder."
    )
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert refusal(folder) == f"{index} names one.safetensors, not there. Copy the whole folder."


@pytest.mark.parametrize("name", t5_folder.EMBEDDINGS)
def test_the_shared_embedding_goes_by_any_of_its_names(folder: Path, name: str) -> None:
    tensors = tensors_of(folder)
    embedding = tensors.pop("shared.weight")
    tensor_files.save(folder / "model.safetensors", {**tensors, name: embedding})
    assert np.array_equal(huggingface.load(t5_folder.read(folder))["embedding"], embedding)


def test_two_embeddings_that_differ_are_refused(folder: Path) -> None:
    tensors = tensors_of(folder)
    other = tensors["shared.weight"] + 1
    tensor_files.save(folder / "model.safetensors", {**tensors, "encoder.embed_tokens.weight": other})
    assert refusal(folder) == (
        f"The weights in {folder} have two embeddings: shared.weight and encoder.embed_tokens.weight differ. "
        f"Allowed is one that encoder and decoder share; take the wrong one out."
    )


def test_an_output_matrix_of_its_own_is_used_where_the_config_says_so(folder: Path) -> None:
    tensors = tensors_of(folder)
    own = tensors["shared.weight"] + 1
    tensor_files.save(folder / "model.safetensors", {**tensors, "lm_head.weight": own})
    assert refusal(folder) == (
        f"{folder / 'config.json'} says that the logits share the embedding, and lm_head.weight differs from "
        f"it. Set tie_word_embeddings to false to use it, or take it out of the weights."
    )
    # As transformers 4 writes it, and as 5 does.
    for says in (
        {"tie_word_embeddings": False, "scale_decoder_outputs": None},
        {"tie_word_embeddings": True, "scale_decoder_outputs": False},
    ):
        changed(folder, **says)
        found = t5_folder.read(folder)
        assert (found.dimensions.output, found.unusual) == ("own", ())
        assert np.array_equal(huggingface.load(found)["output"], own)


def test_a_second_name_of_the_embedding_is_no_matrix_of_its_own(folder: Path) -> None:
    tensors = tensors_of(folder)
    twice = {**tensors, "lm_head.weight": tensors["shared.weight"]}
    tensor_files.save(folder / "model.safetensors", twice)
    assert t5_folder.read(folder).dimensions.output == "shared"
    huggingface.check(t5_folder.read(folder))


def test_an_unscaled_product_with_the_embedding_begins_as_a_copy_of_it_and_that_is_told(folder: Path) -> None:
    changed(folder, scale_decoder_outputs=False)  # a T5 1.1 that transformers 5 made: it shares the matrix
    found = t5_folder.read(folder)
    params = huggingface.load(found)
    assert found.dimensions.output == "own"
    assert np.array_equal(params["output"], params["embedding"])
    assert found.unusual == (
        "The matrix of the logits holds the embedding's numbers, unscaled. Here it is one of its own from "
        "then on.",
    )


@pytest.mark.parametrize(("dtype", "width"), [("BF16", 2), ("F16", 2)])
def test_half_precision_is_widened_number_for_number(folder: Path, dtype: str, width: int) -> None:
    file = folder / "model.safetensors"
    tensors = tensors_of(folder)
    head: dict[str, Any] = {}
    data = b""
    expected = {}
    for name, numbers in tensors.items():
        if dtype == "F16":
            raw = numbers.astype("<f2").tobytes()
            expected[name] = numbers.astype("<f2").astype(np.float32)
        else:
            cut = (numbers.view("<u4") >> 16).astype("<u2")
            raw = cut.tobytes()
            expected[name] = (cut.astype("<u4") << 16).view("<f4")
        head[name] = {
            "dtype": dtype,
            "shape": list(numbers.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(head).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    read = tensor_files.open_tensors(t5_folder.read(folder))
    for name, numbers in expected.items():
        assert np.array_equal(read[name](), numbers)
    head["shared.weight"]["dtype"] = "F64"
    text = json.dumps(head).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    assert refusal(folder) == (
        f"{file}: the tensor shared.weight is of the type F64. Allowed: F32, BF16, F16."
    )


def test_a_model_that_is_no_t5_is_not_written(tmp_path: Path) -> None:
    tiny = Settings(**{k: getattr(MODELS["tiny"], k) for k in MODELS["tiny"].__dataclass_fields__})
    with pytest.raises(ValueError) as problem:
        huggingface.export(tmp_path / "out", tiny, {}, vocabulary=b"", dropout=0.1)
    assert str(problem.value) == (
        "This model has positions 'sinusoidal' and norm 'layer', and a T5 has relative positions and rms "
        "norms. Allowed are models of T5's kind, such as t5-tiny and t5-small."
    )
    assert not (tmp_path / "out").exists()

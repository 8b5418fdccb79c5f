"""Look at a T5 folder of Hugging Face, or write a finished run as one.

python -m trainer.terminal.weights describe t5-small/
python -m trainer.terminal.weights export orch-data/train/… out/
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.config import init as inits
from trainer.config import t5_folder

WRONG = 2
SHOWN = {
    "family": "family",
    "parameters": "parameters",
    "layers": "layers, encoder and decoder",
    "d_model": "d_model",
    "d_attention": "d_attention",
    "heads": "heads",
    "d_ff": "d_ff",
    "activation": "activation",
    "output": "output matrix",
    "embedding_rows": "rows of the embedding",
    "pieces": "pieces of the vocabulary",
    "sentinels": "sentinels",
    "files": "files",
    "types": "numbers",
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        told = arguments.act(arguments)
    except (ValueError, OSError) as problem:  # FolderError, ConfigError and DataError: sentences
        print(f"orch: {problem}", file=sys.stderr)
        return WRONG
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        arguments.show(told)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("orch weights", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True, metavar="describe | export")
    one = verbs.add_parser("describe", help="family, sizes, parameters, vocabulary, and what is unusual")
    one.add_argument("folder", type=Path, help="a folder with config.json and model.safetensors")
    one.set_defaults(act=_describe, show=_show_folder)
    other = verbs.add_parser(
        "export", help="a folder that transformers loads, of a finished run of T5's kind"
    )
    other.add_argument("run", type=Path, help="the folder of a finished run, or a trial's name")
    other.add_argument("folder", type=Path, help="a folder that is empty or not there yet")
    other.set_defaults(act=_export, show=_show_export)
    for each in (one, other):
        each.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    from trainer import huggingface
    from trainer.models import count_parameters, param_shapes

    folder = t5_folder.read(arguments.folder)
    huggingface.check(folder)
    d = folder.dimensions
    told: dict[str, Any] = {
        "folder": str(folder.path),
        "family": folder.family,
        "parameters": count_parameters(param_shapes(huggingface.settings_of(folder))),
        "layers": [d.layers, d.of_decoder],
        **{name: getattr(d, name) for name in ("d_model", "d_attention", "heads", "d_ff", "activation")},
        "output": "shared with the embedding" if d.output == "shared" else "one of its own",
        "embedding_rows": folder.vocabulary,
        "files": [file.name for file in folder.files],
        "types": sorted({tensor.dtype for tensor in (folder.tensors or {}).values()}) or ["of a pickle"],
        "unusual": list(folder.unusual),
    }
    return told | _vocabulary(folder, told["unusual"])


def _vocabulary(folder: t5_folder.T5Folder, unusual: list[str]) -> dict[str, Any]:
    from trainer.data.vocabulary import Vocabulary

    file = folder.path / t5_folder.SPIECE
    if not file.is_file():
        unusual.append(f"There is no {t5_folder.SPIECE}: a run from this folder needs data.vocabulary_path.")
        return {"pieces": None, "sentinels": None}
    words = Vocabulary.from_file(file, rows=folder.vocabulary)
    if words.pieces > folder.vocabulary:
        unusual.append(
            f"{t5_folder.SPIECE} has {words.pieces:,} pieces and the embedding {folder.vocabulary:,} rows: "
            f"text with the others cannot be read."
        )
    return {"pieces": words.pieces, "sentinels": len(words.sentinels)}


def _show_folder(told: dict[str, Any]) -> None:
    for key, name in SHOWN.items():
        value = told[key]
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        text = "none" if value is None else f"{value:,}" if isinstance(value, int) else value
        print(f"{name:<28}{text}")
    for sentence in told["unusual"]:
        print(f"! {sentence}")


def _export(arguments: argparse.Namespace) -> dict[str, Any]:
    from trainer import huggingface
    from trainer.models import count_parameters
    from trainer.terminal.translate import Model

    folder: Path = arguments.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} is there and not empty. Allowed is a folder that is empty or not there yet."
        )
    model = Model.open(arguments.run)
    vocabulary = (arguments.run / inits.VOCABULARY).read_bytes()
    dropout = model.config.model.dropout
    huggingface.export(folder, model.settings, model.params, vocabulary=vocabulary, dropout=dropout)
    return {"folder": str(folder), "parameters": count_parameters(model.params)}


def _show_export(told: dict[str, Any]) -> None:
    print(
        f"{told['parameters']:,} parameters are in {told['folder']}. With transformers: "
        f"T5ForConditionalGeneration.from_pretrained({told['folder']!r})"
    )


if __name__ == "__main__":
    sys.exit(main())

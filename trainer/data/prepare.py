"""How does a set of TensorFlow Datasets get onto this machine? Downloaded and prepared, with its progress.

Sets whose files come as archives are unpacked by TensorFlow: the extra `tfds-prepare` brings it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
from pathlib import Path
from typing import Any

from trainer.config.benchmarks import BENCHMARKS, OF_TASK
from trainer.data import tfds
from trainer.data.contract import DataError

EXTRA = "Install it: pip install 'orch-studies[tfds-prepare]'"
FORMAT = "array_record"  # the one that is read by number
# A builder is found by its name once its module is imported; the library's own search stops silently at a
# module that lacks a package.
_MODULES = ("translate", "text", "question_answering", "summarization", "text_simplification")


def sets_of(source: str, *, pair: str, data_dir: str | Path = "") -> tuple[str, ...]:
    """The sets that a source of a config stands for: wmt19, tfds:NAME, NAME itself, or those of a benchmark's
    task, with or without task:."""
    if source == "wmt19":
        return (tfds.wmt19_config(pair, data_dir=data_dir),)
    task = source.removeprefix(OF_TASK)
    if task in BENCHMARKS:
        return BENCHMARKS[task].sets
    if task != source:
        near = difflib.get_close_matches(task, BENCHMARKS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"There is no benchmark's task {task!r}.{hint} Allowed are {', '.join(BENCHMARKS)}.")
    return (source.removeprefix("tfds:"),)


def prepare(name: str, *, data_dir: str | Path = "") -> Path:
    """The folder of a prepared set; it is downloaded and prepared first where it is not there."""
    with contextlib.suppress(DataError):
        return tfds.prepared(name, data_dir)
    builder = _builder(name, tfds.folder(data_dir))
    from tensorflow_datasets import download

    # Ten retries of each try are its own; what they say line by line the progress bar and the end say too.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        builder.download_and_prepare(download_config=download.DownloadConfig(try_download_gcs=False))
    except Exception as error:  # of its many downloaders, readers and parsers
        raise DataError(_why_not(name, error)) from error
    return Path(str(builder.data_path))


def _builder(name: str, folder: Path) -> Any:
    library = tfds.library()
    for module in _MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"tensorflow_datasets.{module}")
    known = library.list_builders(with_community_datasets=False)
    if name.split("/")[0] not in known:
        near = difflib.get_close_matches(name.split("/")[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"TensorFlow Datasets has no set {name!r} here.{hint} Allowed are its names, such as "
            f"wmt19_translate/de-en, c4/en, glue/cola, super_glue/boolq and squad."
        )
    _, _, config = name.partition("/")
    configs = getattr(library.builder_cls(name.split("/")[0]), "builder_configs", {})
    if configs and config and not any(part in configs for part in (config, config.rpartition("/")[0])):
        near = difflib.get_close_matches(config, configs, n=1)
        hint = f" Did you mean {name.split('/')[0]}/{near[0]}?" if near else ""
        raise DataError(f"TensorFlow Datasets has no set {name!r} here.{hint} Name one of its configs.")
    try:
        return library.builder(name, data_dir=str(folder), file_format=FORMAT)
    except (ImportError, ValueError, RuntimeError) as error:
        raise DataError(_why_not(name, error)) from error


def _why_not(name: str, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "No module named 'tensorflow'" in said:
        return f"Preparing {name} needs TensorFlow, which is not installed. {EXTRA}, and run the same again."
    missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
    if missing:
        return f"Preparing {name} needs the package {missing}, which is not installed. Install it first."
    return (
        f"{name} could not be prepared: {type(error).__name__}: {said[:300]} What was downloaded is kept. "
        f"Run the same again where there is a network, or name a prepared folder by --data-dir."
    )

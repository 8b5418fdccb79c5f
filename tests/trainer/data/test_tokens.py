"""Is text read once a process, and anew when somebody has written it anew?"""

from __future__ import annotations

from pathlib import Path

from trainer.config import TrainConfig
from trainer.data.tokens import open_tokens


def _write(folder: Path, word: str) -> None:
    lines = [f"{word} {i} {i % 7}" for i in range(400)]
    for language in ("de", "en"):
        (folder / f"train.{language}").write_text("\n".join(f"{language} {line}" for line in lines))


def test_files_that_were_changed_are_read_again(tmp_path: Path) -> None:
    data = {"source": "files", "path": str(tmp_path / "train"), "vocabulary": 60, "identify_languages": False}
    config = TrainConfig.from_dict({"data": data, "batch": {"sentences": 8}})
    _write(tmp_path, "katze")
    before = open_tokens(config, home=tmp_path / "home")
    assert open_tokens(config, home=tmp_path / "home") is before
    _write(tmp_path, "hundehaus")
    after = open_tokens(config, home=tmp_path / "home")
    assert after.fingerprint != before.fingerprint
    assert "hundehaus" in after.corpus.train[0][0]

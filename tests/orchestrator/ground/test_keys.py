"""Where does the key of the service lie, who can read it, and what if it is damaged?"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.ground import keys
from orchestrator.ground.errors import BadSpec


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


def test_a_key_is_made_once_and_is_for_its_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    assert keys.read(home) is None
    before = os.umask(0)
    try:
        made = keys.ensure(home, say=silent)
    finally:
        os.umask(before)
    assert keys.SECRET.fullmatch(made)
    assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600
    assert keys.ensure(home, say=silent) == made == keys.read(home)
    assert os.listdir(home) == ["key"]
    assert keys.ensure(tmp_path / "other", say=silent) != made


def test_processes_that_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = set(pool.map(lambda _: keys.ensure(tmp_path, say=silent), range(20)))
    assert made == {keys.read(tmp_path)}


def test_a_key_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    old = keys.ensure(tmp_path, say=silent)
    (tmp_path / "key").chmod(0o640)
    said: list[str] = []
    assert keys.ensure(tmp_path, say=said.append) != old
    assert said == [f"Other users could read the key in {tmp_path}/key, so it was replaced by a new one."]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "hunter2", "orch_short", "orch_" + "x" * 500])
def test_a_damaged_key_is_a_sentence_and_is_not_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    for act in (lambda: keys.read(tmp_path), lambda: keys.ensure(tmp_path, say=silent)):
        with pytest.raises(BadSpec) as refused:
            act()
        assert str(refused.value) == (
            f"{tmp_path}/key holds no key of orch. Delete it: the next `orch serve` makes another."
        )


def test_a_home_that_holds_no_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(BadSpec, match=r"The service's key cannot be kept in .*/key \(Is a directory\)"):
        keys.ensure(tmp_path, say=silent)
    (tmp_path / "file").touch()
    with pytest.raises(BadSpec, match="Name a folder of your own in ORCH_HOME"):
        keys.ensure(tmp_path / "file", say=silent)
    assert keys.read(tmp_path / "file") is None

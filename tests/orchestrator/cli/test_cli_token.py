"""`orch token`: made and shown once, listed without its secret, revoked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.api.auth import digest
from orchestrator.ledger import Store
from tests.orchestrator.conftest import Orch


def test_a_token_is_shown_once_and_only_its_hash_is_kept(orch: Orch, ledger: Callable[[], Store]) -> None:
    made = orch("token", "create", "ada", "--role", "run", "--days", "2")
    assert made.code == 0
    secret = made.out.strip()
    assert len(secret) >= 43  # 256 bits
    assert made.err == "The token ada (run) is valid for 2 days. It is not shown again.\n"
    store = ledger()
    found = store.token(digest(secret))
    store.close()
    assert found is not None
    assert found.expires_at is not None
    assert (found.name, found.role, found.expires_at - found.created_at) == ("ada", "run", 2 * 86_400)
    assert secret not in repr(found)
    listed = orch("token", "list")
    assert secret not in listed.out
    assert listed.out.splitlines()[1].split()[:3] == ["ada", "run", "valid"]


def test_a_revoked_token_is_listed_as_such_and_its_name_is_free(orch: Orch) -> None:
    first = orch("token", "create", "ada", "--json").json
    assert (first["role"], first["standing"]) == ("read", "valid")
    assert orch("token", "create", "ada").code == 3
    assert orch("token", "revoke", "ada").out == "The token ada is revoked.\n"
    assert [t["standing"] for t in orch("token", "list", "--json").json["tokens"]] == ["revoked"]
    assert orch("token", "create", "ada", "--json").json["token"] != first["token"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("create", "../x"), 2),
        (("create", "a", "--role", "king"), 2),
        (("create", "a", "--days", "0"), 2),
        (("revoke", "nobody"), 5),
        (("list",), 0),
    ],
)
def test_what_cannot_be_done_is_a_sentence(orch: Orch, arguments: tuple[str, ...], code: int) -> None:
    said = orch("token", *arguments)
    assert (said.code, "Traceback" in said.err) == (code, False)

"""What is in a ledger without a database beside the studies? Cursors, tokens, sessions, hosts, the audit."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from orchestrator.ledger import rules
from orchestrator.ledger.codec import settled
from orchestrator.ledger.records import AuditLine, HostRow, Receipt, Session, Token

Method = TypeVar("Method", bound=Callable[..., Any])


def locked(method: Method) -> Method:
    """Nobody else reads or writes meanwhile."""

    @wraps(method)
    def alone(self: MemoryDesk, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return cast("Method", alone)


class MemoryDesk:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cursors: dict[str, int] = {}
        self._receipts: dict[str, Receipt] = {}
        self._tokens: dict[str, Token] = {}
        self._sessions: dict[str, Session] = {}
        self._hosts: dict[str, HostRow] = {}
        self._audit: list[AuditLine] = []
        self._ledger_id = secrets.token_hex(8)

    # -- mirrors ------------------------------------------------------------------------------------
    @locked
    def cursor(self, name: str) -> int:
        return self._cursors.get(name, 0)

    @locked
    def move_cursor(self, name: str, event_id: int) -> None:
        self._cursors[name] = event_id

    # -- hosts --------------------------------------------------------------------------------------
    @locked
    def hosts(self) -> list[HostRow]:
        return [self._hosts[name] for name in sorted(self._hosts)]

    @locked
    def drain_host(self, name: str, *, by: str) -> HostRow:
        if name not in self._hosts:
            raise rules.no_host(name, self._hosts)
        self._hosts[name] = settled(replace(self._hosts[name], drained_by=by))
        return self._hosts[name]

    def ledger_id(self) -> str:
        return self._ledger_id

    # -- the service --------------------------------------------------------------------------------
    @locked
    def receipt(self, key: str) -> Receipt | None:
        return self._receipts.get(key)

    @locked
    def add_token(self, token: Token) -> None:
        self._tokens[token.name] = settled(rules.added_token(self._tokens.get(token.name), token))

    @locked
    def token(self, digest: str) -> Token | None:
        return next((t for t in self._tokens.values() if t.digest == digest), None)

    @locked
    def tokens(self) -> list[Token]:
        return [self._tokens[name] for name in sorted(self._tokens)]

    @locked
    def revoke_token(self, name: str, *, at: float) -> Token:
        if name not in self._tokens:
            raise rules.no_token(name)
        self._tokens[name] = rules.revoked_token(self._tokens[name], at)
        return self._tokens[name]

    @locked
    def add_session(self, session: Session) -> None:
        self._sessions = {d: s for d, s in self._sessions.items() if s.valid(session.created_at)}
        self._sessions[session.digest] = settled(session)

    @locked
    def session(self, digest: str) -> Session | None:
        return self._sessions.get(digest)

    @locked
    def end_session(self, digest: str) -> None:
        self._sessions.pop(digest, None)

    @locked
    def audit(self, line: AuditLine) -> None:
        self._audit.append(settled(line))

    @locked
    def audited(self, *, limit: int = 100) -> list[AuditLine]:
        return sorted(self._audit, key=lambda line: -line.at)[:limit]

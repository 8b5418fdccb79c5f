"""What does the service keep in a database? Receipts, tokens, browsers' sessions, hosts, and who asked for
what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Executable, delete, insert, select

from orchestrator.ledger import rules
from orchestrator.ledger import sql_rows as rows
from orchestrator.ledger.codec import Row
from orchestrator.ledger.records import AuditLine, HostRow, Receipt, Session, Token
from orchestrator.ledger.sql_statements import Hot
from orchestrator.ledger.sql_tables import Tables, columns, record


class SqlDesk(ABC):
    """That part of a ledger which no study needs. No leadership is needed to write it."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]: ...

    def _all(self, kind: type[Row], query: Executable, **wanted: Any) -> list[Row]:
        with self._reading() as c:
            return [record(kind, row) for row in c.execute(query, wanted).mappings()]

    def _first(self, kind: type[Row], query: Executable, **wanted: Any) -> Row | None:
        with self._reading() as c:
            found = c.execute(query, wanted).mappings().first()
            return None if found is None else record(kind, found)

    def hosts(self) -> list[HostRow]:
        return self._all(HostRow, select(Tables.hosts).order_by(Tables.hosts.c.name))

    def drain_host(self, name: str, *, by: str) -> HostRow:
        with self._writing() as c:
            return rows.drained_host(c, name, by)

    def ledger_id(self) -> str:
        with self._writing() as c:
            return rows.ledger_id(c)

    def receipt(self, key: str) -> Receipt | None:
        return self._first(Receipt, Hot.receipt, key=key)

    def add_token(self, token: Token) -> None:
        with self._writing() as c:
            rows.put_token(c, rules.added_token(rows.find_token(c, token.name), token))

    def token(self, digest: str) -> Token | None:
        return self._first(Token, Hot.token, digest=digest)

    def tokens(self) -> list[Token]:
        return sorted(self._all(Token, select(Tables.tokens)), key=lambda token: token.name)

    def revoke_token(self, name: str, *, at: float) -> Token:
        with self._writing() as c:
            token = rows.find_token(c, name)
            if token is None:
                raise rules.no_token(name)
            return rows.put_token(c, rules.revoked_token(token, at))

    def add_session(self, session: Session) -> None:
        with self._writing() as c:
            rows.add_session(c, session)

    def session(self, digest: str) -> Session | None:
        return self._first(Session, Hot.session, digest=digest)

    def end_session(self, digest: str) -> None:
        with self._writing() as c:
            c.execute(delete(Tables.sessions).where(Tables.sessions.c.digest == digest))

    def audit(self, line: AuditLine) -> None:
        with self._writing() as c:
            c.execute(insert(Tables.audit).values(columns(line)))

    def audited(self, *, limit: int = 100) -> list[AuditLine]:
        a = Tables.audit
        return self._all(AuditLine, select(a).order_by(a.c.at.desc()).limit(limit))

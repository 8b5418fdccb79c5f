"""Which requests leave a line in the audit log, and under whose name? Every write, refused ones too."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from orchestrator.api.auth import SAFE, name_of
from orchestrator.api.deps import Parts
from orchestrator.api.middleware import Buckets
from orchestrator.api.peers import client_of
from orchestrator.ground.errors import OrchError
from orchestrator.ledger.records import AuditLine

LOG = logging.getLogger("orchestrator.api")
MOST_PATH = 300  # characters of a path that a line keeps
MOST_VERB = 20
# Anybody can be refused, as often as the rate allows: strangers' lines must not fill the disk.
STRANGERS_PER_S, STRANGERS_BURST_S = 1.0, 300.0


class Audit:
    """Writes the lines of one process. Strangers' beyond their share are counted in a line of their own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._share = Buckets(STRANGERS_PER_S, now=parts.clock.monotonic, burst_s=STRANGERS_BURST_S)
        self._untold = 0

    async def tell(self, scope: Mapping[str, Any], status: int, *, looked_at: bool) -> None:
        """Before they hear the answer. `looked_at`: not refused for its rate or its size alone, when to find
        out whose request it is would be work that the refusal is there to spare."""
        state = scope["state"]
        if scope["method"] in SAFE and not state.get("audited"):
            return
        who = state.get("who")
        if who is None and status < 400:
            return  # nobody asks for a change without a name
        if state.get("ledger_away"):
            what = f"{scope['method'][:MOST_VERB]} {scope['path'][:MOST_PATH]} {status}"
            LOG.warning("Not in the audit log, since the ledger is away: %s by %s", what, who or "unknown")
            return
        if who is None and looked_at:
            who = await run_in_threadpool(name_of, Request(dict(scope)))
        if who is None:
            if self._share.wait_s(""):
                self._untold += 1
                return
            who = f"unknown at {client_of(scope, self._parts.settings.proxies) or 'no address'}"
        await self._write(who, scope["method"][:MOST_VERB], scope["path"][:MOST_PATH], status)
        await self.tell_untold()

    async def tell_untold(self) -> None:
        """How many lines strangers would have had since the last one."""
        untold, self._untold = self._untold, 0
        if untold:
            await self._write("unknown", "", f"{untold} more refused writes, each not written down", 0)

    async def _write(self, who: str, verb: str, path: str, status: int) -> None:
        line = AuditLine(at=self._parts.clock.time(), who=who, verb=verb, path=path, status=status)
        try:
            await run_in_threadpool(self._parts.store.audit, line)
        except OrchError as problem:
            LOG.warning("An audit line was not written (%s): %s", problem, line)

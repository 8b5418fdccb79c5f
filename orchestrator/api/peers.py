"""Who asks, by address? The peer of the connection, or whoever a proxy of the settings asks for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.ground.settings import Network

Proxies = tuple[Network, ...]

_WITH_PORT = re.compile(r"\[(?P<six>[^\]]*)\](:\d+)?|(?P<four>[\d.]+):\d+")  # as some load balancers write


def client_of(scope: Mapping[str, Any], proxies: Proxies) -> str:
    """The address that a request counts for.

    Anybody can write an X-Forwarded-For. It is read from its end, as far as proxies that are named have
    written it: the first address that is none of them is the client's.
    """
    client = _address(scope["client"][0]) if scope.get("client") else ""
    if not _named(client, proxies):
        return client
    for said in reversed(_said(scope, b"x-forwarded-for").split(",")):
        found = _address(said)
        if not found:
            break
        client = found
        if not _named(client, proxies):
            break
    return client


def is_https(scope: Mapping[str, Any], proxies: Proxies) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy that is named."""
    if scope.get("scheme") == "https":
        return True
    peer = _address(scope["client"][0]) if scope.get("client") else ""
    return _named(peer, proxies) and _said(scope, b"x-forwarded-proto").strip().lower() == "https"


def _said(scope: Mapping[str, Any], header: bytes) -> str:
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == header)


def _address(text: str) -> str:
    """In one spelling; "" for what is no address."""
    text = text.strip()
    ported = _WITH_PORT.fullmatch(text)
    if ported is not None:
        text = ported["six"] or ported["four"] or ""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _named(address: str, proxies: Proxies) -> bool:
    return bool(address) and any(ipaddress.ip_address(address) in network for network in proxies)

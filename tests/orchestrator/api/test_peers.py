"""Which address does a request count for? The peer's, or whom a named proxy asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api.peers import client_of
from orchestrator.ground.errors import BadSpec
from orchestrator.ground.settings import from_environment
from tests.orchestrator.api.conftest import Make

LIVE = "/api/v1/health/live"


def proxies(given: str) -> Any:
    return from_environment({"ORCH_HOME": "data", "ORCH_PROXIES": given}).proxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "named", "client"),
    [
        ("10.0.0.1", ["1.2.3.4"], "", "10.0.0.1"),
        ("127.0.0.1", ["1.2.3.4"], "", "127.0.0.1"),  # the loopback is no proxy unless it is named
        ("127.0.0.1", ["1.2.3.4"], "127.0.0.1", "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "10.0.0.0/8", "1.2.3.4"),  # what the client wrote itself
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "10.0.0.0/8", "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4, 10.0.0.2"], "10.0.0.0/8", "1.2.3.4"),  # two proxies, one after the other
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.0/8", "10.0.0.3"),
        ("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:5678"], "10.0.0.1", "1.2.3.4"),
        ("10.0.0.1", ["[2001:DB8::1]:443"], "10.0.0.1", "2001:db8::1"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "10.0.0.1", "1.2.3.4"),
        ("fd00::1", ["::ffff:1.2.3.4"], "fd00::/8", "1.2.3.4"),
    ],
)
def test_a_forwarded_address_counts_only_where_a_named_proxy_wrote_it(
    peer: str, forwarded: list[str], named: str, client: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert client_of({"client": (peer, 1), "headers": headers}, proxies(named)) == client


def test_a_connection_without_an_address_has_none() -> None:
    assert client_of({"client": None, "headers": []}, proxies("10.0.0.1")) == ""


def test_rates_go_by_the_peer_whatever_it_says_of_itself(make: Make) -> None:
    service = make(requests_per_s=1)
    statuses = [service.ask("GET", LIVE, x_forwarded_for=f"1.2.3.{i}").status for i in range(6)]
    assert statuses == [200] * 5 + [429]


def test_rates_go_by_the_client_behind_a_named_proxy(make: Make) -> None:
    service = make(requests_per_s=1, proxies=proxies("10.0.0.1"))
    proxy = replace(service.ask, client="10.0.0.1")
    for i in range(3):
        statuses = [proxy("GET", LIVE, x_forwarded_for=f"6.6.6.{n}, 1.2.3.{i}").status for n in range(6)]
        assert statuses == [200] * 5 + [429]
    stranger = replace(service.ask, client="10.0.0.2")
    statuses = [stranger("GET", LIVE, x_forwarded_for=f"1.2.4.{i}").status for i in range(6)]
    assert statuses == [200] * 5 + [429]


def test_names_of_proxies_that_are_no_addresses_are_refused_one_by_one() -> None:
    assert [str(n) for n in proxies(" 127.0.0.1, 10.1.2.3/8,,fd00::/8 ")] == [
        "127.0.0.1/32",
        "10.0.0.0/8",
        "fd00::/8",
    ]
    with pytest.raises(BadSpec) as refused:
        proxies("caddy,127.0.0.1,10.0.0.0/99")
    allowed = "Allowed: addresses and networks, separated by commas, such as 127.0.0.1,10.0.0.0/8."
    assert refused.value.problems == [
        f"ORCH_PROXIES names 'caddy', which is no IP address and no network. {allowed}",
        f"ORCH_PROXIES names '10.0.0.0/99', which is no IP address and no network. {allowed}",
    ]

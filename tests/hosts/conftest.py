"""One network for all tests, and two machines for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster
from tests.hosts.machines import Network, lacking, network


@pytest.fixture(scope="session")
def net() -> Iterator[Network]:
    if why := lacking():
        pytest.skip(why)
    with network() as made:
        yield made


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled once for all tests."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def cluster(net: Network, tmp_path: Path, programs: Path) -> Iterator[Cluster]:
    made = Cluster(net, tmp_path, f"{len(net.machines)}", programs=programs)
    yield made
    made.close()

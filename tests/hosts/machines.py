"""A machine of its own, as far as its processes can tell: address, name, ids, mounts. Files are shared."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WITHIN_S = 240.0
TOOLS = ("ip", "unshare", "nsenter", "mount")


def lacking() -> str:
    """Why there can be none here; "" where there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "hosts on one machine need root on Linux"
    for tool in TOOLS:
        if subprocess.run(["which", tool], capture_output=True, check=False).returncode:
            return f"hosts on one machine need `{tool}`"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"namespaces cannot be made here: {tried.stderr.decode().strip()}"


def until(done: Callable[[], Any], *, within_s: float = WITHIN_S, every_s: float = 0.2) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        threading.Event().wait(every_s)
    return found


def _sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Network:
    """A bridge, and the machines on it."""

    def __init__(self) -> None:
        self.word = uuid.uuid4().hex[:6]
        self.bridge = f"orch{self.word}"
        self._block = f"10.{100 + os.getpid() % 100}.{int(self.word[:2], 16)}"
        self.machines: list[Machine] = []
        _sh("ip", "link", "add", self.bridge, "type", "bridge")
        _sh("ip", "addr", "add", f"{self._block}.1/24", "dev", self.bridge)
        _sh("ip", "link", "set", self.bridge, "up")

    def machine(self, name: str) -> Machine:
        made = Machine(self, name, f"{self._block}.{len(self.machines) + 2}", f"{self._block}.1")
        self.machines.append(made)
        return made

    def close(self) -> None:
        for each in self.machines:
            each.end()
        with contextlib.suppress(subprocess.CalledProcessError):
            _sh("ip", "link", "del", self.bridge)


class Machine:
    def __init__(self, network: Network, name: str, address: str, gateway: str) -> None:
        self.name, self.address = name, address
        self._link = f"v{network.word}{len(network.machines)}"
        self._init = subprocess.Popen(
            [
                *("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", f"hostname {name}; echo up; exec sleep infinity"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._init.stdout is not None
        with self._init.stdout as said:
            assert said.readline() == "up\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._pid = int(children[0])
        self._names_itself(name, address)
        inner = f"{self._link}i"
        _sh("ip", "link", "add", self._link, "type", "veth", "peer", "name", inner)
        _sh("ip", "link", "set", inner, "netns", str(self._pid))
        _sh("ip", "link", "set", self._link, "master", network.bridge, "up")
        for words in (
            f"ip link set lo up; ip link set {inner} name eth0; ip link set eth0 up",
            f"ip addr add {address}/24 dev eth0; ip route add default via {gateway}",
        ):
            self.sh(words)

    def _names_itself(self, name: str, address: str) -> None:
        """Its own name has its address, as on any machine: collectives on CPUs ask for it."""
        with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
            hosts.write(f"127.0.0.1 localhost\n{address} {name}\n")
            hosts.flush()
            self.sh(f"mount --bind {hosts.name} /etc/hosts")

    # -- what runs there ---------------------------------------------------------------------------------
    def _inside(self, *words: str) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "--net", "--uts", "--mount", "--pid", *words]

    def sh(self, script: str) -> str:
        return _sh(*self._inside("sh", "-ec", script))

    def start(self, *words: str, env: Mapping[str, str], **more: Any) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCH_", "RAY_"))}
        return subprocess.Popen(
            self._inside(*words), env={**kept, **env}, text=True, cwd=ROOT, start_new_session=True, **more
        )

    def run(self, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        begun = self.start(*words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = begun.communicate(timeout=WITHIN_S)
        return subprocess.CompletedProcess(words, begun.returncode, out, err)

    def orch(self, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "orchestrator.cli", *words, env=env)

    def pids(self, title: str) -> list[int]:
        """Its processes whose titles begin so, by the ids that this machine's kernel knows them by."""
        here = os.stat(f"/proc/{self._pid}/ns/pid").st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    same = os.stat(entry / "ns/pid").st_ino == here
                    if same and Path(
                        (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
                    ).name.startswith(title):
                        found.append(int(entry.name))
        return found

    # -- what befalls it ---------------------------------------------------------------------------------
    def cut(self) -> None:
        """Nothing comes in or out any more."""
        _sh("ip", "link", "set", self._link, "down")

    def mend(self) -> None:
        _sh("ip", "link", "set", self._link, "up")

    def end(self) -> None:
        """All its processes at once, as when the power goes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._init.wait(WITHIN_S)
        with contextlib.suppress(subprocess.CalledProcessError):
            _sh("ip", "link", "del", self._link)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.close()

"""Long-running clients across a rotation: all are pods of one instance, whose clock is advanced by a day.

After that all access tokens and the first assertions have expired, the kubelet has written new assertions,
and a client must read its file again. A preloaded library gives the instance and the clients the same time
(`programs/clock.c`). Go gets the time from the kernel, so its program has its own fake clock.
"""

import dataclasses
import json
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients import toolchains
from tests.clients.catalogue import ClientPackage
from tests.clients.program_output import parse_output
from tests.journey.instance import CLIENT, LABEL, SEED, Instance

AHEAD_SECONDS = 25 * 3600
TIMEOUT_SECONDS = 120.0


@dataclasses.dataclass
class RotationResult:
    """The result of one client."""

    phase: str = ""
    printed: str = ""
    first: str = ""
    second: str = ""
    """The assertions that the client got."""


class RotationLab:
    """An instance whose clock can be advanced."""

    def __init__(self, folder: Path) -> None:
        self.instance = Instance(folder / "data")
        self._clock = folder / "ahead"
        self.environ = {"LD_PRELOAD": str(toolchains.clock()), "CLOCK_AHEAD": str(self._clock)}
        self._seed = folder / "seed.yaml"

    def start(self) -> None:
        self._write_clock(0)
        self._seed.write_text(SEED)
        start = ("up", "--detach", "--port-base", "0", "--seed", str(self._seed))
        self.instance.podpass(*start, env=self.environ)
        self.instance.status = json.loads(self.instance.podpass("status", "-o", "json").stdout)
        self.instance.account("web", {"azure.workload.identity/client-id": CLIENT})

    def _write_clock(self, seconds: int) -> None:
        # Written in place, because the readers have mapped the file.
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    def start_client(self, client: ClientPackage, command: list[str]) -> None:
        """Start a client in a pod."""
        container: dict[str, Any] = {"name": "app", "image": "none", "command": command}
        if client.has_libc:
            container["env"] = [{"name": k, "value": v} for k, v in self.environ.items()]
        spec = {
            "serviceAccountName": "web",
            "restartPolicy": "Never",
            "hostNetwork": client.storage,  # it listens on the loopback of the machine
            "containers": [container],
        }
        meta = {"name": client.name, "labels": LABEL}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        self.instance.core.create_namespaced_pod("default", body)

    def has_started(self, client: ClientPackage) -> bool:
        """Return whether the client has printed its first part or has exited."""
        if self.phase(client.name) == "Running":
            return {"version", *client.expected_output} <= parse_output(
                self.log(client.name)
            ).keys()
        return self.has_ended(client.name)

    def has_ended(self, name: str) -> bool:
        return self.phase(name) in ("Succeeded", "Failed")

    def phase(self, name: str) -> str:
        return str(self.instance.core.read_namespaced_pod(name, "default").status.phase)

    def log(self, name: str) -> str:
        return str(self.instance.core.read_namespaced_pod_log(name, "default"))

    def assertion(self, name: str) -> str:
        """Return the projected token of a pod from the kubelet's folder; empty before it exists."""
        uid = self.instance.core.read_namespaced_pod(name, "default").metadata.uid
        volumes = self.instance.data_dir / "pods" / uid / "volumes"
        found = [*volumes.glob("azure-*/token/azure-identity-token")]
        return str(found[0].read_text()) if found else ""

    def granted(self, fingerprint: str) -> list[str]:
        """Return the resources for which the assertion with this fingerprint was accepted."""
        lines = (self.instance.data_dir / "podpass.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"{fingerprint}"' in line]
        return [each["resource"] for each in found if each.get("outcome") == "granted"]

    def advance_one_day(self, names: list[str]) -> None:
        """Advance the clock, and annotate each pod so that the kubelet syncs it at once."""
        self._write_clock(AHEAD_SECONDS)
        for name in names:
            body = {"metadata": {"annotations": {"clients/day": "next"}}}
            self.instance.core.patch_namespaced_pod(name, "default", body)

    def wait(self, ready: Callable[[Any], bool], each: Iterable[Any]) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        waiting = [*each]
        while waiting and time.monotonic() < deadline:
            time.sleep(0.2)
            waiting = [one for one in waiting if not ready(one)]


@contextmanager
def run_lab(folder: Path) -> Iterator[RotationLab]:
    """Run an instance whose clock can be advanced."""
    made = RotationLab(folder)
    try:
        made.start()
        yield made
    finally:
        made.instance.podpass("down")

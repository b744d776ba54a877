"""Long-lived clients across a rotation: all are pods of one instance, whose time is then put on by a day.

By then every access token is over, the first assertions are, the runtime has written new ones, and no client
may trust what it remembers of its file. Instance and clients agree on the time: a library preloaded before
the C one tells it to both (`programs/clock.c`). Go, which asks the kernel, brings a fake clock of its own.
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
from tests.clients.answers import members
from tests.clients.catalogue import Client
from tests.journey.instance import CLIENT, LABEL, SEED, Instance

AHEAD_SECONDS = 25 * 3600
PATIENCE_SECONDS = 120.0


@dataclasses.dataclass
class Seen:
    """What came of one client."""

    phase: str = ""
    printed: str = ""
    first: str = ""
    second: str = ""
    """The assertions that it was given."""


class Lab:
    """An instance with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.instance = Instance(folder / "data")
        self._clock = folder / "ahead"
        self.environ = {"LD_PRELOAD": str(toolchains.clock()), "CLOCK_AHEAD": str(self._clock)}
        self._seed = folder / "seed.yaml"

    def start(self) -> None:
        self._put_clock(0)
        self._seed.write_text(SEED)
        start = ("up", "--detach", "--port-base", "0", "--seed", str(self._seed))
        self.instance.podpass(*start, env=self.environ)
        self.instance.status = json.loads(self.instance.podpass("status", "-o", "json").stdout)
        self.instance.account("web", {"azure.workload.identity/client-id": CLIENT})

    def _put_clock(self, seconds: int) -> None:
        # In place: the file is mapped by those who read it.
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    def begin(self, client: Client, command: list[str]) -> None:
        """Start a client as a pod."""
        container: dict[str, Any] = {"name": "app", "image": "none", "command": command}
        if client.has_libc:
            container["env"] = [{"name": k, "value": v} for k, v in self.environ.items()]
        spec = {"serviceAccountName": "web", "restartPolicy": "Never", "containers": [container]}
        meta = {"name": client.name, "labels": LABEL}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        self.instance.core.create_namespaced_pod("default", body)

    def has_begun(self, client: Client) -> bool:
        """Tell whether the client has said all that it says before it waits, or has ended."""
        if self.phase(client.name) == "Running":
            return {"version", *client.says} <= members(self.log(client.name)).keys()
        return self.has_ended(client.name)

    def has_ended(self, name: str) -> bool:
        return self.phase(name) in ("Succeeded", "Failed")

    def phase(self, name: str) -> str:
        return str(self.instance.core.read_namespaced_pod(name, "default").status.phase)

    def log(self, name: str) -> str:
        return str(self.instance.core.read_namespaced_pod_log(name, "default"))

    def assertion(self, name: str) -> str:
        """Read the projected token of a pod where the runtime keeps it; empty before it is there."""
        uid = self.instance.core.read_namespaced_pod(name, "default").metadata.uid
        volumes = self.instance.data_dir / "pods" / uid / "volumes"
        found = [*volumes.glob("azure-*/token/azure-identity-token")]
        return str(found[0].read_text()) if found else ""

    def granted(self, fingerprint: str) -> list[str]:
        """Give the resources for which the assertion of this fingerprint was accepted."""
        lines = (self.instance.data_dir / "podpass.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if f'"{fingerprint}"' in line]
        return [each["resource"] for each in found if each.get("outcome") == "granted"]

    def a_day_passes(self, names: list[str]) -> None:
        """Put the clock on; a word about each pod wakes the runtime, which else looks twice a minute."""
        self._put_clock(AHEAD_SECONDS)
        for name in names:
            body = {"metadata": {"annotations": {"clients/day": "next"}}}
            self.instance.core.patch_namespaced_pod(name, "default", body)

    def wait(self, ready: Callable[[Any], bool], each: Iterable[Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = [*each]
        while waiting and time.monotonic() < deadline:
            time.sleep(0.2)
            waiting = [one for one in waiting if not ready(one)]


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """Run an instance whose clock can be put on."""
    made = Lab(folder)
    try:
        made.start()
        yield made
    finally:
        made.instance.podpass("down")

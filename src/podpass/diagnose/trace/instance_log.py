"""Read the hops of an instance: its log and the logs of the migration sidecars in its pods, by time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from podpass.diagnose.trace.assignment import AssignedHop, HopAssigner
from podpass.diagnose.trace.hop import Hop
from podpass.diagnose.trace.reader import START, LogPosition, read_hops
from podpass.names import PROXY_CONTAINER

_SIDECAR_STAGE = "imds"


class InstanceLog:
    """The hops of an instance, read in steps; each step continues after the one before.

    `pods` is the folder in which the kubelet stores the logs of containers, by the uid of the pod.
    """

    def __init__(self, log: Path, pods: Path, position: LogPosition = START) -> None:
        self._log, self._pods = log, pods
        self._position = position
        self._sidecar_positions: dict[Path, LogPosition] = {}
        self._waiting: list[Hop] = []
        self._assigner = HopAssigner()
        self.is_end = False

    def read(self) -> list[AssignedHop]:
        """Read the next hops; `is_end` is then whether the logs have no further line now."""
        batch = read_hops(self._log, self._position)
        self._position, hops = batch.position, [*batch.hops]
        if not self._waiting:
            self._waiting = sorted(self._read_sidecars(), key=lambda hop: hop.time)
        # A sidecar's log is read ahead of the log of the instance, whose lines name the pods.
        last = hops[-1].time if hops else ""
        ready = [hop for hop in self._waiting if batch.is_end or hop.time <= last]
        self._waiting = self._waiting[len(ready) :]
        self.is_end = batch.is_end and not ready
        if ready:
            hops = sorted([*hops, *ready], key=lambda hop: hop.time)
        return [*self._assigner.assign_all(hops)]

    def read_all(self) -> Iterator[AssignedHop]:
        """Read all hops that the logs have now."""
        while True:
            yield from self.read()
            if self.is_end:
                return

    def _read_sidecars(self) -> Iterator[Hop]:
        found = [*self._pods.glob(f"*/logs/{PROXY_CONTAINER}/*.log")]
        known = self._sidecar_positions
        self._sidecar_positions = {log: known.get(log, START) for log in found}
        for log, position in self._sidecar_positions.items():
            batch = read_hops(log, position)
            self._sidecar_positions[log] = batch.position
            uid = log.parents[2].name
            for hop in batch.hops:
                # A pod names its containers, so it can write any line: it speaks for its own sidecar only.
                if hop.stage == _SIDECAR_STAGE:
                    yield replace(hop, facts={**hop.facts, "uid": uid})

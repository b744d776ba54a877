"""Run one pod until it is deleted: apply the decisions of `lifecycle`, and report the status."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kubeling.api import ApiError
from kubeling.asgi import Receive, Scope, Send
from kubeling.event_recorder import WARNING, object_reference
from kubeling.kubelet import lifecycle, status
from kubeling.kubelet.containers import PodContainers
from kubeling.kubelet.context import KubeletContext
from kubeling.kubelet.lifecycle import Decision
from kubeling.kubelet.pod_network import PodNetwork, needs_own_network
from kubeling.kubelet.port_conflict import declared_ports
from kubeling.kubelet.prepared_container import pod_folder, write_hosts
from kubeling.kubelet.status_manager import StatusManager
from kubeling.kubelet.volume_manager import VolumeManager
from kubeling.kubelet.volume_sources import VolumeError
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]

NETWORK_UNAVAILABLE = "PodNetworkUnavailable"
TERMINAL_PHASES = ("Succeeded", "Failed")
_MAX_SLEEP_SECONDS = 30.0  # the wall clock may jump, for example after a laptop was suspended
_RETRY_SECONDS = 2.0
_MIN_REFRESH_SECONDS = 5.0
# The usual name of the handler that runs containers without a sandbox of its own.
_HANDLER = "runc"


class PodWorker:
    """Runs one pod; `run` ends after the pod was deleted."""

    def __init__(self, context: KubeletContext, pod: Pod) -> None:
        self._context = context = context.for_pod(pod)
        self.pod = pod
        self._folder = pod_folder(context, pod)
        self._plan = lifecycle.read_plan(pod["spec"])
        self._wake = asyncio.Event()
        self.containers = PodContainers(context, pod, self._plan, self._wake.set)
        self._volumes = VolumeManager(
            context.client,
            pod,
            self._folder / "volumes",
            context.folder.with_name(f"{context.folder.name}-claims"),
            context.node,
            context.clock,
        )
        self._status_manager = StatusManager(context, pod, self.on_deleted)
        self._last_status: dict[str, Any] = {}
        self._mounted = self._finished = self._deadline_exceeded = False
        self._deleted = self._stopping = False
        self._compared_version: str | None = None
        self._mount_attempts = self._refreshes = 0
        self._network: PodNetwork | None = None
        self._retry_at = self._refresh_at = 0.0

    def declares_host_port(self, address: str, port: int) -> bool:
        """Return whether the pod is in the network of the machine, and declares a port at its address.

        Programs of the machine may listen on the other ports of the address.
        """
        spec = self.pod["spec"]
        if not spec.get("hostNetwork") or address != self._context.node.pod_address:
            return False
        containers = (*(spec.get("initContainers") or []), *spec["containers"])
        return any(port in declared_ports(each) for each in containers)

    def update(self, pod: Pod) -> None:
        """Use a newer version of the pod."""
        if "deletionTimestamp" in pod["metadata"]:
            self.containers.forbid_start()
        before, after = self.pod["metadata"], pod["metadata"]
        if any(before.get(name) != after.get(name) for name in ("labels", "annotations")):
            self._refresh_at = 0.0
        self.pod = self.containers.pod = pod
        self._wake.set()

    def on_deleted(self) -> None:
        """Kill the containers and end the worker: the pod object no longer exists."""
        self._deleted = True
        self.containers.forbid_start()
        self._wake.set()

    def update_hosts(self) -> None:
        """Write /etc/hosts of the pod again, if a container has it."""
        if (self._folder / "etc" / "hosts").exists():
            write_hosts(self._context, self.pod)

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port of the pod. Raises OSError."""
        node = self._context.node
        connect = self._network.connect if self._network else asyncio.open_connection
        try:
            return await connect(node.pod_address, port)
        except ConnectionRefusedError:
            # In a real pod, a program may listen on the loopback address alone.
            return await connect("127.0.0.1" if self._network else "localhost", port)

    async def forward(self, call: tuple[Scope, Receive, Send], scheme: str, port: int) -> None:
        """Send an HTTP request on to a port of the pod. Raises OSError."""
        from kubeling.kubelet import pod_proxy

        origin = f"{scheme}://{self._context.node.pod_address}:{port}"
        await pod_proxy.forward(call, origin, self._network)

    async def stop(self, seconds: float) -> None:
        """Stop all containers because the kubelet stops; the pod object is not deleted."""
        self._stopping = True
        self.containers.forbid_start()
        await self.containers.interrupt_all(seconds)

    async def run(self) -> None:
        """Run the pod until it is deleted."""
        reporting = asyncio.create_task(self._status_manager.run())
        try:
            while not self._deleted:
                self._wake.clear()
                wake_at = await self._try_sync()
                await self._sleep_until(wake_at)
            await self.containers.stop_all(0)
            shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            await cancel_all([reporting])
            if self._network is not None:
                self._context.pod_networks.pop(self._context.node.pod_address, None)
                await self._network.close()

    async def _try_sync(self) -> float | None:
        try:
            return await self._sync()
        except Exception:  # noqa: BLE001 logged with its traceback, and retried
            # A bug that one pod triggers must stop neither other pods nor this pod.
            _log.exception("pod_sync_failed", extra=self._facts())
            return self._context.clock() + _RETRY_SECONDS

    async def _sync(self) -> float | None:
        """Start and stop containers, and report the status; return when to sync again."""
        now = self._context.clock()
        if self._stopping:
            return None
        phase = (self.pod.get("status") or {}).get("phase")
        if phase in TERMINAL_PHASES and not self.containers.running_count:
            self._finish_deletion()
            return None
        if not self._mounted and not self._must_stop(now) and not await self._mount(now):
            self._report(Decision())
            return self._retry_at
        # Check after the mount, which waits for other pods: the pod may have been deleted in that time.
        stopping = self._must_stop(now)
        decision = lifecycle.decide(
            self._plan, self.containers.records, now, self._context.back_off, stopping=stopping
        )
        self._finished = decision.finished
        for name in decision.stop:
            self.containers.stop(name, self.containers.grace_seconds())
        for name in decision.start:
            await self.containers.start(name, self._volumes.paths)
        self._report(decision)
        if decision.finished:
            self._finish_deletion()
        if decision.start:
            return now
        return min(self._due_times(decision, now), default=None)

    def _due_times(self, decision: Decision, now: float) -> list[float]:
        """Return the times at which the pod must be synced again."""
        times = [] if decision.wake_at is None else [decision.wake_at]
        deadline = self._deadline()
        if deadline is not None and deadline > now:
            times.append(deadline)
        if self._mounted and not decision.finished:
            times.append(self._refresh_at)
        return times

    async def _sleep_until(self, at: float | None) -> None:
        """Sleep until a change or the given time; refresh the volumes if that is due."""
        now = self._context.clock()
        seconds = _MAX_SLEEP_SECONDS if at is None else min(max(0.0, at - now), _MAX_SLEEP_SECONDS)
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: in Python 3.11 it loses a cancellation that arrives together with the event.
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        # Also during the backoff of a container: it must not restart with an expired token.
        if self._mounted and not self._finished and self._context.clock() >= self._refresh_at:
            await self._volumes.refresh(self.pod)
            self._schedule_refresh()

    def _schedule_refresh(self) -> None:
        # The first updates are after 5, 15 and 35 seconds: soon after its start, a controller writes its
        # certificates into a Secret and waits for the mounted files.
        interval = min(self._context.refresh_seconds, _MIN_REFRESH_SECONDS * 2**self._refreshes)
        self._refreshes = min(self._refreshes + 1, 10)
        now = self._context.clock()
        due = [now + interval]
        if self._volumes.renew_at is not None:
            due.append(self._volumes.renew_at)
        # A failed renewal is due at once; it must not be retried in a tight loop.
        self._refresh_at = max(min(due), now + min(_MIN_REFRESH_SECONDS, interval))

    def _must_stop(self, now: float) -> bool:
        """Return whether the pod is being deleted or has exceeded its deadline."""
        deadline = self._deadline()
        if deadline is not None and now >= deadline and not self._deadline_exceeded:
            self._deadline_exceeded = True
            self._event(WARNING, status.DEADLINE_REASON, status.DEADLINE_MESSAGE)
        is_deleted = self._deleted or "deletionTimestamp" in self.pod["metadata"]
        return self._deadline_exceeded or is_deleted

    def _deadline(self) -> float | None:
        """Return the time at which `activeDeadlineSeconds` ends, in epoch seconds."""
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        since = (self.pod.get("status") or {}).get("startTime")
        since = since or self._last_status.get("startTime")
        if seconds is None or since is None:
            return None
        return datetime.fromisoformat(since).timestamp() + float(seconds)

    def _finish_deletion(self) -> None:
        if "deletionTimestamp" in self.pod["metadata"]:
            self._status_manager.delete_pod()

    async def _mount(self, now: float) -> bool:
        """Set up the volumes; return whether that succeeded."""
        if now < self._retry_at:
            return False
        try:
            async with self._context.concurrency:
                if self._must_stop(now):
                    return True
                await self._volumes.set_up(self.pod)
                await self._check_runtime()
                await self._create_network()
        except VolumeError as exc:
            return self._retry_mount(now, "FailedMount", exc.message)
        except (ApiError, OSError) as exc:
            message = f"Failed to create pod sandbox: {exc}"
            return self._retry_mount(now, "FailedCreatePodSandBox", message)
        self._mounted = True
        self._schedule_refresh()
        return True

    def _retry_mount(self, now: float, reason: str, message: str) -> bool:
        self._event(WARNING, reason, message)
        self._retry_at = now + min(0.5 * 2**self._mount_attempts, 30.0)
        self._mount_attempts = min(self._mount_attempts + 1, 10)
        return False

    async def _check_runtime(self) -> None:
        """Check that the node has the handler of the pod's RuntimeClass. Raises OSError, ApiError."""
        if name := self.pod["spec"].get("runtimeClassName"):
            path = f"/apis/node.k8s.io/v1/runtimeclasses/{name}"
            handler = (await self._context.client.get(path))["handler"]
            if handler != _HANDLER:
                raise OSError(f'no runtime for "{handler}" is configured')

    async def _create_network(self) -> None:
        context = self._context
        if context.network_problem and not self.pod["spec"].get("hostNetwork"):
            self._event(WARNING, NETWORK_UNAVAILABLE, context.network_problem)
        if self._network is not None or not context.has_own_network(self.pod):
            return
        assert context.node_network is not None
        self._network = await PodNetwork.open(
            context.network, context.node_network, self.pod, context.node.pod_address
        )
        self.containers.network = self._network
        context.pod_networks[context.node.pod_address] = self._network
        if context.service_network is not None:
            await context.service_network.expose_pod(context.node.pod_address)
        if needs_own_network(self.pod):
            self.containers.initialize_again()

    def _report(self, decision: Decision) -> None:
        """Send the status if it differs from the last one, or if another client overwrote it."""
        view = status.StatusInput(
            plan=self._plan,
            records=self.containers.records,
            backing_off=decision.backing_off,
            address=self._context.node.address,
            pod_address=self._context.node.pod_address,
            now=self._context.clock(),
            mounted=self._mounted,
            finished=decision.finished,
            deadline_exceeded=self._deadline_exceeded,
        )
        before = status.merge_status(self.pod.get("status") or {}, self._last_status)
        pod = {**self.pod, "status": before}
        for name in status.unreported_containers(pod):
            self._event(WARNING, status.EPHEMERAL_REASON, status.ephemeral_event_message(name))
        new = status.build_status(pod, view)
        if new != self._last_status or self._is_overwritten():
            self._last_status = new
            self._status_manager.set_status(new)

    def _is_overwritten(self) -> bool:
        """Return whether the pod in the cluster has other conditions than the last status.

        Each version of the pod is compared once. The node controller sets the pods of a silent node to not
        ready, and does not set them to ready again.
        """
        version = self.pod["metadata"].get("resourceVersion")
        if version == self._compared_version:
            return False
        self._compared_version = version
        return status.is_overwritten(self._last_status, self.pod.get("status") or {})

    def _event(self, type_: str, reason: str, message: str) -> None:
        self._context.recorder.record(object_reference(self.pod), type_, reason, message)

    def _facts(self) -> dict[str, str]:
        meta = self.pod["metadata"]
        return {"pod": meta["name"], "namespace": meta["namespace"]}

"""The harness of an instance for tests: baseline and reset, faults, clock and keys, and its control API."""

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from podpass import files
from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.errors import UsageError
from podpass.http.server import BodyTooLarge, Receive, read_body
from podpass.lab.data import ca
from podpass.lab.data.datadir import DataDir
from podpass.lab.instance.faults import FaultInjector
from podpass.lab.instance.tables import KEY_TABLES, Tables, read_tables, restore_tables

if TYPE_CHECKING:
    from kubeling.apiserver.storage.storage import ObjectStore, Snapshot

    from podpass.assertion.keys import KeyRing
    from podpass.lab.cluster.managed_cluster import ManagedCluster
    from podpass.lab.instance.cloud_parts import CloudHalf
    from podpass.lab.instance.cluster_parts import ApiServer
    from podpass.lab.instance.control import Handler
    from podpass.lab.issuers.registry import IssuerRegistry

_log = logging.getLogger(__name__)

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_MAX_BYTES = 256 * 1024
_MAX_OFFSET = 10 * 365 * 86400


class MovableClock:
    """The system's clock plus an offset, in seconds."""

    def __init__(self, base: Clock = system) -> None:
        self._base = base
        self.offset = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return self._base() + self.offset


class Harness:
    """What an instance for tests has before its parts start: a clock that can be moved, and faults.

    Each process that uses the instance holds a shared lock on `lock_file`; without it, the instance runs
    until it is stopped.
    """

    def __init__(self, lock_file: Path | None) -> None:
        self._lock_file = lock_file
        self.clock = MovableClock()
        self.faults = FaultInjector(self.clock)

    async def attach(
        self,
        cloud: "CloudHalf",
        ring: "KeyRing",
        api_server: "ApiServer",
        managed: "ManagedCluster",
    ) -> "HarnessApi":
        """Return the API of the harness for the started parts; their present state is its baseline."""
        baseline = await _read_baseline(cloud, api_server.store)
        return HarnessApi(self, cloud, ring, api_server.store, managed, baseline)

    def watch_users(self, stop: Callable[[], None]) -> None:
        """Call `stop` in the event loop when no process holds the lock any more."""
        if self._lock_file is None:
            return
        loop, lock_file = asyncio.get_running_loop(), self._lock_file

        def wait() -> None:
            with contextlib.suppress(OSError, RuntimeError):  # the loop may be closed
                descriptor = os.open(lock_file, os.O_RDWR)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                loop.call_soon_threadsafe(stop)

        threading.Thread(target=wait, name="harness-users", daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The state to which tests reset an instance; a real control plane has no `objects`."""

    tables: Tables
    objects: "Snapshot | None"
    files: Mapping[Path, bytes]
    issuers: "IssuerRegistry"


async def _read_baseline(cloud: "CloudHalf", store: "ObjectStore | None") -> Baseline:
    from podpass.lab.issuers.registry import IssuerRegistry

    issuers = IssuerRegistry(None)
    issuers.replace(cloud.issuers)
    return Baseline(
        tables=await cloud.database.read(read_tables),
        objects=None if store is None else store.snapshot(),
        files=_read_files(cloud.context.data_dir),
        issuers=issuers,
    )


def _read_files(data_dir: DataDir) -> dict[Path, bytes]:
    """Return the files of the issuer's keys and of the images."""
    found = [*data_dir.path("keys", "issuer").glob("*.pem")]
    found += data_dir.root.glob("images.json")
    return {path: path.read_bytes() for path in found}


class HarnessApi:
    """Everything that tests may do to a started instance beyond its public APIs."""

    def __init__(
        self,
        harness: Harness,
        cloud: "CloudHalf",
        ring: "KeyRing",
        store: "ObjectStore | None",
        managed: "ManagedCluster",
        baseline: Baseline,
    ) -> None:
        self._faults, self._clock = harness.faults, harness.clock
        self._cloud, self._config = cloud, cloud.context.config
        self._ring, self._store, self._managed = ring, store, managed
        self._wanted = baseline
        self._busy = asyncio.Lock()

    def routes(self) -> dict[str, tuple[str, "Handler"]]:
        """Return the paths of the control API, each with its method and its handler."""
        actions: dict[str, Action] = {
            "baseline": self._baseline,
            "reset": self._reset,
            "fault": self._fault,
            "recover": self._recover,
            "clock": self._move_clock,
            "rotate": self._rotate,
            "sign": self._sign,
            "client-secret": self._client_secret,
        }
        for part in self._cloud.parts.values():
            actions |= part.test_actions
        return {f"/tests/{name}": ("POST", _handler(action)) for name, action in actions.items()}

    # ------------------------------------------------------------------------------------------ state

    async def take_baseline(self) -> None:
        """Store the state to which `reset` returns."""
        self._wanted = await _read_baseline(self._cloud, self._store)

    async def reset(self) -> None:
        """Return to the baseline: directory, vaults, tokens, keys, issuers, objects, faults and clock.

        The jobs of pipelines end.
        """
        from podpass.lab import services

        self._faults.clear()
        moved, self._clock.offset = self._clock.offset != 0, 0.0
        self._cloud.issuers.replace(self._wanted.issuers)
        self._restore_objects()
        changed = await self._restore_tables()
        await self._restore_keys(moved=moved or bool(changed & KEY_TABLES))
        self._managed.workload_identity = await services.is_webhook_enabled(
            self._cloud.directory, self._config.subscription_id
        )

    def _restore_objects(self) -> None:
        store, objects = self._store, self._wanted.objects
        if store is not None and objects is not None:
            from kubeling.apiserver.storage.storage import is_of_node

            store.restore(objects, partial(is_of_node, objects, ca.NODE_NAME))
            self._wanted = replace(self._wanted, objects=store.snapshot())

    async def _restore_tables(self) -> frozenset[str]:
        from podpass.directory.store.session import TOPIC
        from podpass.exchange.signing.key_store import TOPIC as KEY_TOPIC

        changed = await self._cloud.database.read(self._changed_tables)
        if changed:
            topics = (TOPIC, KEY_TOPIC) if changed & KEY_TABLES else (TOPIC,)
            wanted = self._wanted.tables
            await self._cloud.database.write(
                lambda connection: restore_tables(connection, wanted), topics=topics
            )
        return changed

    def _changed_tables(self, connection: Any) -> frozenset[str]:
        now = read_tables(connection)
        return frozenset(name for name in now if now[name] != self._wanted.tables.get(name))

    async def _restore_keys(self, *, moved: bool) -> None:
        wanted, now = self._wanted.files, _read_files(self._cloud.context.data_dir)
        for path in now.keys() - wanted.keys():
            path.unlink()
        for path, content in wanted.items():
            if now.get(path) != content:
                files.write_private(path, content)
        if wanted != now:
            self._ring.reload()
        if moved:
            await self._cloud.keys.authority.refresh()
        ended = self._cloud.pipelines.end_jobs()
        if moved or ended or wanted != now:
            self._cloud.forget_keys()

    # -------------------------------------------------------------------------------------------- API

    async def _baseline(self, _given: dict[str, Any]) -> dict[str, Any]:
        async with self._busy:
            await self.take_baseline()
        return {}

    async def _reset(self, _given: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        async with self._busy:
            await self.reset()
        return {"took_ms": round((time.monotonic() - began) * 1000, 1)}

    async def _fault(self, given: dict[str, Any]) -> dict[str, Any]:
        fault = self._faults.add(given)
        _log.info("fault_injected", extra={"fault": fault.kind, "service": fault.service})
        return {"id": fault.id}

    async def _recover(self, given: dict[str, Any]) -> dict[str, Any]:
        if "id" in given:
            self._faults.remove(int(given["id"]))
        else:
            self._faults.clear()
        return {}

    async def _move_clock(self, given: dict[str, Any]) -> dict[str, Any]:
        seconds = float(given["seconds"])
        if not abs(self._clock.offset + seconds) <= _MAX_OFFSET:
            raise UsageError("the clock can be moved by at most 10 years")
        self._clock.offset += seconds
        await self._cloud.keys.authority.ensure_keys()
        for part in self._cloud.parts.values():
            await part.catch_up()
        return {"offset": self._clock.offset}

    async def _rotate(self, given: dict[str, Any]) -> dict[str, Any]:
        withdraw = bool(given.get("withdraw"))
        if given.get("keys") == "issuer":
            before = self._ring.active.kid
            key = await asyncio.to_thread(jose.generate_rsa)
            self._ring.rotate(key)
            if withdraw:
                self._ring.retire(before)
            kid = self._ring.active.kid
        elif given.get("keys") == "authority":
            keys = self._cloud.keys.authority
            before = keys.active.kid
            await keys.rotate(at_once=True)
            if withdraw:
                await keys.retire(before)
            kid = keys.active.kid
        else:
            raise UsageError("keys must be 'issuer' or 'authority'")
        self._cloud.forget_keys()
        return {"kid": kid, "before": before}

    async def _sign(self, given: dict[str, Any]) -> dict[str, Any]:
        """Sign claims with the key of the token service."""
        key = await self._cloud.keys.authority.current()
        header = {"typ": "JWT", **given.get("header", {})}
        return {"token": key.sign(given["claims"], header), "kid": key.kid}

    async def _client_secret(self, given: dict[str, Any]) -> dict[str, Any]:
        """Add a client secret to an application; a secret that has expired has a negative lifetime."""
        from podpass.directory.graph import passwords

        now, seconds = self._clock(), float(given["seconds"])
        made, text = passwords.generate({"displayName": given["name"]}, now)
        made = replace(made, begins=min(now, now + seconds) - 60, expires=now + seconds)
        await self._cloud.directory.identities.change(
            self._config.tenant_id,
            given["client_id"],
            lambda identity: passwords.add(identity, made, of_principal=False),
        )
        return {"secret": text.reveal(), "key_id": made.key_id}


def _handler(action: Action) -> "Handler":
    async def handle(_query: Mapping[str, str], receive: Receive) -> dict[str, Any]:
        try:
            given = orjson.loads(await read_body(receive, _MAX_BYTES) or b"{}")
        except (BodyTooLarge, ValueError) as exc:
            raise UsageError("the body is not a JSON object of at most 256 KiB") from exc
        if not isinstance(given, dict):
            raise UsageError("the body is not a JSON object")
        try:
            return await action(given)
        except (KeyError, TypeError, ValueError) as exc:
            raise UsageError(f"a field is missing or has a wrong type: {exc}") from exc

    return handle

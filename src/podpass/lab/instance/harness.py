"""The harness of an instance for tests: baseline and reset, faults, clock and keys, and its control API."""

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
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
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.instance import azure_apis
from podpass.lab.instance.faults import FaultInjector
from podpass.lab.instance.tables import Tables, read_tables, restore_tables

if TYPE_CHECKING:
    from kubeling.apiserver.storage.storage import Snapshot

    from podpass.lab.instance.cluster_parts import ClusterParts
    from podpass.lab.instance.control import Handler
    from podpass.lab.instance.parts import CloudParts

_log = logging.getLogger(__name__)

Action = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_MAX_BYTES = 256 * 1024
_MAX_OFFSET = 10 * 365 * 86400
_KEY_TABLES = {"authority_keys", "authority_seals"}


class MovableClock:
    """The system's clock plus an offset, in seconds."""

    def __init__(self, base: Clock = system) -> None:
        self._base = base
        self.offset = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return self._base() + self.offset


class Harness:
    """Everything that tests may do to an instance beyond its public APIs.

    Each process that uses the instance holds a shared lock on `lock_file`; without it, the instance runs
    until it is stopped.
    """

    def __init__(self, lock_file: Path | None) -> None:
        self._lock_file = lock_file
        self.clock = MovableClock()
        self.faults = FaultInjector(self.clock)
        self._busy = asyncio.Lock()

    def attach(
        self,
        data_dir: DataDir,
        config: InstanceConfig,
        cloud: "CloudParts",
        cluster: "ClusterParts",
    ) -> None:
        """Use the parts of the started instance."""
        self._data_dir, self._config = data_dir, config
        self._cloud, self._cluster = cloud, cluster

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
            "vault-secret": self._vault_secret,
        }
        return {f"/tests/{name}": ("POST", _handler(action)) for name, action in actions.items()}

    # ------------------------------------------------------------------------------------------ state

    async def take_baseline(self) -> None:
        """Store the state to which `reset` returns."""
        self._tables: Tables = await self._cloud.database.read(read_tables)
        self._objects: Snapshot | None = self._store.snapshot() if self._store else None
        self._files = self._read_files()

    async def reset(self) -> None:
        """Return to the baseline: directory, vaults, tokens, keys, Kubernetes objects, faults and clock."""
        self.faults.clear()
        moved, self.clock.offset = self.clock.offset != 0, 0.0
        self._restore_objects()
        changed = await self._restore_tables()
        await self._restore_keys(moved=moved or bool(changed & _KEY_TABLES))
        managed = self._cluster.managed
        managed.workload_identity = await azure_apis.is_workload_identity_enabled(
            self._cloud.directory, self._config
        )

    @property
    def _store(self) -> Any:
        return self._cluster.cluster.store if self._cluster.cluster else None

    def _restore_objects(self) -> None:
        if self._store is not None and self._objects is not None:
            from kubeling.apiserver.storage.storage import is_of_node

            self._store.restore(self._objects, partial(is_of_node, self._objects, ca.NODE_NAME))
            self._objects = self._store.snapshot()

    async def _restore_tables(self) -> frozenset[str]:
        from podpass.directory.store.session import TOPIC
        from podpass.exchange.signing.key_store import TOPIC as KEY_TOPIC

        changed = await self._cloud.database.read(self._changed_tables)
        if changed:
            topics = (TOPIC, KEY_TOPIC) if changed & _KEY_TABLES else (TOPIC,)
            wanted = self._tables
            await self._cloud.database.write(
                lambda connection: restore_tables(connection, wanted), topics=topics
            )
        return changed

    def _changed_tables(self, connection: Any) -> frozenset[str]:
        now = read_tables(connection)
        return frozenset(name for name in now if now[name] != self._tables.get(name))

    async def _restore_keys(self, *, moved: bool) -> None:
        wanted, now = self._files, self._read_files()
        for path in now.keys() - wanted.keys():
            path.unlink()
        for path, content in wanted.items():
            if now.get(path) != content:
                files.write_private(path, content)
        if wanted != now:
            self._cluster.ring.reload()
        if moved:
            await self._cloud.authority_keys.refresh()
        if moved or wanted != now:
            self._cloud.forget_keys()

    def _read_files(self) -> dict[Path, bytes]:
        """Return the files of the issuer's keys and of the images."""
        found = [*self._data_dir.path("keys", "issuer").glob("*.pem")]
        found += self._data_dir.root.glob("images.json")
        return {path: path.read_bytes() for path in found}

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
        fault = self.faults.add(given)
        _log.info("fault_injected", extra={"fault": fault.kind, "service": fault.service})
        return {"id": fault.id}

    async def _recover(self, given: dict[str, Any]) -> dict[str, Any]:
        if "id" in given:
            self.faults.remove(int(given["id"]))
        else:
            self.faults.clear()
        return {}

    async def _move_clock(self, given: dict[str, Any]) -> dict[str, Any]:
        seconds = float(given["seconds"])
        if not abs(self.clock.offset + seconds) <= _MAX_OFFSET:
            raise UsageError("the clock can be moved by at most 10 years")
        self.clock.offset += seconds
        await self._cloud.authority_keys.ensure_keys()
        return {"offset": self.clock.offset}

    async def _rotate(self, given: dict[str, Any]) -> dict[str, Any]:
        withdraw = bool(given.get("withdraw"))
        if given.get("keys") == "issuer":
            before = self._cluster.ring.active.kid
            key = await asyncio.to_thread(jose.generate_rsa)
            self._cluster.ring.rotate(key)
            if withdraw:
                self._cluster.ring.retire(before)
            kid = self._cluster.ring.active.kid
        elif given.get("keys") == "authority":
            keys = self._cloud.authority_keys
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
        key = await self._cloud.authority_keys.current()
        header = {"typ": "JWT", **given.get("header", {})}
        return {"token": key.sign(given["claims"], header), "kid": key.kid}

    async def _client_secret(self, given: dict[str, Any]) -> dict[str, Any]:
        """Add a client secret to an application; a secret that has expired has a negative lifetime."""
        from podpass.directory.graph import passwords

        now, seconds = self.clock(), float(given["seconds"])
        made, text = passwords.generate({"displayName": given["name"]}, now)
        made = replace(made, begins=min(now, now + seconds) - 60, expires=now + seconds)
        await self._cloud.directory.identities.change(
            self._config.tenant_id,
            given["client_id"],
            lambda identity: passwords.add(identity, made, of_principal=False),
        )
        return {"secret": text.reveal(), "key_id": made.key_id}

    async def _vault_secret(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change when the latest version of a secret expires, or whether it is enabled."""
        from podpass.resource.model import SecretAttributes, vault_key

        vault = await self._cloud.directory.find_vault(given["vault"])
        if vault is None:
            raise UsageError(f"there is no vault {given['vault']!r}", hint="create it first")
        changes: Mapping[str, Any] = {
            **({"enabled": bool(given["enabled"])} if "enabled" in given else {}),
            **({"expires": int(self.clock() + given["seconds"])} if "seconds" in given else {}),
        }
        attributes = SecretAttributes(given=frozenset(changes), **changes)
        changed = await self._cloud.secret_store.update(
            vault_key(vault), given["name"], "", attributes, self.clock()
        )
        if changed is None:
            raise UsageError(f"the vault has no secret {given['name']!r}", hint="create it first")
        return {}


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

"""Read the certificate Secret, and apply the planner's steps to it.

Every write carries the resourceVersion that was read, so only one of two concurrent writes succeeds. Before a
key or certificate is created, a dry run of a write returns the API server's time, and the replica compares
its clock.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podpass import names
from podpass.admission.certificates import planner, secret_codec
from podpass.admission.certificates.ca_injector import RepairBackoff
from podpass.admission.certificates.model import (
    AddCA,
    CreateCA,
    PromoteCA,
    RemoveCA,
    RestoreCA,
    RotationPolicy,
    SignLeaf,
    Step,
    StoredCertificates,
)
from podpass.admission.certificates.status import BREAKING, CLOCK, WRITING, CertificateStatus
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient, KubeError, Object

_log = logging.getLogger(__name__)

_DRY_RUN_ANNOTATION = (
    "podpass/asked"  # never stored; a dry run that changes it returns the server's time
)
_MAX_CLOCK_SKEW_SECONDS = 1800  # half of the time by which a new certificate is backdated
_MAX_OLD_CAS = (
    4  # a rotation causes fewer; with more, another writer replaces the Secret about every hour
)
_FIRST_SECONDS, _LAST_SECONDS = 5, 600
_EVENTS = {
    AddCA: "ca_added",
    PromoteCA: "ca_promoted",
    RemoveCA: "ca_removed",
    RestoreCA: "ca_restored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSnapshot:
    """The Secret as read from the API server.

    `object` is None if the Secret does not exist.
    """

    object: Object | None = field(repr=False)
    certificates: StoredCertificates


class CertificateSecret:
    """Reads and writes one Secret in the webhook's namespace."""

    def __init__(self, client: KubeClient, namespace: str, name: str, host: str) -> None:
        self._client = client
        self.name, self.host = name, host
        self.collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self.collection}/{name}"
        self._last: SecretSnapshot | None = None

    async def read(self) -> SecretSnapshot:
        """Read the Secret, and decode it if it changed.

        Raises KubeError, but not when the Secret does not exist.
        """
        try:
            found = await self._client.get(self._path)
        except KubeError as exc:
            if exc.status != 404:
                raise
            missing = StoredCertificates(faults=("the Secret is missing",))
            return SecretSnapshot(object=None, certificates=missing)
        last = self._last
        if last is not None and last.object is not None and _is_same_version(last.object, found):
            return last
        certificates = secret_codec.decode_secret(_decode_data(found), self.host)
        self._last = SecretSnapshot(object=found, certificates=certificates)
        return self._last

    async def write(self, snapshot: SecretSnapshot, certificates: StoredCertificates) -> None:
        """Write new contents if the Secret has not changed since the snapshot.

        Raises KubeError, 409 when another replica changed it first.
        """
        data = _decode_data(snapshot.object) if snapshot.object else {}
        data |= secret_codec.encode_secret(certificates)
        if not data[names.ADDED_CA_KEY]:
            del data[names.ADDED_CA_KEY]
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        await self._send(snapshot, {"data": encoded})

    async def read_server_time(self, snapshot: SecretSnapshot) -> float | None:
        """Return the API server's time, from the response to a dry run of a write.

        Units: whole seconds since the epoch; None if the response has no time. Raises KubeError; also shows
        early that the replica may not write the Secret.
        """
        about = dict((snapshot.object or {}).get("metadata", {}))
        about["annotations"] = {**(about.get("annotations") or {}), _DRY_RUN_ANNOTATION: ""}
        answer = await self._send(snapshot, {"metadata": about}, dry_run=True)
        return max(_list_times(answer), default=None)

    async def _send(
        self, snapshot: SecretSnapshot, part: Object, *, dry_run: bool = False
    ) -> Object:
        params = {"dryRun": "All"} if dry_run else None
        if snapshot.object is not None:
            # With the resourceVersion that was read: the API server refuses the write after any other change.
            return await self._client.replace(self._path, {**snapshot.object, **part}, params)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            **part,
            "metadata": {**part.get("metadata", {}), "name": self.name},
        }
        return await self._client.create(self.collection, body, params)


class SecretUpdater:
    """Applies steps to the Secret; repairs of a Secret that is damaged repeatedly back off."""

    def __init__(
        self,
        secret: CertificateSecret,
        status: CertificateStatus,
        policy: RotationPolicy,
        clock: Clock,
        ticks: Clock,
    ) -> None:
        self._secret, self._status, self._policy = secret, status, policy
        self._clock = clock
        self._backoff = RepairBackoff(ticks, _FIRST_SECONDS, _LAST_SECONDS)

    @property
    def wait_seconds(self) -> float:
        """Return the seconds until the next repair is allowed."""
        return self._backoff.wait_seconds

    async def apply(
        self, snapshot: SecretSnapshot, certificates: StoredCertificates, step: Step | None
    ) -> bool:
        """Apply a step; return whether this or another replica changed the Secret.

        Raises KubeError when the API server is unavailable.
        """
        self._report_damage(snapshot.certificates, step)
        if step is None:
            self._status.set_condition(WRITING)
            self._status.set_condition(CLOCK)
            return False
        is_repair = planner.is_repair(step)
        if is_repair and not self._backoff.is_ready:
            return False
        try:
            is_done = await self._write_step(snapshot, certificates, step)
        except KubeError as exc:
            if exc.status in (404, 409):
                return True  # another replica wrote first
            if exc.status not in (403, 422):
                raise
            missing = "" if snapshot.object else f"Secret {self._secret.name} is missing: "
            self._status.set_condition(WRITING, missing + exc.message)
            return False
        if is_done and is_repair:
            self._backoff.record()
        return is_done

    def _report_damage(self, certificates: StoredCertificates, step: Step | None) -> None:
        is_repair = step is not None and planner.is_repair(step)
        if (is_repair and not self._backoff.is_ready) or len(certificates.old) > _MAX_OLD_CAS:
            problem = f"Secret {self._secret.name} is damaged repeatedly"
            self._status.set_condition(BREAKING, problem)
        elif not is_repair and not self._backoff.is_conflicting:
            self._status.set_condition(BREAKING)

    async def _write_step(
        self, snapshot: SecretSnapshot, certificates: StoredCertificates, step: Step
    ) -> bool:
        if not isinstance(step, RemoveCA | RestoreCA) and not await self._check_clock(snapshot):
            return False
        issuer = RsaCertificateIssuer(
            host=self._secret.host, now=self._clock(), policy=self._policy
        )
        changed = await asyncio.to_thread(planner.apply_step, certificates, step, issuer)
        await self._secret.write(snapshot, changed)
        self._status.set_condition(WRITING)
        about = {"authorities": [each.id[:12] for each in changed.cas]}
        match step:
            case CreateCA():
                _log.warning("ca_created", extra={"why": step.why, **about})
            case SignLeaf():
                _log.info("certificate_signed", extra={"why": step.why, **about})
            case _:
                _log.info(_EVENTS[type(step)], extra=about)
        return True

    async def _check_clock(self, snapshot: SecretSnapshot) -> bool:
        """Return whether the clock is close enough to that of the API server to create certificates."""
        server_time = await self._secret.read_server_time(snapshot)
        skew = 0.0 if server_time is None else self._clock() - server_time
        if abs(skew) <= _MAX_CLOCK_SKEW_SECONDS:
            self._status.set_condition(CLOCK)
            return True
        way = "ahead of" if skew > 0 else "behind"
        problem = f"this machine's clock is {abs(skew):.0f} s {way} the API server's"
        self._status.set_condition(CLOCK, problem)
        return False


def _is_same_version(one: Object, other: Object) -> bool:
    return all(
        one["metadata"].get(part) == other["metadata"].get(part)
        for part in ("uid", "resourceVersion")
    )


def _decode_data(secret: Object) -> dict[str, bytes]:
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError):
            found[name] = b""
    return found


def _list_times(answer: Object) -> Iterator[float]:
    """Yield every time that the API server wrote into an object; the latest is its current time."""
    about: Any = answer.get("metadata") or {}
    stamps = [about.get("creationTimestamp")]
    stamps += [each.get("time") for each in about.get("managedFields") or ()]
    for stamp in stamps:
        if stamp:
            yield datetime.fromisoformat(stamp).timestamp()

"""The Secret with authority and certificate: read, written if nobody else was quicker, and asked the time."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podpass import names
from podpass.admission.certificates import contents
from podpass.admission.certificates.model import Held
from podpass.kube import KubeClient, KubeError, Object

_ASKED = "podpass/asked"  # never stored: what a dry run changes, so that the answer bears its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The Secret as it was read.

    Shapes:  `object` is None where there is no such Secret.
    """

    object: Object | None = field(repr=False)
    held: Held


class CertificateSecret:
    """One Secret in the webhook's namespace."""

    def __init__(self, client: KubeClient, namespace: str, name: str, host: str) -> None:
        self._client = client
        self.name, self.host = name, host
        self.collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self.collection}/{name}"
        self._last: Stored | None = None

    async def read(self) -> Stored:
        """Read it.

        Errors:  KubeError, but not for a Secret that is not there.
        """
        try:
            found = await self._client.get(self._path)
        except KubeError as exc:
            if exc.status != 404:
                raise
            return Stored(object=None, held=Held(faults=("the Secret is missing",)))
        before = self._last
        if before is not None and before.object is not None and _is_same(before.object, found):
            return before
        self._last = Stored(object=found, held=contents.read(_data(found), self.host))
        return self._last

    async def write(self, stored: Stored, held: Held) -> None:
        """Put new contents there, if it still is what was read.

        Errors:  KubeError, 409 where another replica was quicker.
        """
        data = {**(_data(stored.object) if stored.object else {}), **contents.written(held)}
        if not data[names.COMING_CA_KEY]:
            del data[names.COMING_CA_KEY]
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        await self._send(stored, {"data": encoded})

    async def server_time(self, stored: Stored) -> float | None:
        """Ask the API server for the time, by a change that it does not carry out.

        Units:   seconds since the epoch, whole; None if the answer does not tell.
        Errors:  KubeError: also tells early that writing is not permitted.
        """
        about = dict((stored.object or {}).get("metadata", {}))
        about["annotations"] = {**(about.get("annotations") or {}), _ASKED: ""}
        answer = await self._send(stored, {"metadata": about}, dry=True)
        return max(_times(answer), default=None)

    async def _send(self, stored: Stored, part: Object, *, dry: bool = False) -> Object:
        params = {"dryRun": "All"} if dry else None
        if stored.object is not None:
            # With the version that was read: the API server refuses it if there is another by now.
            return await self._client.replace(self._path, {**stored.object, **part}, params)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            **part,
            "metadata": {**part.get("metadata", {}), "name": self.name},
        }
        return await self._client.create(self.collection, body, params)


def _is_same(one: Object, other: Object) -> bool:
    return all(
        one["metadata"].get(part) == other["metadata"].get(part)
        for part in ("uid", "resourceVersion")
    )


def _data(secret: Object) -> dict[str, bytes]:
    found = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError):
            found[name] = b""
    return found


def _times(answer: Object) -> Iterator[float]:
    """Give every moment that the API server wrote into an object; the latest is now."""
    about: Any = answer.get("metadata") or {}
    stamps = [about.get("creationTimestamp")]
    stamps += [each.get("time") for each in about.get("managedFields") or ()]
    for stamp in stamps:
        if stamp:
            yield datetime.fromisoformat(stamp).timestamp()

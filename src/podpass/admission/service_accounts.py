"""Read the annotations of ServiceAccounts from a cache that a watch fills, or on a miss from the API server.

The cache has the name and the three relevant annotations of every ServiceAccount in the cluster. It does not
keep the objects, so that ten thousand ServiceAccounts need a few megabytes.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

from podpass.account.annotations import filter_annotations
from podpass.errors import Error
from podpass.kubernetes.client import BackOff, KubeClient, KubeError
from podpass.tasks import cancel_and_wait

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_NONE: Mapping[str, str] = MappingProxyType({})
_ACCOUNTS = "/api/v1/serviceaccounts"
# By default an API server waits ten seconds for a webhook: the denial with its reason must arrive earlier.
READ_SECONDS = 5.0
_REFUSALS = (401, 403)


class AccountNotFound(Error):
    """The pod runs as a ServiceAccount that does not exist."""

    code = "account_not_found"
    status = 400
    hint = "create it before the pod, or correct the pod's serviceAccountName"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(
            f"ServiceAccount {namespace}/{name} does not exist", namespace=namespace, account=name
        )


class AccountUnreadable(Error):
    """The API server did not return the ServiceAccount."""

    code = "account_unreadable"
    status = 503
    hint = "check that the webhook may get, list and watch serviceaccounts, and try again"


class ServiceAccountReader(Protocol):
    """Reads the ServiceAccounts of a cluster."""

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the relevant annotations of a ServiceAccount. Raises AccountNotFound, AccountUnreadable."""


def _ignore_result(_: str) -> None:
    """Ignore the result; the default of `on_lookup`."""


class ServiceAccountCache:
    """Cache of the cluster's ServiceAccounts, filled by a watch; use it as a context.

    `on_lookup` is called with the result of each lookup: hit, live, stale, missing or unreadable.
    """

    def __init__(
        self, client: KubeClient, *, on_lookup: Callable[[str], None] = _ignore_result
    ) -> None:
        self._client = client
        self._on_lookup = on_lookup
        # NOTE: values are plain dicts of strings, which the garbage collector does not traverse.
        self._known: dict[str, Mapping[str, str]] = {}
        self._namespaces: dict[str, int] = {}
        self._watch_task: asyncio.Task[None] | None = None
        self._synced = asyncio.Event()
        self._fault = "the API server has not answered yet"
        self._is_stale = False

    @property
    def ready(self) -> bool:
        """Return whether all ServiceAccounts were listed once."""
        return self._synced.is_set()

    @property
    def count(self) -> int:
        return len(self._known)

    def not_ready_reason(self) -> str:
        """Return why the cache is not filled yet, or an empty text."""
        return "" if self.ready else f"ServiceAccounts are not listed yet: {self._fault}"

    def has_namespace(self, namespace: str) -> bool:
        """Return whether any ServiceAccount of a namespace is cached."""
        return namespace in self._namespaces

    async def wait_ready(self) -> None:
        await self._synced.wait()

    async def __aenter__(self) -> Self:
        self._watch_task = asyncio.create_task(self._watch(), name="accounts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await cancel_and_wait(self._watch_task)

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the annotations of a ServiceAccount, from the cache or else from the API server.

        The watch may be late when a pod is created right after its ServiceAccount.
        Raises AccountNotFound, AccountUnreadable.
        """
        known = self._known.get(f"{namespace}/{name}")
        if known is not None and not self._is_stale:
            self._on_lookup("hit")
            return known
        try:
            found = await self._read(namespace, name)
        except AccountNotFound:
            self._on_lookup("missing")
            raise
        except AccountUnreadable:
            if known is not None:
                # Use the last known annotations, as during an outage of the API server, rather than refuse
                # the pod.
                self._on_lookup("stale")
                return known
            self._on_lookup("unreadable")
            raise
        self._on_lookup("live")
        return found

    async def _read(self, namespace: str, name: str) -> Mapping[str, str]:
        # The name comes from the pod and is not validated yet: "../../other/serviceaccounts/web" would read a
        # ServiceAccount of another namespace, because an API server decodes a path before it splits it.
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            raise AccountNotFound(namespace, name)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        try:
            async with asyncio.timeout(READ_SECONDS):
                account = await self._client.get(path, metadata_only=True)
        except KubeError as exc:
            if exc.status == 404:
                raise AccountNotFound(namespace, name) from exc
            raise _unreadable_error(namespace, name, exc.message) from exc
        except TimeoutError as exc:
            why = f"no answer within {READ_SECONDS:g} seconds"
            raise _unreadable_error(namespace, name, why) from exc
        # NOTE: not stored in the cache. The watch may have received the deletion already, and then nothing
        # would remove the entry again.
        return _parse_annotations(account)

    async def _watch(self) -> None:
        back_off = BackOff(1.0, 60.0)
        while True:
            try:
                async for kind, account in self._client.watch(
                    _ACCOUNTS, metadata_only=True, on_failure=self._on_watch_error
                ):
                    self._apply_event(kind, account)
            except Exception:  # noqa: BLE001 after any error the cache is no longer updated
                # An outdated cache would give pods a wrong identity: read from the API server until the next
                # list.
                self._known.clear()
                self._namespaces.clear()
                _log.exception("account_watch_failed")
            await back_off.wait()

    def _on_watch_error(self, exc: KubeError) -> None:
        self._fault = exc.message
        if exc.status in _REFUSALS and self.ready:
            # Without a watch the cache misses changes and would give pods a wrong identity.
            self._is_stale = True
            _log.error("account_watch_refused", extra={"cause": exc.message})

    def _apply_event(self, kind: str, account: Mapping[str, Any]) -> None:
        if kind == "SYNCED":
            self._synced.set()
            self._is_stale = False
            _log.info("account_cache_synced", extra={"accounts": len(self._known)})
            return
        metadata = account["metadata"]
        namespace = str(metadata["namespace"])
        key = f"{namespace}/{metadata['name']}"
        if kind == "DELETED":
            if self._known.pop(key, None) is not None:
                self._count_account(namespace, -1)
            return
        if key not in self._known:
            self._count_account(namespace, 1)
        self._known[key] = _parse_annotations(account)

    def _count_account(self, namespace: str, more: int) -> None:
        count = self._namespaces.get(namespace, 0) + more
        if count:
            self._namespaces[namespace] = count
        else:
            del self._namespaces[namespace]


def _unreadable_error(namespace: str, name: str, why: str) -> AccountUnreadable:
    return AccountUnreadable(
        f"ServiceAccount {namespace}/{name} cannot be read: {why}",
        namespace=namespace,
        account=name,
    )


def _parse_annotations(account: Mapping[str, Any]) -> Mapping[str, str]:
    return filter_annotations(account["metadata"].get("annotations")) or _NONE

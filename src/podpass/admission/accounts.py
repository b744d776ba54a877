"""Where the webhook learns an account's annotations: a cache that a watch keeps, and a live read on a miss.

The cache holds, of every ServiceAccount in the cluster, its name and the three annotations that count;
objects themselves are let go at once, so that ten thousand accounts fit in a few megabytes.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

from podpass.account.annotations import relevant
from podpass.errors import Error
from podpass.kube import KubeClient, KubeError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_NONE: Mapping[str, str] = MappingProxyType({})


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
    """The API server would not say what a ServiceAccount asks for."""

    code = "account_unreadable"
    status = 503
    hint = "see whether the webhook may get, list and watch serviceaccounts, and try again"


class Accounts(Protocol):
    """Whoever knows the accounts of a cluster."""

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Give an account's annotations of ours.

        Errors:  AccountNotFound, AccountUnreadable.
        """


class ClusterAccounts:
    """The accounts of a cluster, as its API server tells them; use it as a context."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: dict[str, Mapping[str, str]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._synced = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether every account was listed once."""
        return self._synced.is_set()

    async def wait_ready(self) -> None:
        await self._synced.wait()

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._follow(), name="accounts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Give an account's annotations, from the cache, else from the API server itself.

        The watch may lag behind a pod that is created right after its account.
        Errors:  AccountNotFound, AccountUnreadable.
        """
        known = self._known.get(f"{namespace}/{name}")
        return known if known is not None else await self._read(namespace, name)

    async def _read(self, namespace: str, name: str) -> Mapping[str, str]:
        # The name is the pod's word, which nobody has checked yet: "../../other/serviceaccounts/web" would
        # fetch another namespace's account, since an API server decodes a path before it splits it.
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            raise AccountNotFound(namespace, name)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        try:
            account = await self._client.get(path)
        except KubeError as exc:
            if exc.status == 404:
                raise AccountNotFound(namespace, name) from exc
            raise AccountUnreadable(
                f"ServiceAccount {namespace}/{name} cannot be read: {exc.message}",
                namespace=namespace,
                account=name,
            ) from exc
        # NOTE: not put into the cache. The watch may already have seen the account's end, and what is put
        # in after that would never be taken out again.
        return _wishes(account)

    async def _follow(self) -> None:
        try:
            async for kind, account in self._client.watch("/api/v1/serviceaccounts"):
                self._take(kind, account)
        except Exception:  # noqa: BLE001 whatever it is, the cache is no longer renewed
            # A cache that nothing renews would give pods yesterday's identity: go on with live reads.
            self._known.clear()
            _log.exception("accounts_watch_broken")

    def _take(self, kind: str, account: Mapping[str, Any]) -> None:
        if kind == "SYNCED":
            self._synced.set()
            _log.info("accounts_listed", extra={"accounts": len(self._known)})
            return
        about = account["metadata"]
        key = f"{about['namespace']}/{about['name']}"
        if kind == "DELETED":
            self._known.pop(key, None)
        else:
            self._known[key] = _wishes(account)


def _wishes(account: Mapping[str, Any]) -> Mapping[str, str]:
    return relevant(account["metadata"].get("annotations")) or _NONE

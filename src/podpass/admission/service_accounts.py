"""Where the webhook learns an account's annotations: a cache that a watch keeps, and a live read on a miss.

The cache holds, of every ServiceAccount in the cluster, its name and the three annotations that count;
objects themselves are let go at once, so that ten thousand accounts fit in a few megabytes.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

from podpass.account.annotations import relevant
from podpass.errors import Error
from podpass.kubernetes.client import BackOff, KubeClient, KubeError
from podpass.tasks import end

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_NONE: Mapping[str, str] = MappingProxyType({})
_ACCOUNTS = "/api/v1/serviceaccounts"
# An API server waits ten seconds for a webhook unless told otherwise: a reason has to come before that.
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


def _unheard(_: str) -> None:
    """Let an answer go uncounted."""


class ClusterAccounts:
    """The accounts of a cluster, as its API server tells them; use it as a context.

    Shapes:  `asked` is told how each question was answered: hit, live, stale, missing or unreadable.
    """

    def __init__(self, client: KubeClient, *, asked: Callable[[str], None] = _unheard) -> None:
        self._client = client
        self._asked = asked
        # NOTE: values are plain dicts of texts, which the garbage collector does not walk through.
        self._known: dict[str, Mapping[str, str]] = {}
        self._namespaces: dict[str, int] = {}
        self._watching: asyncio.Task[None] | None = None
        self._synced = asyncio.Event()
        self._fault = "the API server has not answered yet"
        self._doubtful = False

    @property
    def ready(self) -> bool:
        """Whether every account was listed once."""
        return self._synced.is_set()

    @property
    def count(self) -> int:
        return len(self._known)

    def trouble(self) -> str:
        """Say why accounts are not known yet; empty when they are."""
        return "" if self.ready else f"accounts are not listed yet: {self._fault}"

    def has_namespace(self, namespace: str) -> bool:
        """Tell whether any account of a namespace is known."""
        return namespace in self._namespaces

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
        await end(self._watching)

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Give an account's annotations, from the cache, else from the API server itself.

        The watch may lag behind a pod that is created right after its account.
        Errors:  AccountNotFound, AccountUnreadable.
        """
        known = self._known.get(f"{namespace}/{name}")
        if known is not None and not self._doubtful:
            self._asked("hit")
            return known
        try:
            found = await self._read(namespace, name)
        except AccountNotFound:
            self._asked("missing")
            raise
        except AccountUnreadable:
            if known is not None:
                # As when nobody answers at all: a pod with what was last heard is better than none.
                self._asked("stale")
                return known
            self._asked("unreadable")
            raise
        self._asked("live")
        return found

    async def _read(self, namespace: str, name: str) -> Mapping[str, str]:
        # The name is the pod's word, which nobody has checked yet: "../../other/serviceaccounts/web" would
        # fetch another namespace's account, since an API server decodes a path before it splits it.
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            raise AccountNotFound(namespace, name)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        try:
            async with asyncio.timeout(READ_SECONDS):
                account = await self._client.get(path, metadata_only=True)
        except KubeError as exc:
            if exc.status == 404:
                raise AccountNotFound(namespace, name) from exc
            raise _unreadable(namespace, name, exc.message) from exc
        except TimeoutError as exc:
            said = f"no answer within {READ_SECONDS:g} seconds"
            raise _unreadable(namespace, name, said) from exc
        # NOTE: not put into the cache. The watch may already have seen the account's end, and what is put
        # in after that would never be taken out again.
        return _wishes(account)

    async def _follow(self) -> None:
        back_off = BackOff(1.0, 60.0)
        while True:
            try:
                async for kind, account in self._client.watch(
                    _ACCOUNTS, metadata_only=True, failed=self._hear
                ):
                    self._take(kind, account)
            except Exception:  # noqa: BLE001 whatever it is, the cache is no longer renewed
                # A cache that nothing renews would give pods yesterday's identity: read live meanwhile.
                self._known.clear()
                self._namespaces.clear()
                _log.exception("accounts_watch_broken")
            await back_off.wait()

    def _hear(self, exc: KubeError) -> None:
        self._fault = exc.message
        if exc.status in _REFUSALS and self.ready:
            # Who may not follow hears of no change: the cache would give pods yesterday's identity.
            self._doubtful = True
            _log.error("accounts_not_followed", extra={"cause": exc.message})

    def _take(self, kind: str, account: Mapping[str, Any]) -> None:
        if kind == "SYNCED":
            self._synced.set()
            self._doubtful = False
            _log.info("accounts_listed", extra={"accounts": len(self._known)})
            return
        about = account["metadata"]
        namespace = str(about["namespace"])
        key = f"{namespace}/{about['name']}"
        if kind == "DELETED":
            if self._known.pop(key, None) is not None:
                self._count(namespace, -1)
            return
        if key not in self._known:
            self._count(namespace, 1)
        self._known[key] = _wishes(account)

    def _count(self, namespace: str, more: int) -> None:
        count = self._namespaces.get(namespace, 0) + more
        if count:
            self._namespaces[namespace] = count
        else:
            del self._namespaces[namespace]


def _unreadable(namespace: str, name: str, why: str) -> AccountUnreadable:
    return AccountUnreadable(
        f"ServiceAccount {namespace}/{name} cannot be read: {why}",
        namespace=namespace,
        account=name,
    )


def _wishes(account: Mapping[str, Any]) -> Mapping[str, str]:
    return relevant(account["metadata"].get("annotations")) or _NONE

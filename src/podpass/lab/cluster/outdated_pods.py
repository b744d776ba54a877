"""Find running pods whose variables differ from the annotations of their ServiceAccount.

The webhook sets the variables when a pod is created, so a changed annotation reaches only pods that are
created afterwards. Each pod that differs gets an Event, and `podpass status` lists it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from podpass import names
from podpass.clock import Clock
from podpass.diagnose.drift.comparison import Differences, find_differences, injected_values
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.event_recorder import WARNING, EventLimits, EventRecorder, RateLimit
from podpass.kubernetes.objects import has_ended
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

COMPONENT = "podpass"
REASON = "ServiceAccountChanged"
LABELLED = {"labelSelector": f"{names.USE_LABEL}=true"}
_LIMITS = EventLimits(max_series=1000, per_bucket=RateLimit(burst=5, seconds_each=60.0))

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPod:
    """A running pod with the label of workload identity.

    `variables` are the values that the webhook has set, by name; the author's are omitted.
    """

    ref: Mapping[str, str]
    account: str
    variables: Mapping[str, str]

    @property
    def account_key(self) -> str:
        """Return the account as NAMESPACE/NAME."""
        return f"{self.ref['namespace']}/{self.account}"


def read_pod(pod: Object) -> LabelledPod | None:
    """Return account and variables of a pod; None if it has ended, is terminating, or was not mutated."""
    metadata, spec = pod["metadata"], pod["spec"]
    if has_ended(pod):
        return None
    for container in spec.get("containers") or ():
        if variables := injected_values(container.get("env") or ()):
            about = {"apiVersion": "v1", "kind": "Pod"}
            ref = about | {name: str(metadata[name]) for name in ("name", "namespace", "uid")}
            account = spec.get("serviceAccountName") or "default"
            return LabelledPod(ref=ref, account=account, variables=variables)
    return None


class OutdatedPods:
    """Watches pods and ServiceAccounts while the context is open.

    `on_change` is called when the list has changed; `tenant_id` is the webhook's default.
    """

    def __init__(
        self, client: KubeClient, tenant_id: str, on_change: Callable[[], None], clock: Clock
    ) -> None:
        self._client, self._tenant_id, self._on_change = client, tenant_id, on_change
        self._recorder = EventRecorder(client, COMPONENT, clock=clock, limits=_LIMITS)
        self._stack = AsyncExitStack()
        self._pods: dict[str, LabelledPod] = {}
        self._accounts: dict[str, Mapping[str, str]] = {}
        self._by_account: dict[str, set[str]] = {}
        self._found: dict[str, Differences] = {}

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._recorder)
        for work in (self._watch_accounts(), self._watch_pods()):
            await self._stack.enter_async_context(background_task(work, "outdated pods"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def describe(self) -> list[dict[str, Any]]:
        """Return the pods that differ, sorted by namespace and name."""
        return [
            {
                "namespace": self._pods[key].ref["namespace"],
                "name": self._pods[key].ref["name"],
                "service_account": self._pods[key].account,
                "differs": {
                    name: {"pod": old, "service_account": new}
                    for name, (old, new) in self._found[key].items()
                },
            }
            for key in sorted(self._found)
        ]

    async def _watch_accounts(self) -> None:
        async for kind, item in self._client.watch("/api/v1/serviceaccounts", metadata_only=True):
            if kind == "SYNCED":
                self._compare(list(self._pods))
                continue
            account = _key(item)
            if kind == "DELETED":
                self._accounts.pop(account, None)
            else:
                self._accounts[account] = item["metadata"].get("annotations") or {}
                self._compare(self._by_account.get(account, ()))

    async def _watch_pods(self) -> None:
        async for kind, item in self._client.watch("/api/v1/pods", LABELLED):
            if kind == "SYNCED":
                continue
            key = _key(item)
            pod = None if kind == "DELETED" else read_pod(item)
            if (before := self._pods.pop(key, None)) is not None:
                self._by_account[before.account_key].discard(key)
            if pod is not None:
                self._pods[key] = pod
                self._by_account.setdefault(pod.account_key, set()).add(key)
            self._compare([key])

    def _compare(self, keys: Iterable[str]) -> None:
        """Compare some pods with their accounts; report those that differ now."""
        is_changed = False
        for key in keys:
            pod, before = self._pods.get(key), self._found.pop(key, {})
            # An account may be unknown because its watch is late; a deleted account changes no pod.
            account = None if pod is None else self._accounts.get(pod.account_key)
            differs: Differences = {}
            if pod is not None and account is not None:
                differs = find_differences(pod.variables, account, self._tenant_id)
            if differs:
                self._found[key] = differs
            if pod is not None and differs and differs != before:
                self._report(pod, differs)
            is_changed = is_changed or differs != before
        if is_changed:
            self._on_change()

    def _report(self, pod: LabelledPod, differs: Differences) -> None:
        changes = ", ".join(
            f"{name} is {old or 'not set'} in the pod and {new or 'not set'} in the account"
            for name, (old, new) in sorted(differs.items())
        )
        message = (
            f"the annotations of ServiceAccount {pod.account} have changed: {changes}; create the pod"
            " again"
        )
        self._recorder.record(pod.ref, WARNING, REASON, message, key=REASON)
        facts = {"pod": pod.ref["name"], "namespace": pod.ref["namespace"], "account": pod.account}
        _log.warning("pod_differs_from_account", extra={**facts, "cause": changes})


def _key(item: Object) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"

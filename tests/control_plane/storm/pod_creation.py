"""Creates labelled pods with eight concurrent clients and a Deployment that is scaled up; records refusals.

A client retries when the API server does not respond or is not ready. It records a refusal by the webhook, or
by a failed call of it, and then retries as a ReplicaSet does.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from podpass import names
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable
from tests.charts.rendering import TENANT
from tests.control_plane.plane import PlaneThread
from tests.control_plane.storm.installed_webhook import wait_until

SPACE = "storm"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{SPACE}/deployments/scaled"
CLIENTS = 8
_LABELS = {names.USE_LABEL: "true"}
# No kubelet runs these pods: the test is about the stored pods.
_SCHEDULER = "none"
_PAUSE_SECONDS = 0.05
# The pause between further pods of a client that has created its share and waits for the end of an event.
_LEISURE_SECONDS = 0.6
_STEPS = 4
# The API server's messages for a call whose connection ended with a process; no other message is allowed.
_ENDS = (
    "EOF",
    "connection reset by peer",
    "broken pipe",
    "use of closed network connection",
    "http: server closed idle connection",
)
_CUT = re.compile(
    rf'failed calling webhook "{re.escape(names.WEBHOOK_NAME)}": failed to call webhook: Post "[^"]*":'
    rf" (.*: )?({'|'.join(_ENDS)})$"
)
_OURS = re.compile(r"webhook")


def is_broken_call(message: str) -> bool:
    """Return whether a message reports a call that a kill interrupted, not a refused call."""
    return _CUT.search(message) is not None


def template(account: str) -> dict[str, Any]:
    container = {"name": "app", "image": "app", "env": [{"name": "MODE", "value": "storm"}]}
    return {
        "schedulerName": _SCHEDULER,
        "serviceAccountName": account,
        "containers": [container, {"name": "second", "image": "second"}],
    }


@dataclass
class PodClients:
    """Eight clients; `refused` has the errors that were not about the API server itself."""

    plane: PlaneThread
    made: int = 0
    refused: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    async def make(self, count: int, over: asyncio.Event) -> None:
        """Create `count` pods, and further pods until `over` is set."""
        wanted = self.made + count
        await asyncio.gather(*(self._make(wanted, over) for _ in range(CLIENTS)))

    async def _make(self, wanted: int, over: asyncio.Event) -> None:
        async with self.plane.admin() as client:
            while self.made < wanted or not over.is_set():
                self.made = number = self.made + 1
                if number > wanted:
                    await asyncio.sleep(_LEISURE_SECONDS)
                await self.create(client, f"client-{number:05}")

    async def create(self, client: KubeClient, name: str) -> dict[str, Any]:
        """Create a pod; retry until it succeeds."""
        meta = {"name": name, "labels": _LABELS}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template("client")}
        lost = False
        while True:
            try:
                return await client.create(PODS, body)
            except KubeError as exc:
                if exc.status == 409 and lost:
                    # The API server stored the pod and ended before it could respond.
                    return await client.get(f"{PODS}/{name}")
                lost = lost or isinstance(exc, KubeUnreachable)
                self._record_error(exc)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _record_error(self, exc: KubeError) -> None:
        if not isinstance(exc, KubeUnreachable) and _OURS.search(exc.message):
            self.refused.append(exc.message)
        else:
            self.away.add(f"{exc.status} {exc.reason} {exc.message}"[:200])


class ScaledDeployment:
    """A Deployment that is scaled up."""

    def __init__(self, admin: KubeClient) -> None:
        self._admin = admin
        self.replicas = 0

    async def create(self) -> None:
        labels = {"app": "scaled"}
        spec = {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels | _LABELS}, "spec": template("scaled")},
        }
        path = DEPLOYMENT.rpartition("/")[0]
        await self._admin.create(path, {"metadata": {"name": "scaled"}, "spec": spec})

    async def scale_up(self, count: int, over: asyncio.Event) -> None:
        """Scale up in steps, then by one until `over` is set; wait until the controller has created all."""
        for step in range(_STEPS):
            await self._add(count // _STEPS + (count % _STEPS > step))
        while not over.is_set():
            await self._add(1)
            await asyncio.sleep(_LEISURE_SECONDS)

    async def _add(self, count: int) -> None:
        self.replicas += count
        body = {"spec": {"replicas": self.replicas}}

        async def is_observed() -> bool:
            await self._admin.patch(DEPLOYMENT, body)
            return True

        async def is_scaled() -> bool:
            status = (await self._admin.get(DEPLOYMENT)).get("status") or {}
            return bool(status.get("replicas", 0) == self.replicas)

        await wait_until(is_observed)
        await wait_until(is_scaled)

    async def refused(self) -> list[str]:
        """Return the errors that its controller received when it could not create a pod."""
        events, _ = await self._admin.list(f"/api/v1/namespaces/{SPACE}/events")
        return [
            each["message"]
            for each in events
            if each.get("reason") == "FailedCreate" and _OURS.search(each["message"])
        ]


@dataclass
class AnnotatedAccounts:
    """The accounts whose client ids change, and the times of the changes."""

    admin: KubeClient
    ids: list[tuple[float, str]] = field(default_factory=list)

    async def annotate(self, now: float) -> str:
        """Set another client id on both accounts."""
        client_id = f"00000000-0000-4000-8000-{len(self.ids):012}"
        about = {"metadata": {"annotations": {names.CLIENT_ID: client_id}}}
        for account in ("client", "scaled"):
            path = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
            if self.ids:
                await self.admin.patch(f"{path}/{account}", about)
            else:
                about["metadata"]["name"] = account  # type: ignore[assignment]
                await self.admin.create(path, about)
        self.ids.append((now, client_id))
        return client_id

    def valid(self, created: float, lag: float) -> set[str]:
        """Return the client ids that were valid at this time or up to `lag` seconds before."""
        found = set()
        for number, (since, client_id) in enumerate(self.ids):
            until_when = self.ids[number + 1][0] if number + 1 < len(self.ids) else float("inf")
            # API servers store times in whole seconds.
            if since <= created + 1 and until_when + lag >= created:
                found.add(client_id)
        return found


def client_ids(pod: dict[str, Any]) -> set[str | None]:
    return {_env(each).get(names.ENV_CLIENT_ID) for each in pod["spec"]["containers"]}


def find_faults(pod: dict[str, Any], valid: set[str]) -> list[str]:
    """Return what is missing in a mutated pod."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    problems = []
    volumes = [each for each in spec["volumes"] if each["name"].startswith(names.VOLUME_PREFIX)]
    if [_audiences(each) for each in volumes] != [[names.EXCHANGE_AUDIENCE]]:
        problems.append(f"{name}: volumes {[each['name'] for each in spec['volumes']]}")
    if not client_ids(pod) <= valid:
        problems.append(f"{name}: client ids {client_ids(pod)}, want one of {valid}")
    for container in spec["containers"]:
        env = _env(container)
        wanted = {names.ENV_TENANT_ID, names.ENV_TOKEN_FILE, names.ENV_AUTHORITY_HOST}
        if not wanted <= env.keys() or env[names.ENV_TENANT_ID] != TENANT:
            problems.append(f"{name}: variables {sorted(env)}")
        mounts = [each["mountPath"] for each in container.get("volumeMounts") or ()]
        if mounts.count(names.MOUNT_PATH) != 1:
            problems.append(f"{name}: mounts {mounts}")
    return problems


def _env(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container.get("env") or ()}


def _audiences(volume: dict[str, Any]) -> list[str]:
    return [
        source["serviceAccountToken"]["audience"]
        for source in volume["projected"]["sources"]
        if "serviceAccountToken" in source
    ]

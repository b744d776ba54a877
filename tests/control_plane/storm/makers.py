"""Who makes labelled pods: eight clients at once, and a Deployment that is scaled up; and what was refused.

A client tries again where any client would: no answer from the API server, or one that says that it is
not there yet. What the webhook, or the call of it, refused is kept; then it is tried again as a ReplicaSet
does.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from podpass import names
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable
from tests.charts.rendering import TENANT
from tests.control_plane.plane import Plane
from tests.control_plane.storm.site import until

SPACE = "storm"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{SPACE}/deployments/scaled"
CLIENTS = 8
_LABELS = {names.USE_LABEL: "true"}
# Nobody runs them: what they are is decided when they are stored.
_SCHEDULER = "nobody"
_PAUSE_SECONDS = 0.05
# Between the pods of a client that has made its part and waits for what happens to be over.
_LEISURE_SECONDS = 0.3
_STEPS = 4
# What an API server says of a call on a connection that ended with a process; nothing else may be said.
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


def is_cut_off(message: str) -> bool:
    """Tell a call that was under way at a kill from a refusal."""
    return _CUT.search(message) is not None


def template(account: str) -> dict[str, Any]:
    container = {"name": "app", "image": "app", "env": [{"name": "MODE", "value": "storm"}]}
    return {
        "schedulerName": _SCHEDULER,
        "serviceAccountName": account,
        "containers": [container, {"name": "beside", "image": "beside"}],
    }


@dataclass
class Clients:
    """Eight clients; `refused` is what they were told that was not about the API server itself."""

    plane: Plane
    made: int = 0
    refused: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    async def make(self, count: int, over: asyncio.Event) -> None:
        """Make so many pods, all of them; and some more, until it is over."""
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
        """Create a pod, however often it takes."""
        meta = {"name": name, "labels": _LABELS}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template("client")}
        lost = False
        while True:
            try:
                return await client.create(PODS, body)
            except KubeError as exc:
                if exc.status == 409 and lost:
                    # An API server that went away had stored it before it could say so.
                    return await client.get(f"{PODS}/{name}")
                lost = lost or isinstance(exc, KubeUnreachable)
                self._hear(exc)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _hear(self, exc: KubeError) -> None:
        if not isinstance(exc, KubeUnreachable) and _OURS.search(exc.message):
            self.refused.append(exc.message)
        else:
            self.away.add(f"{exc.status} {exc.reason} {exc.message}"[:200])


class Scaled:
    """A Deployment whose replicas grow."""

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

    async def grow(self, count: int, over: asyncio.Event) -> None:
        """Scale up in steps, and by one until it is over; wait until its controller has made every pod."""
        for step in range(_STEPS):
            await self._add(count // _STEPS + (count % _STEPS > step))
        while not over.is_set():
            await self._add(1)
            await asyncio.sleep(_LEISURE_SECONDS)

    async def _add(self, count: int) -> None:
        self.replicas += count
        body = {"spec": {"replicas": self.replicas}}

        async def told() -> bool:
            await self._admin.patch(DEPLOYMENT, body)
            return True

        async def grown() -> bool:
            status = (await self._admin.get(DEPLOYMENT)).get("status") or {}
            return bool(status.get("replicas", 0) == self.replicas)

        await until(told)
        await until(grown)

    async def refused(self) -> list[str]:
        """List what its controller was told when a pod could not be made."""
        events, _ = await self._admin.list(f"/api/v1/namespaces/{SPACE}/events")
        return [
            each["message"]
            for each in events
            if each.get("reason") == "FailedCreate" and _OURS.search(each["message"])
        ]


@dataclass
class Accounts:
    """The accounts whose client ids change, and when they did."""

    admin: KubeClient
    ids: list[tuple[float, str]] = field(default_factory=list)

    async def annotate(self, now: float) -> str:
        """Give both accounts another client id."""
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
        """List the ids that were right for a pod of this moment, or not longer ago than `lag`."""
        found = set()
        for number, (since, client_id) in enumerate(self.ids):
            until_when = self.ids[number + 1][0] if number + 1 < len(self.ids) else float("inf")
            # An API server stamps whole seconds.
            if since <= created + 1 and until_when + lag >= created:
                found.add(client_id)
        return found


def client_ids(pod: dict[str, Any]) -> set[str | None]:
    return {_env(each).get(names.ENV_CLIENT_ID) for each in pod["spec"]["containers"]}


def faults(pod: dict[str, Any], valid: set[str]) -> list[str]:
    """Say what a mutated pod lacks."""
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

"""The demo of an installed cloud: one pod of a namespace of its own reads a secret, and each step is shown.

The identity, the vault and the namespace have one generated name. All of them are removed at the end, also
after a failure or Ctrl-C.
"""

import asyncio
import json
import secrets
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import yaml

from podpass import names
from podpass.clock import Clock, rfc3339
from podpass.diagnose.trace.hop import Hop, parse_hop, select_hops
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.service_account.names import subject
from podpass.lab.install.rollout import find_pod
from podpass.lab.instance.queries import DEMO_PREFIX
from podpass.lab.names.injection import BundleNames
from podpass.lab.names.trust_objects import ENABLED, NAMESPACE_LABEL

Echo = Callable[[str], None]
Object = dict[str, Any]
RunInPod = Callable[[Sequence[str], bytes], Awaitable[str]]

_ACCOUNT, _POD, _CONTAINER, _SECRET = "web", "read-secret", "app", "greeting"
_VALUE = "hello from the vault"
_UID = 65532
_POLL_SECONDS = 0.25
_NOT_FOUND = 404
_WIDTH = 84


class CloudDemoFailed(Error):
    """A step of the demo failed."""

    code = "cloud_demo_failed"


@dataclass(slots=True, kw_only=True)
class CloudDemo:
    """One run of the demo.

    `run_in_pod` runs podpass in the cloud's pod; `image` has Python. Units: `timeout` is the seconds to wait
    for the pod.
    """

    client: KubeClient
    namespace: str
    image: str
    run_in_pod: RunInPod
    echo: Echo
    clock: Clock
    timeout: float

    async def run(self) -> None:
        """Run the demo, and remove everything that it has created. Raises CloudDemoFailed, KubeError."""
        name = f"{DEMO_PREFIX}{secrets.token_hex(3)}"
        try:
            await self._show(name)
        finally:
            # A cancellation of this task, as by Ctrl-C, must not interrupt the removal; a second one ends it.
            await asyncio.shield(asyncio.create_task(self._remove(name)))

    async def _show(self, name: str) -> None:
        since = rfc3339(self.clock())
        self.echo(f"namespace  {name}, with the label {NAMESPACE_LABEL}: {ENABLED}")
        await self.client.create("/api/v1/namespaces", build_namespace(name))
        seed = yaml.safe_dump(build_seed(name)).encode()
        command = ["apply", "-f", "-", "--stdin-bytes", str(len(seed)), "-o", "json"]
        await self.run_in_pod(command, seed)
        self.echo(f"seed       identity {name}, its federated credential, vault and role")
        listed = json.loads(await self.run_in_pod(["identity", "list", "-o", "json"], b""))
        client_id = next(str(each["client_id"]) for each in listed if each["name"] == name)
        path = f"/api/v1/namespaces/{name}"
        await self.client.create(f"{path}/serviceaccounts", build_account(name, client_id))
        pod = await self._create_pod(path, build_pod(name, self.image))
        self._show_admission(pod)
        phase = await self._wait_until_ended(f"{path}/pods/{_POD}")
        printed = await self.client.text(f"{path}/pods/{_POD}/log", {"container": _CONTAINER})
        steps = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        for step in steps:
            texts = {
                "assertion": "  assertion  {sub}\n             audience {aud}, issuer\n             {iss}",
                "name": "  name       {name} is {address}",
                "exchange": "  exchange   access token for {seconds} seconds",
                "resource": "  resource   the secret is: {value}",
            }
            if (text := texts.get(str(step.get("step")))) is not None:
                self.echo(text.format(**step))
        if phase != "Succeeded":
            last = (printed.strip().splitlines() or ["it printed nothing"])[-1]
            raise CloudDemoFailed(
                f"the pod ended with phase {phase}: {last}",
                hint="see `podpass cloud status` and `podpass explain`",
            )
        await self._show_hops(name, since)

    async def _create_pod(self, path: str, pod: Object) -> Object:
        """Create the pod; the controllers give a new namespace its account a moment later."""
        deadline = self.clock() + self.timeout
        while True:
            try:
                return await self.client.create(f"{path}/pods", pod)
            except KubeError as exc:
                if "serviceaccount" not in exc.message or self.clock() >= deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)

    def _show_admission(self, pod: Object) -> None:
        (container,) = (each for each in pod["spec"]["containers"] if each["name"] == _CONTAINER)
        found = [each["name"] for each in container.get("env") or ()]
        volumes = [each["name"] for each in pod["spec"].get("volumes") or ()]
        token = [each for each in volumes if each.startswith(names.VOLUME_PREFIX)]
        if not token:
            raise CloudDemoFailed(
                "the webhook for identities injected no token into the pod",
                hint="run `podpass cloud install` again; it installs the webhook if there is none",
            )
        if BundleNames().bundle not in volumes:
            raise CloudDemoFailed(
                "the trust webhook injected no CA into the pod",
                hint="run `podpass cloud install` again; it registers the webhook",
            )
        self.echo(f"pod        {_POD}, image {self.image}; it holds no secret")
        self.echo(f"  admission  {', '.join(each for each in found if each.startswith('AZURE_'))}")
        self.echo(f"             token volume, CA bundle at {BundleNames().mount_path}")

    async def _wait_until_ended(self, path: str) -> str:
        deadline, said = self.clock() + self.timeout, ""
        while True:
            pod = await self.client.get(path)
            phase = str((pod.get("status") or {}).get("phase", "Pending"))
            if phase in ("Succeeded", "Failed"):
                return phase
            said = _describe_waiting(pod) or said
            if self.clock() >= deadline:
                raise CloudDemoFailed(
                    f"the pod did not end within {self.timeout:.0f} seconds: {said or phase}",
                    hint="pass --image IMAGE: one with Python that the nodes have or can pull",
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _show_hops(self, name: str, since: str) -> None:
        """Print what the cloud has checked, from its log."""
        pod = await find_pod(self.client, self.namespace)
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        text = await self.client.text(path, {"container": "cloud", "sinceTime": since})
        hops = filter(None, map(parse_hop, text.encode().splitlines()))
        self.echo("\nThe cloud has checked:")
        for hop in select_hops(each for each in hops if _belongs_to(each, name)):
            self.echo(f"  {hop.stage:10} {hop.asked:58} {hop.took_ms:6.1f} ms")
            for line in textwrap.wrap(", ".join(hop.checked), _WIDTH - 13):
                self.echo(f"             {line}")

    async def _remove(self, name: str) -> None:
        """Remove namespace, identity and vault; each also if the removal of another fails."""
        removals = (
            partial(self._delete_namespace, name),
            partial(self.run_in_pod, ["cloud", "control", "remove-demo", name], b""),
        )
        try:
            done = await asyncio.gather(*(each() for each in removals), return_exceptions=True)
        except asyncio.CancelledError:
            self.echo(
                f"\ninterrupted: namespace, identity and vault {name} may be left; remove them with\n"
                f"kubectl delete namespace {name}; podpass cloud reset -n {self.namespace}\n"
                "reset also removes everything that was applied after the installation"
            )
            raise
        failures = [each for each in done if isinstance(each, BaseException)]
        if failures:
            raise failures[0]
        self.echo(f"\nremoved    namespace, identity and vault {name}")

    async def _delete_namespace(self, name: str) -> None:
        path = f"/api/v1/namespaces/{name}"
        try:
            await self.client.delete(path)
            deadline = self.clock() + self.timeout
            while self.clock() < deadline:
                await self.client.get(path)
                await asyncio.sleep(_POLL_SECONDS)
        except KubeError as exc:
            if exc.status != _NOT_FOUND:
                raise
            return
        raise CloudDemoFailed(
            f"namespace {name} still exists after {self.timeout:.0f} seconds",
            hint=f"run `kubectl get namespace {name} -o yaml`: its conditions name the cause",
        )


def _belongs_to(hop: Hop, name: str) -> bool:
    if hop.stage == "exchange":
        return hop.fact("sub") == subject(name, _ACCOUNT)
    return hop.stage == "resource" and hop.fact("vault") == name


def _describe_waiting(pod: Object) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()[:200]
    return ""


def build_seed(name: str) -> Object:
    """Build the seed: an identity that trusts the pod's ServiceAccount, and a vault that it may read."""
    credential = {"name": "demo", "issuer": "cluster", "subject": subject(name, _ACCOUNT)}
    identity = {"name": name, "federated_credentials": [credential]}
    access = {"identity": name, "role": "Key Vault Secrets User"}
    vault = {"name": name, "secrets": {_SECRET: _VALUE}, "access": [access]}
    return {"identities": [identity], "vaults": [vault]}


def build_namespace(name: str) -> Object:
    """Build the namespace, whose pods get the CA, with the restricted profile."""
    labels = {NAMESPACE_LABEL: ENABLED, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def build_account(namespace: str, client_id: str) -> Object:
    """Build the ServiceAccount of the pod."""
    metadata = {
        "name": _ACCOUNT,
        "namespace": namespace,
        "annotations": {names.CLIENT_ID: client_id},
    }
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def build_pod(namespace: str, image: str) -> Object:
    """Build the pod; it runs the text of `demo_pod`."""
    program = files("podpass.lab.install").joinpath("demo_pod.py").read_text()
    container = {
        "name": _CONTAINER,
        "image": image,
        "command": ["python", "-c", program, namespace, _SECRET],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    labels = {names.USE_LABEL: "true"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD, "namespace": namespace, "labels": labels},
        "spec": {
            "serviceAccountName": _ACCOUNT,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }

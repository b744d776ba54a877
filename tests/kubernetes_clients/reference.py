"""Runs the Go reference's webhook as a process: its objects, its files, its start and its stop.

The kubelet's part is done here: the keys of its Secret become files of its certificate folder.
"""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests import process_reaper
from tests.kubernetes_clients.command import CommandLineClient
from tests.ports import free_port
from tests.webhook_entries import build_entry

NAMESPACE = "azure-workload-identity-system"
SERVICE = f"{NAMESPACE}/azure-wi-webhook-webhook-service:443"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/azure-wi-webhook-server-cert"
HOOKS = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
    "azure-wi-webhook-mutating-webhook-configuration"
)
TENANT = "11111111-2222-3333-4444-555555555555"
LOG_LEVEL = "debug"
IMAGES = {
    "PROXY_IMAGE": "registry.example/proxy:v1",
    "PROXY_INIT_IMAGE": "registry.example/init:v1",
}
_ACCOUNT = "azure-wi-webhook-admin"
_READY_SECONDS = 120
_ALL = ["create", "delete", "get", "list", "patch", "update", "watch"]


def manifests() -> str:
    """Return the objects of its chart without the Deployment: exactly its own permissions."""
    about = {"name": "azure-wi-webhook-manager-role"}
    inside = {**about, "namespace": NAMESPACE}
    subjects = [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": NAMESPACE}]
    rbac = "rbac.authorization.k8s.io"
    hooks = "admissionregistration.k8s.io"
    secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": _ALL}
    accounts = {
        "apiGroups": [""],
        "resources": ["serviceaccounts"],
        "verbs": ["get", "list", "watch"],
    }
    own = {
        "apiGroups": [hooks],
        "resources": ["mutatingwebhookconfigurations"],
        "verbs": ["get", "list", "update", "watch"],
    }
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        _named("v1", "ServiceAccount", _ACCOUNT),
        _named("v1", "Secret", "azure-wi-webhook-server-cert"),
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": inside, "rules": [secrets]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": about,
            "rules": [accounts, own],
        },
        _binding("RoleBinding", "Role", inside, subjects),
        _binding("ClusterRoleBinding", "ClusterRole", about, subjects),
        _named("v1", "Service", "azure-wi-webhook-webhook-service")
        | {"spec": {"ports": [{"port": 443, "targetPort": 9443}], "selector": {"app": "webhook"}}},
        {
            "apiVersion": f"{hooks}/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": HOOKS.rpartition("/")[2]},
            "webhooks": [_hook()],
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _binding(kind: str, role: str, metadata: dict[str, str], subjects: Any) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    ref = {"apiGroup": group, "kind": role, "name": metadata["name"]}
    about = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata}
    return about | {"roleRef": ref, "subjects": subjects}


def _hook() -> dict[str, Any]:
    namespace, _, rest = SERVICE.partition("/")
    service = {"name": rest.partition(":")[0], "namespace": namespace, "path": "/mutate-v1-pod"}
    return build_entry(
        "mutation.azure-workload-identity.io",
        {"service": service},
        "pods",
        admissionReviewVersions=["v1", "v1beta1"],
        failurePolicy="Fail",
        objectSelector={"matchLabels": {"azure.workload.identity/use": "true"}},
        reinvocationPolicy="IfNeeded",
    )


class ReferenceWebhook:
    """The webhook's process and its certificate folder."""

    def __init__(self, binary: Path, live: Any, kubectl: CommandLineClient) -> None:
        self._binary, self._live, self._kubectl = binary, live, kubectl
        self._certificates = live.folder / "certificates"
        self._log: Path = live.folder / "reference.log"
        self._health = self._metrics = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._metrics}/metrics"

    async def install(self) -> None:
        """Apply its objects."""
        await self._kubectl("apply", "-f", "-", given=manifests())
        self._certificates.mkdir()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it with the token of its ServiceAccount, and stop it at the end."""
        token = (await self._kubectl("create", "token", "-n", NAMESPACE, _ACCOUNT)).strip()
        self._health, self._metrics = free_port(), free_port()
        command = [f"--webhook-cert-dir={self._certificates}", f"--log-level={LOG_LEVEL}"]
        command.append(f"--metrics-addr=127.0.0.1:{self._metrics}")
        command.append(f"--health-addr=127.0.0.1:{self._health}")
        environ = {"KUBECONFIG": str(self._kubeconfig(token)), "AZURE_TENANT_ID": TENANT}
        environ |= IMAGES | process_reaper.run_mark()
        environ |= {"POD_NAMESPACE": NAMESPACE, "PATH": os.defpath, "HOME": str(self._live.folder)}
        with self._log.open("wb") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                str(self._binary), *command, env=environ, stdout=log, stderr=log
            )
        mounting = asyncio.create_task(self._mount())
        try:
            yield
        finally:
            mounting.cancel()
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()

    def _kubeconfig(self, token: str) -> Path:
        config = yaml.safe_load(self._live.kubeconfig().read_text())
        config["users"][0]["user"] = {"token": token}
        path: Path = self._live.folder / "reference-kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    async def _mount(self) -> None:
        while True:
            found = await self._live.call("GET", SECRET)
            for name, text in (found.body.get("data") or {}).items():
                file, data = self._certificates / name, base64.b64decode(text)
                if not file.exists() or file.read_bytes() != data:
                    part = self._certificates / f".{name}"
                    part.write_bytes(data)
                    part.rename(file)
            await asyncio.sleep(0.2)

    async def ready(self) -> bool:
        """Wait until it is ready; return False if another process listens on its port."""
        url = f"http://127.0.0.1:{self._health}/readyz"
        async with aiohttp.ClientSession() as session:
            for _ in range(_READY_SECONDS * 5):
                with suppress(aiohttp.ClientError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return True
                if self._process is None or self._process.returncode is not None:
                    break
                await asyncio.sleep(0.2)
        if "address already in use" in self.log:
            return False
        raise AssertionError(f"the reference is not ready:\n{self.log[-4000:]}")

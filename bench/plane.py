"""The latency that a webhook adds to a pod's creation on a real API server: ours, the reference, and none.

    python -m bench plane

All three variants run at once, selected by a label, and alternate: the load of other programs affects all of
them equally. The added latency is the difference to a creation without a webhook in the same run. etcd writes
each pod to this machine's disk.
"""

import asyncio
import base64
import json
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trustme

from bench import admission, rows
from bench.peers.build import CannotBuild
from bench.peers.controlplane import VERSIONS
from bench.peers.kubernetes import assets
from podpass import names
from podpass.assertion.keys import KeyRing
from podpass.kubernetes.client import KubeClient
from podpass.lab.cluster.control_plane.plane import ControlPlane, ControlPlaneConfig
from podpass.lab.cluster.control_plane.programs import ASSETS, Programs, find
from podpass.lab.data import ca, kubeconfig
from podpass.lab.data.datadir import DataDir, initialise, prepare

COUNT, CLIENTS, ROUNDS = 1000, 8, 25
_NONE, _OURS = "none", "ours"
_LABEL = "example.com/way"
_PODS = "/api/v1/namespaces/default/pods"
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_ANY_CLIENT_ID = "00000000-0000-4000-8000-000000000001"
_ISSUER = "https://oidc.example/issuer/"

Took = Mapping[str, Sequence[float]]
"""Seconds of each pod, by way."""


def run() -> list[rows.Row]:
    """Measure and yield the rows of the table."""
    try:
        programs = find({**os.environ, ASSETS: str(assets(VERSIONS[0]))})
    except CannotBuild as exc:
        print(f"SKIPPED: pods through a real API server: {exc}", file=sys.stderr)
        return []
    return asyncio.run(_run(programs))


async def _run(programs: Programs) -> list[rows.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Controllers are not needed here and would use CPU time.
        async with (
            _api_server(folder / "data", replace(programs, controllers=None)) as config,
            KubeClient.from_kubeconfig(config) as admin,
            AsyncExitStack() as stack,
        ):
            ways = [_NONE, *await _webhooks(admin, folder, config, stack)]
            alone = await _create_sequentially(admin, ways)
            together = await _create_concurrently(admin, ways)
    return [*_rows("one after another", alone), *_rows(f"by {CLIENTS} clients", together)]


def _rows(how: str, took: Took) -> Iterator[rows.Row]:
    name = f"{COUNT:,} pods through kube-apiserver, {how}"
    bare = {part: value * 1000 for part, value in _figures(took[_NONE]).items()}
    for way in took.keys() - {_NONE, _OURS} or {""}:
        for part, base in bare.items():
            ours = _figures(took[_OURS])[part] * 1000
            shown = f"+{ours - base:.2f} ms on {base:.2f}"
            if not way:
                yield rows.row(f"{name}, added, {part}", shown, "no reference", None)
                continue
            its = _figures(took[way])[part] * 1000
            # A difference of a microsecond or less is noise.
            ratio = max(ours - base, 1e-3) / max(its - base, 1e-3)
            yield rows.row(f"{name}, added, {part}", shown, f"{way} +{its - base:.2f}", ratio)


def _figures(took: Sequence[float]) -> dict[str, float]:
    return {"p50": statistics.median(took), "p99": statistics.quantiles(took, n=100)[-1]}


# ------------------------------------------------------------------------------------------- pod creation


async def _create_sequentially(admin: KubeClient, ways: Sequence[str]) -> Took:
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(COUNT):
        for way in ways:
            took[way].append(await _create(admin, way))
    await admin.delete(_PODS)
    return took


async def _create_concurrently(admin: KubeClient, ways: Sequence[str]) -> Took:
    """Create pods with several clients at once, all with the same variant; the variants alternate."""
    took: dict[str, list[float]] = {way: [] for way in ways}

    async def client(way: str) -> None:
        for _ in range(COUNT // ROUNDS // CLIENTS):
            took[way].append(await _create(admin, way))

    for _ in range(ROUNDS):
        for way in ways:
            await asyncio.gather(*(client(way) for _ in range(CLIENTS)))
    await admin.delete(_PODS)
    return took


async def _create(admin: KubeClient, way: str) -> float:
    pod = _pod(way)
    began = time.perf_counter()
    made = await admin.create(_PODS, pod)
    took = time.perf_counter() - began
    if _is_mutated(made) != (way != _NONE):
        raise RuntimeError(f"a pod of {way} has wrong volumes: {made['spec']['volumes']}")
    return took


def _pod(way: str) -> dict[str, Any]:
    """Return the pod of the review that `bench.admission` sends."""
    pod: dict[str, Any] = json.loads(admission.review())["request"]["object"]
    pod["metadata"]["labels"] |= {_LABEL: _label(way)}
    del pod["metadata"]["managedFields"]
    return pod


def _label(way: str) -> str:
    return way.replace(" ", "-")


def _is_mutated(pod: Mapping[str, Any]) -> bool:
    return any("azure" in each["name"] for each in pod["spec"]["volumes"])


# ------------------------------------------------------------------------------------------- what is there


@asynccontextmanager
async def _api_server(place: Path, programs: Programs) -> AsyncIterator[Path]:
    """Run a real API server and yield its administrator's kubeconfig."""
    data_dir, port = DataDir(place), admission.free_port()
    prepare(data_dir)
    initialise(data_dir)
    ca.ensure_certificates(data_dir)
    kubeconfig.write_all(data_dir, f"https://127.0.0.1:{port}")
    KeyRing.open(data_dir.path("keys", "issuer"))
    config = ControlPlaneConfig(programs=programs, data_dir=data_dir, issuer=_ISSUER, port=port)
    async with ControlPlane(config):
        yield data_dir.admin_kubeconfig


async def _webhooks(
    admin: KubeClient, folder: Path, config: Path, stack: AsyncExitStack
) -> list[str]:
    """Start our webhook and, if it is available, the reference; register both and return their names."""
    about = {"name": "sa", "annotations": {names.CLIENT_ID: _ANY_CLIENT_ID}}
    await admin.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": about})
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
    pem = authority.cert_pem.bytes()
    place = admission.BenchEnvironment(
        folder=folder, core=None, tls=ssl.create_default_context(cadata=pem.decode())
    )
    servers = {_OURS: await stack.enter_async_context(admission.run_webhook(place, config))}
    if its := await stack.enter_async_context(admission.run_reference(place, config)):
        servers[admission.REFERENCE] = its
    for way, server in servers.items():
        await admin.create(_CONFIGURATIONS, _configuration(_label(way), server.port, pem))
    for way in servers:
        await _wait_until_called(admin, way)
    return list(servers)


def _configuration(way: str, port: int, authority: bytes) -> dict[str, Any]:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    webhook = {
        "name": names.WEBHOOK_NAME,
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}{names.WEBHOOK_PATH}",
            "caBundle": base64.b64encode(authority).decode(),
        },
        "rules": [rule],
        "objectSelector": {"matchLabels": {names.USE_LABEL: "true", _LABEL: way}},
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
    }
    return {"metadata": {"name": way}, "webhooks": [webhook]}


async def _wait_until_called(admin: KubeClient, way: str) -> None:
    for _ in range(200):
        if _is_mutated(await admin.create(_PODS, _pod(way), {"dryRun": "All"})):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the API server does not call the webhook of {way}")

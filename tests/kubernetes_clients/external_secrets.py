"""Runs the controllers of External Secrets as a process, with the permissions of their own chart."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from bench.peers.build import EXTERNAL_SECRETS, module_folder
from tests import process_reaper
from tests.kubernetes_clients.command import CommandLineClient

NAMESPACE = "external-secrets"
GROUP = "/apis/external-secrets.io/v1/namespaces/default"
CRDS = 20
# The webhook and the controller of its certificate only validate, and need a Service network.
VALUES = ("--set", "webhook.create=false,certController.create=false,installCRDs=false")


def copy_chart(folder: Path) -> Path:
    """Copy the chart of the module, with its CustomResourceDefinitions in `crds` as in its releases."""
    source = module_folder("external-secrets", EXTERNAL_SECRETS) / "deploy"
    chart = folder / "chart"
    shutil.copytree(source / "charts" / "external-secrets", chart, copy_function=shutil.copyfile)
    for path in (chart, *chart.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (chart / "crds").mkdir()
    shutil.copyfile(source / "crds" / "bundle.yaml", chart / "crds" / "bundle.yaml")
    # The chart has one dependency, which is off by default and is not on this machine.
    (chart / "Chart.lock").unlink()
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    del about["dependencies"]
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    return chart


def store(
    provider: dict[str, Any], name: str = "store", namespace: str = "default"
) -> dict[str, Any]:
    """Return a SecretStore with a provider."""
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"provider": provider},
    }


def external_secret(key: str, interval: str = "1h", namespace: str = "default") -> dict[str, Any]:
    """Return an ExternalSecret that copies one key of the store to the Secret `copied`."""
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "wanted", "namespace": namespace},
        "spec": {
            "refreshInterval": interval,
            "secretStoreRef": {"name": "store", "kind": "SecretStore"},
            "target": {"name": "copied"},
            "data": [{"secretKey": "value", "remoteRef": {"key": key}}],
        },
    }


def external_certificate(name: str) -> dict[str, Any]:
    """Return an ExternalSecret that copies a certificate with its views to the Secret `certificate`."""
    wanted = external_secret(name)
    wanted["metadata"]["name"] = "certificate"
    spec = wanted["spec"]
    spec["target"] = {"name": "certificate"}
    spec["data"] = [
        {"secretKey": kind, "remoteRef": {"key": f"{kind}/{name}"}}
        for kind in ("cert", "key", "secret")
    ]
    return wanted


def pushed_certificate(pem: str) -> list[dict[str, Any]]:
    """Return a Secret with a certificate and its key, and a PushSecret that imports them as `pushed`."""
    source = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "source", "namespace": "default"},
        "stringData": {"pem": pem},
    }
    match = {"secretKey": "pem", "remoteRef": {"remoteKey": "cert/pushed"}}
    push = {
        "apiVersion": "external-secrets.io/v1alpha1",
        "kind": "PushSecret",
        "metadata": {"name": "pushed", "namespace": "default"},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRefs": [{"name": "store", "kind": "SecretStore"}],
            "selector": {"secret": {"name": "source"}},
            "data": [{"match": match}],
        },
    }
    return [source, push]


@asynccontextmanager
async def controllers(
    binary: Path, kubectl: CommandLineClient, folder: Path, **environ: str
) -> AsyncIterator[Path]:
    """Run the controllers with the token of their ServiceAccount; yields their log."""
    token = await kubectl("create", "token", "-n", NAMESPACE, "external-secrets")
    config = yaml.safe_load(Path(kubectl.environ["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {"token": token.strip()}
    path, log = folder / "external-secrets-kubeconfig", folder / "external-secrets.log"
    path.write_text(yaml.safe_dump(config))
    variables = {"KUBECONFIG": str(path), "HOME": str(folder), "PATH": os.defpath}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(binary),
            "--metrics-addr=127.0.0.1:0",
            "--loglevel=debug",
            env=variables | process_reaper.run_mark() | environ,
            stdout=output,
            stderr=output,
        )
    try:
        yield log
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()

"""azure-workload-identity's own chart and program on an instance without the built-in webhook."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from bench.peers.build import CannotBuild, build_program, module_folder
from tests.journey.instance import started
from tests.ports import exclusive_port

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
_MODULE = "github.com/Azure/azure-workload-identity"
_NAMESPACE = "azure-workload-identity-system"
_PORT = 9443
# The program checks for its certificate at growing intervals: if the first checks fail, it takes 90 s.
_READY_SECONDS = 60


def test_chart_of_the_reference_mutates_pods_of_an_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of docs/operate/install.md."""
    try:
        helm, manager = build_program("helm"), build_program("azwi-webhook")
        chart = module_folder("azwi-webhook", _MODULE) / "charts" / "workload-identity-webhook"
    except CannotBuild as exc:
        pytest.skip(f"Helm or the reference's webhook: {exc}")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "manager").symlink_to(manager)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    with exclusive_port(_PORT), started(tmp_path, "--no-webhook") as instance:
        kubeconfig: Any = instance.status["kubernetes"]["kubeconfig"]
        tenant = instance.status["tenant_id"]
        began = time.monotonic()
        subprocess.run(
            [
                *(helm, "install", "workload-identity-webhook", chart),
                *("--kubeconfig", kubeconfig, "--namespace", _NAMESPACE, "--create-namespace"),
                *("--set", f"azureTenantID={tenant}", "--set", "replicaCount=1"),
                *("--wait", "--timeout", "180s"),
            ],
            check=True,
        )
        assert time.monotonic() - began < _READY_SECONDS
        hooks: Any = client.AdmissionregistrationV1Api(instance.kubernetes)
        [found] = hooks.list_mutating_webhook_configuration().items
        assert found.webhooks[0].client_config.service.namespace == _NAMESPACE
        assert instance.run_pod("reads", "web") == ("Succeeded", "hello\n")

"""Helm with charts of other projects: install, upgrade, roll back, `helm test`, uninstall."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import kubeling
from bench.peers.build import PODINFO, SEALED_SECRETS, module_folder
from tests.kubeling_peers.command import Command, link
from tests.kubeling_peers.test_go_suites import SEALED_SECRETS_SUITE, run_ginkgo
from tests.programs import built

_WAIT = ("--wait", "--timeout", "120s")


@pytest.fixture
def helm(command: Callable[..., Command]) -> Command:
    return command(built("helm"))


@pytest.fixture
def kubectl(command: Callable[..., Command]) -> Command:
    return command("kubectl")


def revisions(helm: Command, release: str) -> list[str]:
    return [each["status"] for each in json.loads(helm("history", release, "-o", "json").out)]


def ready_pods(kubectl: Command, name: str) -> int:
    pods = kubectl("get", "pods", "-l", f"app.kubernetes.io/name={name}", "-o", "json").out
    statuses = [each["status"] for each in json.loads(pods)["items"]]
    ready = {"type": "Ready", "status": "True"}
    return sum(any(ready.items() <= each.items() for each in s["conditions"]) for s in statuses)


def test_starter_chart_of_helm_create(helm: Command, kubectl: Command, tmp_path: Path) -> None:
    """The test of the chart is a pod with wget; it finds the Service by its name."""
    helm("create", tmp_path / "web")
    helm("install", "web", tmp_path / "web", *_WAIT)
    assert ready_pods(kubectl, "web") == 1
    assert "Phase:          Succeeded" in helm("test", "web", "--logs").out
    helm("upgrade", "web", tmp_path / "web", "--set", "replicaCount=2", *_WAIT)
    assert ready_pods(kubectl, "web") == 2
    helm("rollback", "web", "1", *_WAIT)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}").out == "1"
    assert revisions(helm, "web") == ["superseded", "superseded", "deployed"]
    helm("uninstall", "web", *_WAIT)
    assert (
        kubectl("get", "all", "-l", "app.kubernetes.io/instance=web", "-o", "name").out
        == "pod/web-test-connection\n"
    )


@pytest.fixture
def podinfo_chart(container_programs: Path) -> Path:
    for name in ("podinfo", "podcli", "grpc_health_probe"):
        link(built(name), container_programs)
    return module_folder("podinfo", PODINFO) / "charts/podinfo"


def test_chart_of_podinfo(helm: Command, kubectl: Command, podinfo_chart: Path) -> None:
    """The three tests of the chart use HTTP, gRPC and a token that the service issues."""
    two = ("--set", "replicaCount=2")
    helm("install", "info", podinfo_chart, *two, *_WAIT)
    assert ready_pods(kubectl, "info-podinfo") == 2
    assert helm("test", "info").out.count("Phase:          Succeeded") == 3
    greeting = ("--set", "ui.message=hello")
    helm("upgrade", "info", podinfo_chart, *two, *greeting, *_WAIT)
    service = "http://info-podinfo.default:9898/api/info"
    caller = ("run", "caller", "-qi", "--rm", "--restart=Never", "--image=curl", "--command", "--")
    assert json.loads(kubectl(*caller, "curl", "-s", service).out)["message"] == "hello"
    broken = ("--set", "faults.unready=true", "--atomic", "--timeout", "20s")
    helm("upgrade", "info", podinfo_chart, *two, *broken, code=1)
    assert revisions(helm, "info") == ["superseded", "superseded", "failed", "deployed"]
    helm("rollback", "info", "1", *_WAIT)
    assert json.loads(kubectl(*caller, "curl", "-s", service).out)["message"] != "hello"
    failing = ("--set", "faults.testFail=true")
    helm("upgrade", "info", podinfo_chart, *two, *failing, *_WAIT)
    assert "pod info-podinfo-fault-test" in helm("test", "info", code=1).err
    helm("uninstall", "info", *_WAIT)


def test_chart_of_sealed_secrets_and_its_suite(
    helm: Command,
    container_programs: Path,
    cluster: kubeling.Cluster,
    tmp_path: Path,
) -> None:
    """The controller runs in its chart; the integration tests of the project use it."""
    link(built("sealed-secrets"), container_programs, "controller")
    sources = module_folder("sealed-secrets", SEALED_SECRETS)
    chart = (sources / "helm/sealed-secrets", "-n", "kube-system")
    helm(
        "install",
        "sealed",
        *chart,
        *("--set", "fullnameOverride=sealed-secrets-controller"),
        *_WAIT,
    )
    passed, failures = run_ginkgo(
        built("sealed-secrets-suite"),
        sources / "integration",
        cluster.env(),
        tmp_path / "report.xml",
        f"-kubeconfig={cluster.kubeconfig}",
        f"-kubeseal-bin={built('kubeseal')}",
        f"-controller-bin={built('sealed-secrets')}",
    )
    SEALED_SECRETS_SUITE.check(passed, failures)
    helm("uninstall", "sealed", "-n", "kube-system", *_WAIT)

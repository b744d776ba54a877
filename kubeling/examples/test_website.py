"""Tests of the operator, with the fixtures of kubeling."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

import kubeling

FOLDER = Path(__file__).parent
WEBSITES = ("example.com", "v1")


@pytest.fixture(scope="module", autouse=True)
def operator_cluster(kubeling_cluster: kubeling.Cluster) -> None:
    """Connect the client with the cluster, and create the definition."""
    config.load_kube_config(str(kubeling_cluster.kubeconfig))
    definition = yaml.safe_load((FOLDER / "crd.yaml").read_text())
    definitions = client.ApiextensionsV1Api()
    definitions.create_custom_resource_definition(definition)
    name = definition["metadata"]["name"]
    eventually(lambda: is_established(definitions.read_custom_resource_definition(name)))


@pytest.fixture
def operator(kubeling_cluster: kubeling.Cluster, kubeling_namespace: str) -> Iterator[str]:
    """Run the operator for one namespace; return the namespace."""
    command = [sys.executable, FOLDER / "website.py", kubeling_namespace]
    with subprocess.Popen(command, env=kubeling_cluster.env()) as process:
        yield kubeling_namespace
        process.terminate()


def eventually(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until a check returns a true value; return the value."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "the condition does not hold"
        time.sleep(0.05)
    return found


def is_established(definition: Any) -> bool:
    conditions = definition.status.conditions or [] if definition.status else []
    return any(each.type == "Established" and each.status == "True" for each in conditions)


def website(namespace: str, **spec: Any) -> None:
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Website",
        "metadata": {"name": "blog"},
        "spec": spec,
    }
    client.CustomObjectsApi().create_namespaced_custom_object(
        *WEBSITES, namespace, "websites", body
    )


def ready(namespace: str) -> int:
    api = client.CustomObjectsApi()
    found = api.get_namespaced_custom_object(*WEBSITES, namespace, "websites", "blog")
    return int((found.get("status") or {}).get("ready") or 0)


def test_website_runs_and_reports_its_replicas(operator: str) -> None:
    website(operator, text="<h1>Hello</h1>", replicas=2)

    eventually(lambda: ready(operator) == 2)

    pods = client.CoreV1Api().list_namespaced_pod(operator, label_selector="website=blog").items
    assert len({pod.status.pod_ip for pod in pods}) == 2
    page = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec,
        pods[0].metadata.name,
        operator,
        command=["cat", "/site/index.html"],
        stdout=True,
    )
    assert page == "<h1>Hello</h1>"


def test_deployment_is_deleted_with_its_website(operator: str) -> None:
    website(operator, text="short")
    eventually(lambda: ready(operator) == 1)
    api = client.CustomObjectsApi()
    api.delete_namespaced_custom_object(*WEBSITES, operator, "websites", "blog")

    eventually(lambda: not client.AppsV1Api().list_namespaced_deployment(operator).items)
    eventually(lambda: not client.CoreV1Api().list_namespaced_pod(operator).items)


def test_website_with_a_wrong_field_is_refused(kubeling_namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        website(kubeling_namespace, text="x", replicas=9)

    assert refused.value.status == 422
    assert "maximum of 5" in refused.value.body

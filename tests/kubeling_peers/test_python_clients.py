"""The test suites of Python clients, from their source distributions, against kubeling."""

from pathlib import Path

import pytest

import kubeling
from tests.suites.python_suite import Suite

_SHIMS = str(Path(__file__).with_name("shims"))
_DD = """\
#!/bin/sh
exec /bin/dd $(echo "$@" | sed s,/usr/share/nginx/html/,,)
"""
_NO_CERTIFICATE = "the kubeconfig of kubeling has a token and no client certificate"
_EXCEPTION_GROUP = "the newest httpx-ws raises the expected ExecError in an ExceptionGroup"
_V1BETA1 = "it needs apiextensions.k8s.io/v1beta1, which Kubernetes 1.22 removed"
SUITES = (
    Suite(
        package="kr8s",
        extra=(
            *("kubernetes", "kubernetes-asyncio", "kubernetes-validate", "lightkube"),
            *("pykube-ng", "trio"),
        ),
        arguments=(
            *("-o", "addopts=", "-p", "pytest_kind", "--timeout=120", "kr8s"),
            # It expects that a pod is not ready directly after its creation; here it sometimes is.
            *("--deselect", "kr8s/tests/test_objects.py::test_pod_exec_not_ready"),
        ),
        passed=283,
        failed={
            "test_exec": _NO_CERTIFICATE,
            "test_certs_not_encoded": _NO_CERTIFICATE,
            "test_certs_on_disk[False]": _NO_CERTIFICATE,
            "test_certs_on_disk[True]": _NO_CERTIFICATE,
            "test_certs_with_encoded_line_breaks": _NO_CERTIFICATE,
            "test_cast_to_from_kubernetes": "the package kubernetes 37 has no `client.models.v1_pod`",
            "test_pod_exec_error": _EXCEPTION_GROUP,
            "test_pod_exec_to_file": _EXCEPTION_GROUP,
        },
    ),
    Suite(
        package="kubernetes",
        arguments=("-p", "kubernetes_e2e", "kubernetes/dynamic"),
        passed=16,
        failed={
            "test_async_namespaced_custom_resources": _V1BETA1,
            "test_cluster_custom_resources": _V1BETA1,
            "test_namespaced_custom_resources": _V1BETA1,
            "test_cache_decoder_resource_and_subresource": "it compares two objects of `Resource`, a class"
            " without equality",
        },
    ),
)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_suite_of_a_python_client(
    suite: Suite, cluster: kubeling.Cluster, container_programs: Path, tmp_path: Path
) -> None:
    """The image of nginx has a folder of its own; here it is the working directory of the container."""
    dd = container_programs / "dd"
    dd.write_text(_DD)
    dd.chmod(0o755)
    suite.run(cluster.env() | {"PYTHONPATH": _SHIMS}, tmp_path)

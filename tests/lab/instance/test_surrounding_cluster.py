"""The cluster of the cloud's pod: its issuer is that of the pod's own token."""

from pathlib import Path

import pytest
import trustme

from podpass.crypto import jose
from podpass.lab.cluster.backend import ClusterOperationRefused
from podpass.lab.instance.surrounding_cluster import (
    NoClusterToken,
    SurroundingCluster,
    find_cluster,
)

ENVIRON = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def token(claims: dict[str, object]) -> str:
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    return ".".join([*(jose.b64encode(jose.dumps(each)) for each in parts), "c2ln"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path


def test_issuer_is_that_of_the_token_and_the_server_that_of_the_pod(folder: Path) -> None:
    issuer = "https://kubernetes.default.svc.cluster.local"
    (folder / "token").write_text(token({"iss": issuer}) + "\n")
    found = find_cluster(ENVIRON, folder)
    assert found is not None
    assert (found.issuer, found.server) == (issuer, "https://10.96.0.1:443")
    assert (found.ca_file, found.token_file) == (folder / "ca.crt", folder / "token")


def test_process_outside_a_pod_has_no_cluster(folder: Path) -> None:
    assert find_cluster({}, folder) is None
    assert find_cluster(ENVIRON, folder / "absent") is None


@pytest.mark.parametrize(
    "text", ["", "a.b.c", token({"sub": "x"})], ids=["empty", "text", "no-iss"]
)
def test_token_without_an_issuer_is_refused_without_its_text(folder: Path, text: str) -> None:
    (folder / "token").write_text(text)
    with pytest.raises(NoClusterToken) as caught:
        find_cluster(ENVIRON, folder)
    assert text == "" or text not in caught.value.message


async def test_resource_manager_cannot_change_the_cluster() -> None:
    cluster = SurroundingCluster(None)
    with pytest.raises(ClusterOperationRefused) as caught:
        cluster.kubeconfig("x", "y", entra=False)
    assert caught.value.status == 501
    with pytest.raises(ClusterOperationRefused):
        await cluster.set_workload_identity(False)
    with pytest.raises(ClusterOperationRefused):
        await cluster.run_command("id", "")
    assert await cluster.command_result("0") is None
    with pytest.raises(ClusterOperationRefused):
        cluster.check_rotation()

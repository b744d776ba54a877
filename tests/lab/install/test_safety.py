"""Managed clusters are refused, because an installation changes DNS and pods."""

import pytest

from podpass.lab.install.safety import NotATestCluster, check_cluster, find_platform

KIND = "https://127.0.0.1:6443"


@pytest.mark.parametrize(
    ("server", "label", "platform"),
    [
        (KIND, "kubernetes.io/os", None),
        ("https://demo-dns-1a2b.hcp.westeurope.azmk8s.io:443", "kubernetes.io/os", "AKS"),
        ("https://ABC.gr7.eu-west-1.EKS.amazonaws.com", "kubernetes.io/os", "EKS"),
        (KIND, "kubernetes.azure.com/cluster", "AKS"),
        (KIND, "eks.amazonaws.com/nodegroup", "EKS"),
        (KIND, "cloud.google.com/gke-nodepool", "GKE"),
        (KIND, "node.openshift.io/os_id", "OpenShift"),
        ("https://azmk8s.io.example:6443", "kubernetes.io/os", None),
    ],
    ids=["kind", "aks-server", "eks-server", "aks", "eks", "gke", "openshift", "similar-name"],
)
def test_platform_is_found_by_server_and_node_labels(
    server: str, label: str, platform: str | None
) -> None:
    assert find_platform(server, [{}, {label: "x"}]) == platform


def test_managed_cluster_is_refused() -> None:
    with pytest.raises(NotATestCluster, match="is a cluster of GKE") as caught:
        check_cluster("prod", KIND, [{"cloud.google.com/gke-nodepool": "p"}], None)
    assert caught.value.hint is not None
    assert "--yes-this-cluster prod" in caught.value.hint


def test_managed_cluster_is_accepted_if_its_name_is_repeated() -> None:
    check_cluster("lab", KIND, [{"cloud.google.com/gke-nodepool": "p"}], "lab")


def test_wrong_name_is_refused_for_any_cluster() -> None:
    with pytest.raises(NotATestCluster, match="--yes-this-cluster lab is not the current context"):
        check_cluster("kind-kind", KIND, [], "lab")

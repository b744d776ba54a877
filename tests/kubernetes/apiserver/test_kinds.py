from typing import Any

import pytest

from podpass.kubernetes.apiserver import kinds, schema
from podpass.kubernetes.apiserver.kinds import KINDS
from tests.kubernetes.apiserver.recorded import step

GROUPS = {
    "core resources": "",
    "resources of coordination.k8s.io/v1": "coordination.k8s.io",
    "resources of rbac.authorization.k8s.io/v1": "rbac.authorization.k8s.io",
    "resources of admissionregistration.k8s.io/v1": "admissionregistration.k8s.io",
    "resources of authentication.k8s.io/v1": "authentication.k8s.io",
    "resources of authorization.k8s.io/v1": "authorization.k8s.io",
    "resources of apps/v1": "apps",
    "resources of batch/v1": "batch",
    "resources of policy/v1": "policy",
    "resources of discovery.k8s.io/v1": "discovery.k8s.io",
}


def discovered(group: str) -> Any:
    """Write the kinds of a group as discovery does."""
    for kind in KINDS:
        if kind.group != group:
            continue
        row = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
            "shortNames": list(kind.short_names),
            "categories": list(kind.categories),
            "storageVersionHash": kind.storage_hash,
        }
        yield {name: value for name, value in row.items() if value not in ([], "")}
        for part in kind.subresources:
            row = {
                "name": f"{kind.plural}/{part.name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "group": part.group,
                "version": part.version,
                "kind": part.kind,
                "verbs": list(part.verbs),
            }
            yield {
                name: value
                for name, value in row.items()
                if value or name not in ("group", "version")
            }


@pytest.mark.parametrize("title", GROUPS)
def test_what_is_served_is_described_as_a_real_server_describes_it(title: str) -> None:
    recorded = {each["name"]: each for each in step(title)["expect"]["body"]["resources"]}
    for row in discovered(GROUPS[title]):
        assert row == recorded[row["name"]]


@pytest.mark.parametrize("title", GROUPS)
def test_kinds_stand_in_the_order_of_discovery(title: str) -> None:
    recorded = [each["name"] for each in step(title)["expect"]["body"]["resources"]]
    ours = [row["name"] for row in discovered(GROUPS[title])]
    assert ours == [name for name in recorded if name in ours]


def test_a_kind_is_found_by_its_path_and_by_its_name() -> None:
    pods = kinds.find("", "v1", "pods")
    assert pods is not None
    assert kinds.named("Pod") is pods
    assert kinds.find("", "v1", "nopes") is None
    assert kinds.find("apps", "v1", "pods") is None


def test_a_kind_knows_its_names() -> None:
    lease = kinds.named("Lease")
    assert lease.api_version == "coordination.k8s.io/v1"
    assert lease.resource == "leases.coordination.k8s.io"
    assert lease.prefix == "/apis/coordination.k8s.io/v1"
    assert lease.list_kind == "LeaseList"
    assert kinds.named("Pod").prefix == "/api/v1"
    assert kinds.named("Pod").api_version == "v1"


def test_the_core_comes_first_among_groups() -> None:
    versions = kinds.group_versions()
    assert versions[0] == ("", "v1")
    assert len(versions) == len(set(versions))


def test_every_kind_and_subresource_has_a_type() -> None:
    for kind in KINDS:
        assert kind.kind in schema.types()
        for part in kind.subresources:
            assert part.kind in schema.types()


def test_a_kind_can_key_a_dictionary() -> None:
    assert {kind: kind.plural for kind in KINDS}[kinds.named("Node")] == "nodes"


def test_a_subresource_is_found_by_name() -> None:
    token = kinds.named("ServiceAccount").subresource("token")
    assert token is not None
    assert (token.group, token.kind) == ("authentication.k8s.io", "TokenRequest")
    assert kinds.named("Pod").subresource("nope") is None


def test_only_kinds_with_the_status_path_have_one() -> None:
    assert {kind.kind for kind in KINDS if kind.has_status} == {
        *("Namespace", "Node", "Pod", "Service", "PodDisruptionBudget", "CronJob", "Job"),
        *("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    }

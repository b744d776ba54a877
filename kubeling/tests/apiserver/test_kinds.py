from pathlib import Path
from typing import Any

import pytest

from kubeling.apiserver import kinds, release, schema
from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.kinds import KINDS
from kubeling.apiserver.release import UnknownRelease
from kubeling.apiserver.storage.storage import ObjectStore
from tests.apiserver.recorded import step

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
    """Return the kinds of a group as in discovery, of the oldest release: the recording is older."""
    for kind in kinds.built_in(release.RELEASES[-1]):
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
def test_discovery_equals_that_of_a_real_server(title: str) -> None:
    recorded = {each["name"]: each for each in step(title)["expect"]["body"]["resources"]}
    for row in discovered(GROUPS[title]):
        assert row == recorded[row["name"]]


@pytest.mark.parametrize("title", GROUPS)
def test_kinds_are_in_the_order_of_discovery(title: str) -> None:
    recorded = [each["name"] for each in step(title)["expect"]["body"]["resources"]]
    ours = [row["name"] for row in discovered(GROUPS[title])]
    assert ours == [name for name in recorded if name in ours]


def test_kind_is_found_by_path_and_by_name() -> None:
    pods = kinds.find_kind("", "v1", "pods")
    assert pods is not None
    assert kinds.kind_by_name("Pod") is pods
    assert kinds.find_kind("", "v1", "nopes") is None
    assert kinds.find_kind("apps", "v1", "pods") is None


def test_kind_has_its_api_version_resource_prefix_and_list_kind() -> None:
    lease = kinds.kind_by_name("Lease")
    assert lease.api_version == "coordination.k8s.io/v1"
    assert lease.resource == "leases.coordination.k8s.io"
    assert lease.prefix == "/apis/coordination.k8s.io/v1"
    assert lease.list_kind == "LeaseList"
    assert kinds.kind_by_name("Pod").prefix == "/api/v1"
    assert kinds.kind_by_name("Pod").api_version == "v1"


def test_core_group_is_first() -> None:
    versions = kinds.group_versions()
    assert versions[0] == ("", "v1")
    assert len(versions) == len(set(versions))


@pytest.mark.parametrize("name", release.RELEASES)
def test_every_kind_and_subresource_has_a_type(name: str) -> None:
    ServedKinds(ObjectStore(Path("unused")), name)
    for kind in kinds.built_in(name):
        assert kind.schema_name in schema.types()
        for part in kind.subresources:
            assert part.kind in schema.types()


def test_kind_is_hashable() -> None:
    assert {kind: kind.plural for kind in KINDS}[kinds.kind_by_name("Node")] == "nodes"


def test_subresource_is_found_by_name() -> None:
    token = kinds.kind_by_name("ServiceAccount").subresource("token")
    assert token is not None
    assert (token.group, token.kind) == ("authentication.k8s.io", "TokenRequest")
    assert kinds.kind_by_name("Pod").subresource("nope") is None


def test_only_kinds_with_a_status_subresource_have_one() -> None:
    with_status = {kind.kind for kind in KINDS if kind.has_status}
    assert {"Namespace", "Pod", "Ingress", "PersistentVolumeClaim"} <= with_status
    assert not {"ConfigMap", "Secret", "Role", "StorageClass", "Lease"} & with_status


def test_versions_of_a_kind_have_their_own_types() -> None:
    autoscaler = {kind.version: kind for kind in KINDS if kind.kind == "HorizontalPodAutoscaler"}
    assert kinds.kind_by_name("HorizontalPodAutoscaler") is autoscaler["v2"]
    assert "metrics" in schema.types()["HorizontalPodAutoscalerSpec"]
    own = schema.types()[autoscaler["v1"].schema_name]["spec"]
    assert "targetCPUUtilizationPercentage" in schema.types()[own]


def test_unknown_release_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownRelease) as refused:
        kinds.built_in("1.2")
    assert all(name in refused.value.hint for name in release.RELEASES)

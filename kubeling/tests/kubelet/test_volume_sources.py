"""The files of volumes."""

import base64
from typing import Any

import pytest

from kubeling.kubelet.downward_api import NodeInfo
from kubeling.kubelet.token_manager import TokenProjection
from kubeling.kubelet.volume_sources import (
    VolumeError,
    VolumeInputs,
    referenced_objects,
    render_files,
    sources_by_kind,
    token_projections,
)

NODE = NodeInfo(
    name="node", address="127.0.0.1", pod_address="127.64.0.9", cpu="2", memory="1000Ki"
)
MAP = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\x00").decode()}}
SECRET = {"data": {"key": base64.b64encode(b"hush").decode()}}


def files_of(volume: dict[str, Any], found: Any = None, tokens: Any = None, **spec: Any) -> Any:
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "m"}], **spec},
    }
    inputs = VolumeInputs(pod=pod, found=found or {}, tokens=tokens or {}, node=NODE)
    return {path: (f.data, f.mode) for path, f in render_files(volume, inputs).items()}


def test_config_map_has_one_file_per_key() -> None:
    volume = {"name": "v", "configMap": {"name": "o", "defaultMode": 0o640}}
    assert files_of(volume, {("configmap", "o"): MAP}) == {
        "a": (b"1", 0o640),
        "b": (b"2", 0o640),
        "c": (b"\x00", 0o640),
    }


def test_items_select_keys_with_paths_and_modes() -> None:
    items = [{"key": "key", "path": "deep/k", "mode": 0o400}]
    volume = {"name": "v", "secret": {"secretName": "s", "items": items}}
    assert files_of(volume, {("secret", "s"): SECRET}) == {"deep/k": (b"hush", 0o400)}


def test_a_missing_object_or_key_is_an_error_unless_it_is_optional() -> None:
    volume: dict[str, Any] = {"name": "v", "secret": {"secretName": "s"}}
    with pytest.raises(VolumeError) as caught:
        files_of(volume, {("secret", "s"): None})
    assert caught.value.message == 'secret "s" not found'
    volume["secret"]["items"] = [{"key": "no", "path": "no"}]
    with pytest.raises(VolumeError) as caught:
        files_of(volume, {("secret", "s"): SECRET})
    assert caught.value.message == "references non-existent secret key: no"
    volume["secret"]["optional"] = True
    assert files_of(volume, {("secret", "s"): SECRET}) == {}
    assert files_of(volume, {("secret", "s"): None}) == {}


def test_projected_volume_has_the_files_of_all_sources() -> None:
    token = {"audience": "aud", "expirationSeconds": 600, "path": "token"}
    fields = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    volume = {
        "name": "v",
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                {"serviceAccountToken": token},
                {"configMap": {"name": "o", "items": [{"key": "a", "path": "a"}]}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {"items": fields}},
            ],
        },
    }
    projection = TokenProjection(audience="aud", seconds=600, path="token")
    assert token_projections(volume) == [projection]
    assert referenced_objects(volume) == {("configmap", "o"), ("secret", "s")}
    found = {("configmap", "o"): MAP, ("secret", "s"): SECRET}
    assert files_of(volume, found, {projection: b"jwt"}) == {
        "token": (b"jwt", 0o444),
        "a": (b"1", 0o444),
        "key": (b"hush", 0o444),
        "labels": (b'app="shop"', 0o444),
    }


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        ({}, 0o644),
        ({"securityContext": {"fsGroup": 0}}, 0o600),
        ({"securityContext": {"runAsUser": 1000}}, 0o600),
        (
            {"containers": [{"name": "m"}, {"name": "n", "securityContext": {"runAsUser": 1}}]},
            0o644,
        ),
        ({"containers": [{"name": "m", "securityContext": {"runAsUser": 1}}]}, 0o600),
    ],
)
def test_token_is_private_if_the_user_of_the_pod_is_known(spec: dict[str, Any], mode: int) -> None:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    [projection] = token_projections(volume)
    assert (projection.audience, projection.seconds) == ("", 3600)
    assert files_of(volume, None, {projection: b"jwt"}, **spec) == {"t": (b"jwt", mode)}


def test_cluster_trust_bundle_is_refused_with_its_name() -> None:
    source = {"clusterTrustBundle": {"name": "b", "path": "p"}}
    with pytest.raises(VolumeError) as caught:
        files_of({"name": "v", "projected": {"sources": [source]}})
    assert "clusterTrustBundle is not supported" in caught.value.message


def test_unknown_downward_api_field_is_an_error() -> None:
    items = [{"path": "x", "fieldRef": {"fieldPath": "spec.x"}}]
    with pytest.raises(VolumeError):
        files_of({"name": "v", "downwardAPI": {"items": items}})


def test_empty_dir_has_no_sources() -> None:
    assert sources_by_kind({"name": "v", "emptyDir": {}}) == []

"""What volumes hold."""

import base64
from typing import Any

import pytest

from podpass.kubernetes.kubelet.downward_api import NodeFacts
from podpass.kubernetes.kubelet.token_manager import Wanted
from podpass.kubernetes.kubelet.volume_sources import (
    Material,
    VolumeError,
    parts,
    render,
    sources,
    wanted_tokens,
)

NODE = NodeFacts(name="node", address="127.0.0.1", cpu="2", memory="1000Ki")
MAP = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": base64.b64encode(b"\x00").decode()}}
SECRET = {"data": {"key": base64.b64encode(b"hush").decode()}}


def made(volume: dict[str, Any], found: Any = None, tokens: Any = None, **spec: Any) -> Any:
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "shop"}},
        "spec": {"containers": [{"name": "m"}], **spec},
    }
    material = Material(pod=pod, found=found or {}, tokens=tokens or {}, node=NODE)
    return {path: (f.data, f.mode) for path, f in render(volume, material).items()}


def test_a_config_map_gives_a_file_a_key() -> None:
    volume = {"name": "v", "configMap": {"name": "o", "defaultMode": 0o640}}
    assert made(volume, {("configmap", "o"): MAP}) == {
        "a": (b"1", 0o640),
        "b": (b"2", 0o640),
        "c": (b"\x00", 0o640),
    }


def test_items_choose_rename_and_set_modes() -> None:
    items = [{"key": "key", "path": "deep/k", "mode": 0o400}]
    volume = {"name": "v", "secret": {"secretName": "s", "items": items}}
    assert made(volume, {("secret", "s"): SECRET}) == {"deep/k": (b"hush", 0o400)}


def test_a_missing_object_or_key_is_an_error_unless_it_is_optional() -> None:
    volume: dict[str, Any] = {"name": "v", "secret": {"secretName": "s"}}
    with pytest.raises(VolumeError) as caught:
        made(volume, {("secret", "s"): None})
    assert caught.value.message == 'secret "s" not found'
    volume["secret"]["items"] = [{"key": "no", "path": "no"}]
    with pytest.raises(VolumeError) as caught:
        made(volume, {("secret", "s"): SECRET})
    assert caught.value.message == "references non-existent secret key: no"
    volume["secret"]["optional"] = True
    assert made(volume, {("secret", "s"): SECRET}) == {}
    assert made(volume, {("secret", "s"): None}) == {}


def test_a_projected_volume_joins_its_sources() -> None:
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
    wanted = Wanted(audience="aud", seconds=600, path="token")
    assert wanted_tokens(volume) == [wanted]
    assert sources(volume) == {("configmap", "o"), ("secret", "s")}
    found = {("configmap", "o"): MAP, ("secret", "s"): SECRET}
    assert made(volume, found, {wanted: b"jwt"}) == {
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
def test_a_token_is_private_where_its_reader_is_known(spec: dict[str, Any], mode: int) -> None:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    [wanted] = wanted_tokens(volume)
    assert (wanted.audience, wanted.seconds) == ("", 3600)
    assert made(volume, None, {wanted: b"jwt"}, **spec) == {"t": (b"jwt", mode)}


def test_a_trust_bundle_is_refused_by_name() -> None:
    source = {"clusterTrustBundle": {"name": "b", "path": "p"}}
    with pytest.raises(VolumeError) as caught:
        made({"name": "v", "projected": {"sources": [source]}})
    assert "clusterTrustBundle is not supported" in caught.value.message


def test_a_downward_field_nobody_knows_is_an_error() -> None:
    items = [{"path": "x", "fieldRef": {"fieldPath": "spec.x"}}]
    with pytest.raises(VolumeError):
        made({"name": "v", "downwardAPI": {"items": items}})


def test_other_volumes_have_no_parts() -> None:
    assert parts({"name": "v", "emptyDir": {}}) == []

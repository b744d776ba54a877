"""The environment and the command line of a container."""

import base64
from typing import Any

import pytest

from kubeling.kubelet.downward_api import (
    NodeInfo,
    UnknownField,
    read_pod_field,
)
from kubeling.kubelet.environment import (
    ConfigError,
    api_server_service,
    build_command_line,
    build_variables,
    expand,
    referenced_objects,
    service_variables,
)
from kubeling.kubelet.images import ImageConfig

NODE = NodeInfo(
    name="node", address="127.0.0.1", pod_address="127.64.0.9", cpu="2", memory="1000Ki"
)


def secret(**data: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


def pod(*containers: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", **meta},
        "spec": {"containers": list(containers), "serviceAccountName": "web"},
    }


def build(container: dict[str, Any], found: Any = None, **meta: Any) -> dict[str, str]:
    container = {"name": "m", **container}
    return build_variables(container, pod(container, **meta), found or {}, NODE, {"SVC": "s"})


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$(A", "$(A"),
        ("$A $ $", "$A $ $"),
        ("$", "$"),
        ("$$", "$"),
        ("$()", "$()"),
        ("$(A$(B))", "$(A$(B))"),
        ("", ""),
    ],
)
def test_variables_are_expanded_as_in_kubernetes(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


def test_variable_expands_only_earlier_variables() -> None:
    env = [
        {"name": "EARLY", "value": "$(LATE)-$(SVC)"},
        {"name": "LATE", "value": "x"},
        {"name": "AFTER", "value": "$(LATE)"},
    ]
    assert build({"env": env}) == {
        "SVC": "s",
        "EARLY": "$(LATE)-s",
        "LATE": "x",
        "AFTER": "x",
    }


class SearchedText(str):
    """A text that counts its searches."""

    searches = 0

    def find(self, *args: Any) -> int:
        SearchedText.searches += 1
        return str.find(self, *args)


def test_unclosed_variable_reference_is_searched_once() -> None:
    """Fails if each `$(` of a long value searches the rest of it."""
    for part in ("$(", "$a"):
        SearchedText.searches = 0
        assert expand(SearchedText(part * 1000), {}) == part * 1000
        assert SearchedText.searches <= 1001
    assert expand(SearchedText("$(A)$("), {"A": "1"}) == "1$("


def test_exponential_variable_expansion_is_refused() -> None:
    env = [{"name": "V0", "value": "x" * 1000}]
    env += [{"name": f"V{at}", "value": f"$(V{at - 1})" * 2} for at in range(1, 40)]
    with pytest.raises(ConfigError, match="longer than"):
        build({"env": env})


def test_one_key_of_a_secret_decodes_only_that_key() -> None:
    """Fails if each of many references decodes a whole secret; the other key is not base64."""
    found = {("secret", "s"): {"data": {"a": "eA==", "b": "not base64"}}}
    reference = {"secretKeyRef": {"name": "s", "key": "a"}}
    assert build({"env": [{"name": "A", "valueFrom": reference}]}, found)["A"] == "x"


def test_env_overrides_env_from_and_later_sources_override_earlier() -> None:
    found = {
        ("configmap", "a"): {"data": {"X": "1", "Y": "1"}},
        ("secret", "b"): secret(Y="2", Z="2"),
    }
    container = {
        "envFrom": [
            {"configMapRef": {"name": "a"}},
            {"prefix": "P_", "secretRef": {"name": "b"}},
            {"secretRef": {"name": "b"}},
        ],
        "env": [{"name": "Z", "value": "own"}],
    }
    assert build(container, found) == {
        "SVC": "s",
        "X": "1",
        "Y": "2",
        "P_Y": "2",
        "P_Z": "2",
        "Z": "own",
    }


def test_all_referenced_objects_are_returned() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
        "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
            {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "d", "key": "k"}}},
            {"name": "Z", "value": "plain"},
        ],
    }
    assert referenced_objects(container) == {
        *{("configmap", "a"), ("secret", "b"), ("configmap", "c"), ("secret", "d")}
    }


@pytest.mark.parametrize("field", ["configMapKeyRef", "secretKeyRef"])
def test_a_missing_object_or_key_is_an_error_unless_it_is_optional(field: str) -> None:
    reference = {"name": "o", "key": "k"}
    container = {"env": [{"name": "X", "valueFrom": {field: reference}}]}
    kind = "secret" if field.startswith("secret") else "configmap"
    with pytest.raises(ConfigError) as caught:
        build(container, {(kind, "o"): None})
    assert caught.value.message == f'{kind} "o" not found'
    with pytest.raises(ConfigError) as caught:
        build(container, {(kind, "o"): {"data": {}}})
    assert "couldn't find key k in" in caught.value.message
    optional = {"env": [{"name": "X", "valueFrom": {field: {**reference, "optional": True}}}]}
    assert "X" not in build(optional, {(kind, "o"): None})
    assert "X" not in build(optional, {(kind, "o"): {"data": {}}})


def test_a_missing_env_from_is_an_error_unless_it_is_optional() -> None:
    with pytest.raises(ConfigError):
        build({"envFrom": [{"configMapRef": {"name": "a"}}]}, {("configmap", "a"): None})
    optional = {"envFrom": [{"configMapRef": {"name": "a", "optional": True}}]}
    assert build(optional, {("configmap", "a"): None}) == {"SVC": "s"}


def test_value_of_a_secret_is_not_in_the_error() -> None:
    container = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "o", "key": "k"}}}]}
    with pytest.raises(ConfigError) as caught:
        build(container, {("secret", "o"): secret(other="hush")})
    assert "hush" not in caught.value.message + repr(caught.value.facts)


def test_command_replaces_the_image_and_args_replace_its_command() -> None:
    values = {"A": "1"}
    both = {"command": ["run", "$(A)"], "args": ["$(B)", "$$x"]}
    image = ImageConfig(entrypoint=("entry", "first"), command=("default",))
    assert build_command_line(both, values, image) == ["run", "1", "$(B)", "$x"]
    assert build_command_line({"command": ["run"]}, values, image) == ["run"]
    assert build_command_line({"args": ["a"]}, values, image) == ["entry", "first", "a"]
    assert build_command_line({}, values, image) == ["entry", "first", "default"]
    with pytest.raises(ConfigError):
        build_command_line({}, values, ImageConfig())


def test_service_variables_have_the_address_of_the_api_server() -> None:
    assert service_variables([api_server_service("https://127.0.0.1:6443")]) == {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
        "KUBERNETES_PORT": "tcp://127.0.0.1:6443",
        "KUBERNETES_PORT_6443_TCP": "tcp://127.0.0.1:6443",
        "KUBERNETES_PORT_6443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_6443_TCP_PORT": "6443",
        "KUBERNETES_PORT_6443_TCP_ADDR": "127.0.0.1",
    }
    remote = service_variables([api_server_service("https://k.example")])
    assert remote["KUBERNETES_SERVICE_PORT"] == "443"


def service(name: str, address: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": list(ports)}}


def test_service_variables_of_several_ports_are_those_of_the_kubelet() -> None:
    ports = ({"name": "p", "port": 80}, {"name": "my-dns", "port": 53, "protocol": "UDP"})
    assert service_variables([service("foo-bar", "fd00::1", *ports)]) == {
        "FOO_BAR_SERVICE_HOST": "fd00::1",
        "FOO_BAR_SERVICE_PORT": "80",
        "FOO_BAR_SERVICE_PORT_P": "80",
        "FOO_BAR_SERVICE_PORT_MY_DNS": "53",
        "FOO_BAR_PORT": "tcp://[fd00::1]:80",
        "FOO_BAR_PORT_80_TCP": "tcp://[fd00::1]:80",
        "FOO_BAR_PORT_80_TCP_PROTO": "tcp",
        "FOO_BAR_PORT_80_TCP_PORT": "80",
        "FOO_BAR_PORT_80_TCP_ADDR": "fd00::1",
        "FOO_BAR_PORT_53_UDP": "udp://[fd00::1]:53",
        "FOO_BAR_PORT_53_UDP_PROTO": "udp",
        "FOO_BAR_PORT_53_UDP_PORT": "53",
        "FOO_BAR_PORT_53_UDP_ADDR": "fd00::1",
    }


@pytest.mark.parametrize("address", ["", "None"])
def test_service_without_an_address_has_no_variables(address: str) -> None:
    assert service_variables([service("headless", address, {"port": 80})]) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("spec.nodeName", "node"),
        ("spec.serviceAccountName", "web"),
        ("status.podIP", "127.64.0.9"),
        ("status.hostIP", "127.0.0.1"),
        ("metadata.labels['app']", "shop"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a/b']", 'say "hi"\n'),
        ("metadata.labels", 'app="shop"\nzone="a"'),
        ("metadata.annotations", 'a/b="say \\"hi\\"\\n"'),
    ],
)
def test_pod_field_is_read_by_its_path(path: str, value: str) -> None:
    item = pod(labels={"zone": "a", "app": "shop"}, annotations={"a/b": 'say "hi"\n'})
    assert read_pod_field(item, path, NODE) == value


def test_unknown_field_is_refused() -> None:
    with pytest.raises(UnknownField):
        read_pod_field(pod(), "spec.containers", NODE)
    with pytest.raises(ConfigError):
        build({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]})


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "250"),
        ("requests.memory", "1Mi", "64"),
        ("requests.memory", None, "67108864"),
        ("limits.memory", "1Ki", "1000"),
        ("requests.cpu", "1m", "250"),
        ("requests.ephemeral-storage", None, "0"),
        ("limits.memory", "1e999999999", "1"),
        ("limits.huge", "1", str(2**63 - 1)),
    ],
)
def test_resource_field_is_rounded_up_to_the_divisor(
    resource: str, divisor: str | None, value: str
) -> None:
    reference = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    container = {
        "resources": {
            "limits": {"cpu": "250m", "huge": "1e999999999"},
            "requests": {"memory": "64Mi"},
        },
        "env": [{"name": "X", "valueFrom": {"resourceFieldRef": reference}}],
    }
    assert build(container)["X"] == value

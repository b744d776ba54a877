"""The migration sidecar: the position of its containers, native or not, and pods that already have them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.admission.sidecar import UnknownVersion, supports_native_sidecars
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
PROXY = {names.INJECT_PROXY: "true", names.PROXY_PORT: "9000"}


def _names(spec: dict[str, Any], group: str) -> list[str]:
    return [container["name"] for container in spec.get(group, [])]


@pytest.fixture
def settings_without_native_sidecars(settings: WebhookSettings) -> WebhookSettings:
    return dataclasses.replace(settings, native_sidecar=False)


def test_native_sidecars_are_first_and_last_init_container(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(PROXY, initContainers=[{"name": "one"}, {"name": "two"}])
    spec = mutate_and_apply(pod, mutate_pod(pod))["spec"]
    assert _names(spec, "initContainers") == ["azwi-proxy", "one", "two", "azwi-proxy-init"]
    assert _names(spec, "containers") == ["web"]
    assert spec["initContainers"][0]["restartPolicy"] == "Always"


@pytest.mark.parametrize("init", [{}, {"initContainers": [{"name": "one"}]}])
def test_without_native_sidecars_the_proxy_is_the_first_container(
    mutate_pod: Function,
    mutate_and_apply: Function,
    make_pod: Function,
    settings_without_native_sidecars: WebhookSettings,
    init: dict[str, Any],
) -> None:
    pod = make_pod(PROXY, **init)
    spec = mutate_and_apply(pod, mutate_pod(pod, {}, settings_without_native_sidecars))["spec"]
    assert _names(spec, "containers") == ["azwi-proxy", "web"]
    assert _names(spec, "initContainers")[-1] == "azwi-proxy-init"
    assert "restartPolicy" not in spec["containers"][0]
    assert (
        mutate_pod(
            mutate_and_apply(pod, mutate_pod(pod, {}, settings_without_native_sidecars)),
            {},
            settings_without_native_sidecars,
        )
        == []
    )


def test_proxy_port_and_log_level_are_set_in_all_parts(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    pod = make_pod(PROXY)
    loud = dataclasses.replace(settings, log_level="debug")
    proxy, init = mutate_and_apply(pod, mutate_pod(pod, {}, loud))["spec"]["initContainers"]
    assert proxy["args"] == ["--proxy-port=9000", "--log-level=debug"]
    assert proxy["ports"] == [{"containerPort": 9000}]
    command = proxy["lifecycle"]["postStart"]["exec"]["command"]
    assert command == ["/proxy", "--proxy-port=9000", "--probe", "--log-level=debug"]
    assert init["env"][0] == {"name": "PROXY_PORT", "value": "9000"}
    assert (proxy["image"], init["image"]) == ("proxy:test", "proxy-init:test")


def test_only_the_proxy_init_container_is_privileged(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(PROXY)
    proxy, init = mutate_and_apply(pod, mutate_pod(pod))["spec"]["initContainers"]
    assert proxy["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert init["securityContext"]["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}
    assert init["securityContext"]["privileged"] is True


def test_proxy_init_container_can_run_without_privilege(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    pod = make_pod(PROXY)
    unprivileged = dataclasses.replace(settings, proxy_init_privileged=False)
    init = mutate_and_apply(pod, mutate_pod(pod, {}, unprivileged))["spec"]["initContainers"][-1]
    assert init["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
        "privileged": False,
        "runAsNonRoot": False,
        "runAsUser": 0,
    }


@pytest.mark.parametrize("present", ["azwi-proxy", "azwi-proxy-init"])
def test_existing_proxy_container_is_injected_and_not_duplicated(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, present: str
) -> None:
    pod = make_pod(PROXY, initContainers=[{"name": present, "image": "own"}])
    spec = mutate_and_apply(pod, mutate_pod(pod))["spec"]
    assert sorted(_names(spec, "initContainers")) == ["azwi-proxy", "azwi-proxy-init"]
    own = next(c for c in spec["initContainers"] if c["name"] == present)
    assert own["image"] == "own"
    assert own["volumeMounts"][0]["mountPath"] == names.MOUNT_PATH


def test_skipped_proxy_gets_no_token(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    pod = make_pod(PROXY | {names.SKIP_CONTAINERS: "azwi-proxy;azwi-proxy-init"})
    proxy, init = mutate_and_apply(pod, mutate_pod(pod))["spec"]["initContainers"]
    assert "env" not in proxy
    assert "volumeMounts" not in proxy
    assert init["env"] == [{"name": "PROXY_PORT", "value": "9000"}]


@pytest.mark.parametrize(
    ("version", "native"),
    [
        ("v1.31.9", False),
        ("v1.32.0", True),
        ("v1.32.0-alpha.1", True),
        ("v1.34.4+k3s1", True),
        ("1.40.0", True),
        ("v2.0.0", True),
        ("v0.99.0", False),
    ],
)
def test_sidecars_are_native_from_1_32_on(version: str, native: bool) -> None:
    assert supports_native_sidecars(version) is native


@pytest.mark.parametrize("version", ["", "v1", "v1.32", "latest", "v\u0661.32.0"])
def test_invalid_version_is_an_error(version: str) -> None:
    with pytest.raises(UnknownVersion) as caught:
        supports_native_sidecars(version)
    assert caught.value.facts == {"version": version}

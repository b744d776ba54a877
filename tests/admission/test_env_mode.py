"""The mode `env` of the migration sidecar: variables instead of a redirection, and no privilege."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.account.model import EnvModeUnavailable
from podpass.admission.sidecar import ENDPOINT_VARIABLES
from podpass.settings import WebhookSettings
from podpass.settings.webhook import REFERENCE_PROXY_IMAGE

Function = Callable[..., Any]
Spec = dict[str, Any]
PROXY = {names.INJECT_PROXY: "true", names.PROXY_PORT: "9000"}
ENV = PROXY | {names.PROXY_MODE: "env"}
VARIABLES = {
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9000",
    "MSI_ENDPOINT": "http://127.0.0.1:9000/msi/token",
    "IDENTITY_ENDPOINT": "http://127.0.0.1:9000/msi/token",
    "IDENTITY_HEADER": "azwi-proxy",
}


@pytest.fixture
def inject(mutate_pod: Function, mutate_and_apply: Function) -> Callable[..., Spec]:
    """Return a function that mutates a pod, checks a second pass, and returns the spec."""

    def inject(pod: Any, *settings: WebhookSettings) -> Spec:
        changed = mutate_and_apply(pod, mutate_pod(pod, {}, *settings))
        assert mutate_pod(changed, {}, *settings) == []
        spec: Spec = changed["spec"]
        return spec

    return inject


def _endpoints(container: Any) -> dict[str, Any]:
    """Return the variables of a container that an SDK reads to find a token endpoint."""
    return {
        each["name"]: each.get("value", each.get("valueFrom"))
        for each in container.get("env", [])
        if each["name"] in ENDPOINT_VARIABLES
    }


def test_all_containers_get_endpoint_variables_and_no_redirect_container_is_injected(
    inject: Function, make_pod: Function
) -> None:
    spec = inject(make_pod(ENV, initContainers=[{"name": "one"}]))
    assert [each["name"] for each in spec["initContainers"]] == ["azwi-proxy", "one"]
    sidecar, one = spec["initContainers"]
    assert _endpoints(one) == _endpoints(spec["containers"][0]) == VARIABLES
    assert _endpoints(sidecar) == {}
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"][0] == "--proxy-port=9000"


def test_init_containers_without_native_sidecars_get_no_variables(
    inject: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    old = dataclasses.replace(settings, native_sidecar=False)
    spec = inject(make_pod(ENV, initContainers=[{"name": "one"}]), old)
    assert [each["name"] for each in spec["containers"]] == ["azwi-proxy", "web"]
    assert _endpoints(spec["initContainers"][0]) == {}
    assert _endpoints(spec["containers"][1]) == VARIABLES


@pytest.mark.parametrize("name", sorted(ENDPOINT_VARIABLES))
@pytest.mark.parametrize("entry", [{"value": ""}, {"valueFrom": {"fieldRef": {}}}])
def test_container_that_defines_one_endpoint_variable_gets_no_others(
    inject: Function, make_pod: Function, name: str, entry: dict[str, Any]
) -> None:
    own = {"name": name, **entry}
    containers = [{"name": "own", "env": [own]}, {"name": "other"}]
    own_container, other = inject(make_pod(ENV, containers=containers))["containers"]
    assert own_container["env"][0] == own
    assert set(_endpoints(own_container)) == {name}
    assert _endpoints(other) == VARIABLES


def test_skipped_container_gets_no_variables(inject: Function, make_pod: Function) -> None:
    spec = inject(make_pod(ENV | {names.SKIP_CONTAINERS: "web"}))
    assert "env" not in spec["containers"][0]


def test_the_mode_of_the_webhook_applies_to_pods_without_the_annotation(
    inject: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    env = dataclasses.replace(settings, proxy_mode="env")
    assert _endpoints(inject(make_pod(PROXY), env)["containers"][0]) == VARIABLES
    iptables = inject(make_pod(PROXY | {names.PROXY_MODE: "iptables"}), env)
    assert _endpoints(iptables["containers"][0]) == {}
    assert iptables["initContainers"][-1]["name"] == "azwi-proxy-init"
    assert _endpoints(inject(make_pod(), env)["containers"][0]) == {}


def test_sidecar_uses_the_pod_address_if_pods_share_the_loopback_interface(
    inject: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    shared = dataclasses.replace(settings, proxy_on_pod_address=True)
    spec = inject(make_pod(ENV), shared)
    source = {"fieldRef": {"fieldPath": "status.podIP"}}
    variables = list(_endpoints(spec["containers"][0]).items())
    # Kubernetes expands a variable only in variables that the list defines after it.
    assert variables[0] == ("PODPASS_POD_ADDRESS", source)
    assert variables[1][1] == "http://$(PODPASS_POD_ADDRESS):9000"
    assert {"name": "PROXY_ADDRESS", "valueFrom": source} in spec["initContainers"][0]["env"]
    redirected = inject(make_pod(PROXY), shared)["initContainers"][0]
    assert "PROXY_ADDRESS" not in {each["name"] for each in redirected["env"]}


def test_image_of_the_reference_is_refused(
    mutate_pod: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    reference = dataclasses.replace(settings, proxy_image=REFERENCE_PROXY_IMAGE)
    with pytest.raises(EnvModeUnavailable) as caught:
        mutate_pod(make_pod(ENV), {}, reference)
    assert "PROXY_IMAGE" in (caught.value.hint or "")
    assert mutate_pod(make_pod(PROXY), {}, reference)


def test_sidecar_of_the_mode_env_meets_the_restricted_pod_security_standard(
    inject: Function, make_pod: Function
) -> None:
    (sidecar,) = inject(make_pod(ENV))["initContainers"]
    assert find_restricted_violations(sidecar) == []
    _, init = inject(make_pod(PROXY))["initContainers"]
    assert find_restricted_violations(init) == [
        "privileged",
        "escalation",
        "capabilities",
        "root",
        "seccomp",
    ]


def find_restricted_violations(container: Any) -> list[str]:
    """Return the rules of the pod security profile `restricted` that a container breaks."""
    security = container.get("securityContext") or {}
    capabilities = security.get("capabilities") or {}
    profile = (security.get("seccompProfile") or {}).get("type")
    rules = {
        "privileged": not security.get("privileged"),
        "escalation": security.get("allowPrivilegeEscalation") is False,
        "capabilities": "ALL" in capabilities.get("drop", [])
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "root": security.get("runAsNonRoot") is True and security.get("runAsUser") != 0,
        "seccomp": profile in ("RuntimeDefault", "Localhost"),
        "ports": not any(port.get("hostPort") for port in container.get("ports", [])),
    }
    return [name for name, holds in rules.items() if not holds]

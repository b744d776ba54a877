"""Set-ups of the cluster half that are unusual and correct: `podpass doctor` names nothing in them."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from podpass import names
from podpass.clock import rfc3339
from tests.diagnose.doctor.lab import CLIENT, TENANT, Lab

HEALTHY: list[Callable[[Lab], Awaitable[Any]]] = []
_PROXY = {"inject-proxy-sidecar": "true"}


def _healthy(arrange: Callable[[Lab], Awaitable[Any]]) -> Callable[[Lab], Awaitable[Any]]:
    HEALTHY.append(arrange)
    return arrange


@_healthy
async def deployment_has_the_label_on_its_template(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=True)


@_healthy
async def deployment_has_the_label_twice(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=True, labels={names.USE_LABEL: "true"})


@_healthy
async def account_has_every_annotation(lab: Lab) -> None:
    await lab.account(tenant_id="contoso.onmicrosoft.com", service_account_token_expiration="86400")
    await lab.pod()


@_healthy
async def node_of_the_pod_was_restarted(lab: Lab) -> None:
    """A container that SIGTERM has ended runs again."""
    await lab.account()
    now = time.time()
    ended = {"exitCode": 143, "finishedAt": rfc3339(now - 5)}
    state = {"running": {"startedAt": rfc3339(now - 4)}}
    one = {"name": "app", "state": state, "restartCount": 1, "ready": True}
    one |= {"image": "none", "imageID": "", "lastState": {"terminated": ended}}
    await lab.pod(status={"phase": "Running", "containerStatuses": [one]})


@_healthy
async def client_id_has_capitals(lab: Lab) -> None:
    await lab.account(client_id=CLIENT.upper())
    await lab.pod()


@_healthy
async def expiration_of_the_pod_precedes_that_of_the_account(lab: Lab) -> None:
    await lab.account(service_account_token_expiration="7200")
    await lab.pod(annotations={"service-account-token-expiration": "3700"})


@_healthy
async def second_container_is_skipped(lab: Lab) -> None:
    await lab.account()
    more = [{"name": "app", "image": "none"}, {"name": "log", "image": "none"}]
    await lab.pod(annotations={"skip-containers": "log"}, containers=more)


@_healthy
async def container_names_its_own_client_and_tenant(lab: Lab) -> None:
    await lab.account(client_id="")
    env = [
        {"name": names.ENV_CLIENT_ID, "value": CLIENT},
        {"name": "AZURE_TENANT_ID", "value": TENANT},
    ]
    await lab.pod(container={"env": env})


@_healthy
async def pod_has_init_containers_and_volumes(lab: Lab) -> None:
    await lab.account()
    token = {"path": "vault", "audience": "https://vault.example", "expirationSeconds": 3600}
    volumes = [
        {"name": "own", "emptyDir": {}},
        {"name": "other", "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]
    mounts = [{"name": "own", "mountPath": "/own"}, {"name": "other", "mountPath": "/other"}]
    await lab.pod(
        container={"volumeMounts": mounts},
        volumes=volumes,
        initContainers=[{"name": "first", "image": "none", "volumeMounts": mounts}],
    )


@_healthy
async def container_has_its_own_projected_token_for_entra(lab: Lab) -> None:
    await lab.account()
    token = {"path": "token", "audience": names.EXCHANGE_AUDIENCE, "expirationSeconds": 3600}
    volume = {"name": "own", "projected": {"sources": [{"serviceAccountToken": token}]}}
    container = {
        "env": [{"name": names.ENV_TOKEN_FILE, "value": "/own/token"}],
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
    }
    await lab.pod(container=container, volumes=[volume])


@_healthy
async def sidecar_is_in_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY | {"proxy-sidecar-port": "9000"})


@_healthy
async def sidecar_is_in_a_pod_with_users_on_its_containers(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, container={"securityContext": {"runAsUser": 1000}})


@_healthy
async def sidecar_of_the_mode_env_is_the_default_of_the_webhook(lab: Lab) -> None:
    """In this mode nothing is redirected, so that the pod may have a user."""
    await lab.configure(proxy_mode="env")
    await lab.account()
    await lab.pod(annotations=_PROXY, securityContext={"runAsUser": 1000})


@_healthy
async def pod_is_on_the_host_network_without_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(hostNetwork=True)


@_healthy
async def pod_tolerates_every_taint(lab: Lab) -> None:
    await lab.account()
    await lab.pod(tolerations=[{"operator": "Exists"}])


@_healthy
async def webhook_has_another_audience_and_authority(lab: Lab) -> None:
    await lab.configure(
        audience="api://AzureADTokenExchangeChina", authority_host="https://login.chinacloudapi.cn/"
    )
    await lab.account()
    await lab.pod()


@_healthy
async def webhook_mounts_the_earlier_path_too(lab: Lab) -> None:
    await lab.configure(legacy_token_path=True)
    await lab.account()
    await lab.pod()


@_healthy
async def webhook_sees_labelled_namespaces_only(lab: Lab) -> None:
    await lab.label_namespace({"team": "a"})
    await lab.register(namespaceSelector={"matchLabels": {"team": "a"}})
    await lab.account()
    await lab.pod()


@_healthy
async def webhook_is_called_for_every_pod(lab: Lab) -> None:
    await lab.register(objectSelector={}, failurePolicy="Ignore", timeoutSeconds=30)
    await lab.account()
    await lab.pod()


@_healthy
async def webhook_is_called_for_updates_too(lab: Lab) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"], "scope": "Namespaced"}
    await lab.register(rules=[rule | {"operations": ["*"]}])
    await lab.account()
    await lab.pod()


@_healthy
async def pod_has_unrelated_labels_and_annotations(lab: Lab) -> None:
    await lab.account()
    labels = {names.USE_LABEL: "true", "azure.example/use": "x", "app": "web"}
    await lab.pod(labels=labels)


@_healthy
async def containers_ran_and_restarted_long_ago(lab: Lab) -> None:
    await lab.account()
    ended = {
        "exitCode": 255,
        "finishedAt": "2020-01-01T00:00:00Z",
        "startedAt": "2020-01-01T00:00:00Z",
    }
    one = {
        "name": names.PROXY_CONTAINER,
        "state": {"running": {"startedAt": "2020-01-01T00:01:00Z"}},
        "lastState": {"terminated": ended | {"containerID": "containerd://1", "reason": "Unknown"}},
        "restartCount": 7,
        "ready": True,
        "started": True,
        "image": "none",
        "imageID": "",
    }
    status = {"phase": "Running", "initContainerStatuses": [one]}
    await lab.pod(annotations=_PROXY, status=status)


@_healthy
async def init_container_succeeded_at_the_second_attempt(lab: Lab) -> None:
    await lab.account()
    moment = rfc3339(time.time())
    ended = {"finishedAt": moment, "startedAt": moment}
    one = {
        "name": "first",
        "state": {"terminated": ended | {"exitCode": 0, "reason": "Completed"}},
        "lastState": {"terminated": ended | {"exitCode": 1, "reason": "Error"}},
        "restartCount": 1,
        "ready": True,
        "image": "none",
        "imageID": "",
    }
    status = {"phase": "Running", "initContainerStatuses": [one]}
    await lab.pod(initContainers=[{"name": "first", "image": "none"}], status=status)


@pytest.mark.parametrize("arrange", HEALTHY, ids=lambda each: each.__name__)
async def test_healthy_cluster_setup_has_no_findings(
    lab: Lab, arrange: Callable[[Lab], Awaitable[Any]]
) -> None:
    await arrange(lab)
    found = await lab.diagnose()
    assert [(each.check, each.message) for each in found.findings] == []
    assert "pod-outdated" in found.passed

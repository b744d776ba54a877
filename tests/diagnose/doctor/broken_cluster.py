"""Set-ups of the cluster half that are broken in one place, and what `podpass doctor` must name."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from podpass import names
from podpass.clock import rfc3339
from tests.diagnose.doctor.lab import CLIENT, SYSTEM, Authority, Lab

OTHER = "33333333-aaaa-4bbb-8ccc-000000000002"
_LABEL = {names.USE_LABEL: "true"}
_VOLUMES: list[Any] = [{"name": "own", "emptyDir": {}}]
_PROXY = {"inject-proxy-sidecar": "true"}


@dataclass(frozen=True)
class BrokenSetup:
    """One broken set-up: `checks` are all findings in their order; the account is diagnosed without a pod."""

    name: str
    checks: tuple[str, ...]
    arrange: Callable[[Lab], Awaitable[Any]]
    account: str = ""


SETUPS: list[BrokenSetup] = []
# A container of a pod with restartPolicy Never, and of one with Always.
STOPPED: dict[str, Any] = {
    "ended": {"terminated": {"exitCode": 1}},
    "crash-looping": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
}


def build_status(container: str, state: Any, restarts: int, last: Any = None) -> dict[str, Any]:
    """Return the status of a pod with one container."""
    one = {"name": container, "state": state, "restartCount": restarts, "ready": False}
    one |= {"image": "none", "imageID": "", "lastState": last or {}}
    return {"phase": "Running", "containerStatuses": [one]}


def _broken(*checks: str, account: str = "") -> Callable[[Any], Any]:
    def add(arrange: Callable[[Lab], Awaitable[Any]]) -> Callable[[Lab], Awaitable[Any]]:
        SETUPS.append(BrokenSetup(arrange.__name__, checks, arrange, account))
        return arrange

    return add


def _pod(
    check: str,
    name: str,
    *,
    account: dict[str, str] | None = None,
    first: Callable[[Lab], Awaitable[object]] | None = None,
    then: Callable[[Lab], Awaitable[object]] | None = None,
    **pod: Any,
) -> None:
    """Add a set-up with one account, with these annotations, and one pod, with these arguments."""

    async def arrange(lab: Lab) -> None:
        if first:
            await first(lab)
        await lab.account(**(account or {}))
        await lab.pod(**pod)
        if then:
            await then(lab)

    SETUPS.append(BrokenSetup(name, (check,), arrange))


@_broken("namespace-missing", account="web")
async def namespace_does_not_exist(lab: Lab) -> None:
    lab.namespace += "-absent"


@_broken("pod-missing")
async def pod_does_not_exist(lab: Lab) -> None:
    await lab.account()


@_broken("account-missing", account="absent")
async def account_does_not_exist(lab: Lab) -> None:
    await lab.account()


_pod("label-missing", "pod_has_no_label", labels={})
_pod("label-not-true", "label_is_capitalized", labels={names.USE_LABEL: "True"})
_pod("label-as-annotation", "label_is_an_annotation", labels={}, annotations={"use": "true"})


@_broken("label-on-owner")
async def label_is_on_the_deployment_only(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=False, labels={names.USE_LABEL: "true"})


_pod("client-id-missing", "account_has_no_client_id", account={"client_id": ""})
_pod("client-id-missing", "pod_runs_as_the_default_account", serviceAccountName="default")
_pod("client-id-malformed", "client_id_has_a_blank", account={"client_id": CLIENT + " "})


@_broken("client-id-malformed", account="web")
async def client_id_is_a_name(lab: Lab) -> None:
    await lab.account(client_id="my-identity")


_pod("tenant-malformed", "tenant_is_common", account={"tenant_id": "common"})
_pod("tenant-empty", "tenant_is_empty", account={"tenant_id": ""})
_pod(
    "annotation-invalid",
    "expiration_is_changed_to_a_minute",
    then=lambda lab: lab.annotate(service_account_token_expiration="60"),
)
_pod("belongs-on-account", "client_id_is_also_on_the_pod", annotations={"client-id": CLIENT})
_pod("belongs-on-pod", "skip_containers_is_on_the_account", account={"skip_containers": "app"})
_pod("account-annotation-unknown", "tenant_annotation_is_misspelled", account={"tenantid": "x"})
_pod("annotation-unknown", "pod_annotation_is_misspelled", annotations={"skip-container": "app"})
_pod("skips-nothing", "skipped_container_does_not_exist", annotations={"skip-containers": "proxy"})
_pod("webhook-missing", "webhook_is_not_registered", first=lambda lab: lab.unregister())
_pod("webhook-twice", "webhook_is_registered_twice", first=lambda lab: lab.register_twice())
_pod(
    "webhook-rules",
    "webhook_selects_other_pods",
    first=lambda lab: lab.register(objectSelector={"matchLabels": {"team": "a"}}),
)


@_broken("webhook-rules")
async def webhook_is_called_for_updates_only(lab: Lab) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}
    await lab.register(rules=[rule | {"operations": ["UPDATE"]}])
    await lab.account()
    await lab.pod()


@_broken("namespace-exempt")
async def namespace_has_the_label_control_plane(lab: Lab) -> None:
    await lab.label_namespace({"control-plane": "true"})
    expression = {"key": "control-plane", "operator": "DoesNotExist"}
    await lab.register(namespaceSelector={"matchExpressions": [expression]})
    await lab.account()
    await lab.pod()


_pod(
    "webhook-service-missing",
    "service_of_the_webhook_is_deleted",
    then=lambda lab: lab.register_service(),
)


@_broken("webhook-without-endpoints")
async def no_pod_of_the_webhook_is_ready(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.service(ready=False)
    await lab.register_service()


@_broken("webhook-ca-invalid")
async def ca_bundle_has_expired(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    expired = Authority.create(days=-1)
    await lab.service(expired.sign())
    await lab.register_service(expired.bundle)


@_broken("webhook-certificate-expired")
async def certificate_has_expired(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.service(lab.authority.sign(days=-1))
    await lab.register_service()


@_broken("webhook-certificate-untrusted")
async def ca_bundle_has_another_ca(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.service(Authority.create().sign())
    await lab.register_service()


@_broken("webhook-certificate-name")
async def certificate_is_for_another_service(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.service(lab.authority.sign(f"other.{SYSTEM}.svc"))
    await lab.register_service()


@_broken("webhook-unreachable")
async def nothing_listens_at_the_webhook(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    lab.port = 1
    await lab.register()


_pod(
    "webhook-unreachable", "webhook_has_another_path", then=lambda lab: lab.register_path("/mutate")
)


@_broken("webhook-fails-open")
async def webhook_was_away_and_failures_were_ignored(lab: Lab) -> None:
    await lab.account()
    port, lab.port = lab.port, 1
    await lab.register(failurePolicy="Ignore")
    await lab.pod()
    lab.port = port


_pod(
    "webhook-without-effect",
    "webhook_is_registered_with_the_path_of_warnings",
    first=lambda lab: lab.register_path(names.ADVICE_PATH),
)
_pod("pod-refused", "another_admission_refuses_the_pod", then=lambda lab: lab.deny_pods())


@_broken("mount-path-taken")
async def container_mounts_at_the_path_of_the_token(lab: Lab) -> None:
    await lab.account()
    await lab.unregister()
    mounts = [{"name": "own", "mountPath": names.MOUNT_PATH}]
    await lab.pod(container={"volumeMounts": mounts}, volumes=_VOLUMES)
    await lab.register()


_pod(
    "virtual-node",
    "pod_tolerates_virtual_nodes",
    tolerations=[{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
)


@_broken("virtual-node")
async def pod_is_on_a_virtual_node(lab: Lab) -> None:
    await lab.account()
    await lab.node("aci-1", type="virtual-kubelet")
    await lab.pod(nodeName="aci-1")


_pod(
    "secret-first",
    "container_has_a_client_secret",
    container={"env": [{"name": names.ENV_CLIENT_SECRET, "value": "s3cret"}]},
)
_pod(
    "pod-outdated",
    "client_id_is_changed_after_the_pod",
    then=lambda lab: lab.annotate(client_id=OTHER),
)


@_broken("pod-outdated")
async def webhook_was_not_registered_when_the_pod_was_created(lab: Lab) -> None:
    await lab.unregister()
    await lab.account()
    await lab.pod()
    await lab.register()


@_broken("pod-outdated")
async def label_is_added_to_the_running_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels={})
    await lab.label_pod({names.USE_LABEL: "true"})


_pod(
    "pod-outdated",
    "expiration_is_changed_after_the_pod",
    then=lambda lab: lab.annotate(service_account_token_expiration="7200"),
)


@_broken("token-volume-audience")
async def own_volume_has_another_audience(lab: Lab) -> None:
    await lab.account()
    token = {"path": "token", "audience": "https://vault.azure.net", "expirationSeconds": 3600}
    volume = {"name": "own", "projected": {"sources": [{"serviceAccountToken": token}]}}
    container = {
        "env": [{"name": names.ENV_TOKEN_FILE, "value": "/own/token"}],
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
    }
    await lab.pod(container=container, volumes=[volume])


_pod(
    "token-volume-missing",
    "token_file_is_set_without_a_volume",
    container={"env": [{"name": names.ENV_TOKEN_FILE, "value": "/somewhere/token"}]},
)


@_broken("proxy-on-host-network")
async def sidecar_is_requested_on_the_host_network(lab: Lab) -> None:
    await lab.unregister()
    await lab.account()
    await lab.pod(annotations=_PROXY, hostNetwork=True)
    await lab.register()


_pod(
    "proxy-by-presence",
    "sidecar_is_switched_off_by_false",
    annotations={"inject-proxy-sidecar": "false"},
)


@_broken("proxy-cannot-start")
async def pod_runs_as_root_with_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, securityContext={"runAsUser": 0})


@_broken("not-redirected")
async def container_has_the_user_of_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, container={"securityContext": {"runAsUser": 1501}})


_pod("annotation-as-label", "client_id_is_also_a_label", labels=_LABEL | {names.CLIENT_ID: CLIENT})
_pod("label-unknown", "label_has_one_letter_more", labels=_LABEL | {names.USE_LABEL + "d": "true"})


@_broken("legacy-path-taken")
async def container_mounts_at_the_earlier_path(lab: Lab) -> None:
    await lab.configure(legacy_token_path=True)
    await lab.account()
    mounts = [{"name": "own", "mountPath": names.LEGACY_MOUNT_PATH}]
    await lab.pod(container={"volumeMounts": mounts}, volumes=_VOLUMES)


_pod("mode-without-proxy", "mode_is_set_without_the_sidecar", own={names.PROXY_MODE: "env"})


@_broken("proxy-redirected")
async def pod_with_the_sidecar_has_a_user(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, securityContext={"runAsUser": 1000})


@_broken("endpoint-set")
async def container_sets_the_endpoint_of_the_sidecar(lab: Lab) -> None:
    await lab.account()
    env = [{"name": names.ENV_IDENTITY_ENDPOINT, "value": "http://169.254.169.254"}]
    await lab.pod(annotations=_PROXY, own={names.PROXY_MODE: "env"}, container={"env": env})


@_broken("proxy-not-running")
async def sidecar_restarts_again_and_again(lab: Lab) -> None:
    await lab.account()
    now = rfc3339(time.time())
    ended = {"terminated": {"exitCode": 1, "finishedAt": now, "startedAt": now, "reason": "Error"}}
    running: Any = {"running": {"startedAt": now}}
    status = build_status(names.PROXY_CONTAINER, running, restarts=5, last=ended)
    status["initContainerStatuses"] = status.pop("containerStatuses")
    await lab.pod(annotations=_PROXY, status=status)


@_broken("container-not-running")
async def container_crashes(lab: Lab) -> None:
    await lab.account()
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
    await lab.pod(status=build_status("app", {"waiting": waiting}, restarts=4))


_pod(
    "container-not-running",
    "container_has_ended_between_two_crashes",
    status=build_status("app", {"terminated": {"exitCode": 1}}, restarts=1),
)


@_broken("container-not-running")
async def container_runs_between_two_crashes(lab: Lab) -> None:
    await lab.account()
    status = build_status("app", {"running": {}}, restarts=2)
    crash = {"exitCode": 1, "finishedAt": rfc3339(time.time() - 30)}
    status["containerStatuses"][0]["lastState"] = {"terminated": crash}
    await lab.pod(status=status)


@_broken("container-not-running")
async def liveness_probe_fails_again_and_again(lab: Lab) -> None:
    """The kubelet sends SIGTERM, as at a restart of the node."""
    await lab.account()
    now = time.time()
    ended = {"terminated": {"exitCode": 143, "finishedAt": rfc3339(now - 5)}}
    running = {"running": {"startedAt": rfc3339(now - 4)}}
    await lab.pod(status=build_status("app", running, restarts=4, last=ended))


_pod(
    "reference-missing",
    "secret_of_a_volume_does_not_exist",
    volumes=[{"name": "own", "secret": {"secretName": "absent"}}],
)


@_broken("reference-missing")
async def secret_of_a_projected_volume_does_not_exist(lab: Lab) -> None:
    await lab.account()
    sources = [{"secret": {"name": "absent"}}, {"configMap": {"name": "any", "optional": True}}]
    await lab.pod(volumes=[{"name": "own", "projected": {"sources": sources}}])


@_broken("reference-missing")
async def secret_of_a_variable_does_not_exist(lab: Lab) -> None:
    await lab.account()
    source = {"secretKeyRef": {"name": "absent", "key": "password"}}
    await lab.pod(container={"env": [{"name": "PASSWORD", "valueFrom": source}]})


_pod(
    "reference-missing",
    "config_map_of_all_variables_does_not_exist",
    container={"envFrom": [{"configMapRef": {"name": "absent"}}]},
)


@_broken("reference-missing")
async def key_of_a_secret_does_not_exist(lab: Lab) -> None:
    """The kubelet names the missing key; the doctor does not read the content of a Secret."""
    await lab.account()
    message = "couldn't find key password in Secret default/present"
    waiting = {"reason": "CreateContainerConfigError", "message": message}
    await lab.pod(status=build_status("app", {"waiting": waiting}, restarts=0))


@_broken("pod-unscheduled")
async def no_node_fits(lab: Lab) -> None:
    await lab.account()
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    await lab.pod(status={"phase": "Pending", "conditions": [condition]})


@_broken("proxy-not-running")
async def sidecar_crashes(lab: Lab) -> None:
    await lab.account()
    status = build_status(
        names.PROXY_CONTAINER, {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=5
    )
    status["initContainerStatuses"] = status.pop("containerStatuses")
    await lab.pod(annotations=_PROXY, status=status)

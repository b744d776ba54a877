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


def _broken(*checks: str, account: str = "") -> Callable[[Any], Any]:
    def add(arrange: Callable[[Lab], Awaitable[Any]]) -> Callable[[Lab], Awaitable[Any]]:
        SETUPS.append(BrokenSetup(arrange.__name__, checks, arrange, account))
        return arrange

    return add


@_broken("namespace-missing", account="web")
async def namespace_does_not_exist(lab: Lab) -> None:
    lab.namespace += "-absent"


@_broken("pod-missing")
async def pod_does_not_exist(lab: Lab) -> None:
    await lab.account()


@_broken("account-missing", account="absent")
async def account_does_not_exist(lab: Lab) -> None:
    await lab.account()


@_broken("label-missing")
async def pod_has_no_label(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels={})


@_broken("label-not-true")
async def label_is_capitalized(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels={names.USE_LABEL: "True"})


@_broken("label-as-annotation")
async def label_is_an_annotation(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels={}, annotations={"use": "true"})


@_broken("label-on-owner")
async def label_is_on_the_deployment_only(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=False, labels={names.USE_LABEL: "true"})


@_broken("client-id-missing")
async def account_has_no_client_id(lab: Lab) -> None:
    await lab.account(client_id="")
    await lab.pod()


@_broken("client-id-missing")
async def pod_runs_as_the_default_account(lab: Lab) -> None:
    await lab.account()
    await lab.pod(serviceAccountName="default")


@_broken("client-id-malformed")
async def client_id_has_a_blank(lab: Lab) -> None:
    await lab.account(client_id=CLIENT + " ")
    await lab.pod()


@_broken("client-id-malformed", account="web")
async def client_id_is_a_name(lab: Lab) -> None:
    await lab.account(client_id="my-identity")


@_broken("tenant-malformed")
async def tenant_is_common(lab: Lab) -> None:
    await lab.account(tenant_id="common")
    await lab.pod()


@_broken("tenant-empty")
async def tenant_is_empty(lab: Lab) -> None:
    await lab.account(tenant_id="")
    await lab.pod()


@_broken("annotation-invalid")
async def expiration_is_changed_to_a_minute(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.annotate(service_account_token_expiration="60")


@_broken("belongs-on-account")
async def client_id_is_also_on_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations={"client-id": CLIENT})


@_broken("belongs-on-pod")
async def skip_containers_is_on_the_account(lab: Lab) -> None:
    await lab.account(skip_containers="app")
    await lab.pod()


@_broken("account-annotation-unknown")
async def tenant_annotation_is_misspelled(lab: Lab) -> None:
    await lab.account(tenantid="x")
    await lab.pod()


@_broken("annotation-unknown")
async def pod_annotation_is_misspelled(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations={"skip-container": "app"})


@_broken("skips-nothing")
async def skipped_container_does_not_exist(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations={"skip-containers": "proxy"})


@_broken("webhook-missing")
async def webhook_is_not_registered(lab: Lab) -> None:
    await lab.unregister()
    await lab.account()
    await lab.pod()


@_broken("webhook-twice")
async def webhook_is_registered_twice(lab: Lab) -> None:
    await lab.account()
    await lab.register_twice()
    await lab.pod()


@_broken("webhook-rules")
async def webhook_selects_other_pods(lab: Lab) -> None:
    await lab.register(objectSelector={"matchLabels": {"team": "a"}})
    await lab.account()
    await lab.pod()


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


@_broken("webhook-service-missing")
async def service_of_the_webhook_is_deleted(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.register_service()


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


@_broken("webhook-unreachable")
async def webhook_has_another_path(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.register_path("/mutate")


@_broken("webhook-fails-open")
async def webhook_was_away_and_failures_were_ignored(lab: Lab) -> None:
    await lab.account()
    port, lab.port = lab.port, 1
    await lab.register(failurePolicy="Ignore")
    await lab.pod()
    lab.port = port


@_broken("webhook-without-effect")
async def webhook_is_registered_with_the_path_of_warnings(lab: Lab) -> None:
    await lab.register_path(names.ADVICE_PATH)
    await lab.account()
    await lab.pod()


@_broken("pod-refused")
async def another_admission_refuses_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.deny_pods()


@_broken("mount-path-taken")
async def container_mounts_at_the_path_of_the_token(lab: Lab) -> None:
    await lab.account()
    await lab.unregister()
    mounts = [{"name": "own", "mountPath": names.MOUNT_PATH}]
    await lab.pod(container={"volumeMounts": mounts}, volumes=_VOLUMES)
    await lab.register()


@_broken("virtual-node")
async def pod_tolerates_virtual_nodes(lab: Lab) -> None:
    await lab.account()
    toleration = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    await lab.pod(tolerations=[toleration])


@_broken("virtual-node")
async def pod_is_on_a_virtual_node(lab: Lab) -> None:
    await lab.account()
    await lab.node("aci-1", type="virtual-kubelet")
    await lab.pod(nodeName="aci-1")


@_broken("secret-first")
async def container_has_a_client_secret(lab: Lab) -> None:
    await lab.account()
    await lab.pod(container={"env": [{"name": names.ENV_CLIENT_SECRET, "value": "s3cret"}]})


@_broken("pod-outdated")
async def client_id_is_changed_after_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.annotate(client_id=OTHER)


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


@_broken("pod-outdated")
async def expiration_is_changed_after_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.annotate(service_account_token_expiration="7200")


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


@_broken("token-volume-missing")
async def token_file_is_set_without_a_volume(lab: Lab) -> None:
    await lab.account()
    await lab.pod(container={"env": [{"name": names.ENV_TOKEN_FILE, "value": "/somewhere/token"}]})


@_broken("proxy-on-host-network")
async def sidecar_is_requested_on_the_host_network(lab: Lab) -> None:
    await lab.unregister()
    await lab.account()
    await lab.pod(annotations=_PROXY, hostNetwork=True)
    await lab.register()


@_broken("proxy-by-presence")
async def sidecar_is_switched_off_by_false(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations={"inject-proxy-sidecar": "false"})


@_broken("proxy-cannot-start")
async def pod_runs_as_root_with_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, securityContext={"runAsUser": 0})


@_broken("not-redirected")
async def container_has_the_user_of_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(annotations=_PROXY, container={"securityContext": {"runAsUser": 1501}})


@_broken("annotation-as-label")
async def client_id_is_also_a_label(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels=_LABEL | {names.CLIENT_ID: CLIENT})


@_broken("label-unknown")
async def label_has_one_letter_more(lab: Lab) -> None:
    await lab.account()
    await lab.pod(labels=_LABEL | {names.USE_LABEL + "d": "true"})


@_broken("legacy-path-taken")
async def container_mounts_at_the_earlier_path(lab: Lab) -> None:
    await lab.configure(legacy_token_path=True)
    await lab.account()
    mounts = [{"name": "own", "mountPath": names.LEGACY_MOUNT_PATH}]
    await lab.pod(container={"volumeMounts": mounts}, volumes=_VOLUMES)


@_broken("mode-without-proxy")
async def mode_is_set_without_the_sidecar(lab: Lab) -> None:
    await lab.account()
    await lab.pod(own={names.PROXY_MODE: "env"})


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


@_broken("container-not-running")
async def container_has_ended_between_two_crashes(lab: Lab) -> None:
    await lab.account()
    await lab.pod(status=build_status("app", {"terminated": {"exitCode": 1}}, restarts=1))


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


@_broken("reference-missing")
async def secret_of_a_volume_does_not_exist(lab: Lab) -> None:
    await lab.account()
    await lab.pod(volumes=[{"name": "own", "secret": {"secretName": "absent"}}])


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


@_broken("reference-missing")
async def config_map_of_all_variables_does_not_exist(lab: Lab) -> None:
    await lab.account()
    await lab.pod(container={"envFrom": [{"configMapRef": {"name": "absent"}}]})


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


def build_status(container: str, state: Any, restarts: int, last: Any = None) -> dict[str, Any]:
    """Return the status of a pod with one container."""
    one = {"name": container, "state": state, "restartCount": restarts, "ready": False}
    one |= {"image": "none", "imageID": "", "lastState": last or {}}
    return {"phase": "Running", "containerStatuses": [one]}

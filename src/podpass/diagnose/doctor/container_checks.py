"""The checks of why a pod does not run: no node, a missing Secret, a container that has stopped. Pure."""

from podpass import names
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.model import (
    DirectoryIdentity,
    DoctorCheck,
    Facts,
    Problem,
    ResourceFacts,
    Stage,
)
from podpass.diagnose.doctor.pods import find_log, find_stopped, find_vault, has_run
from podpass.diagnose.explain.hop import HopExplanation, explain_recognition
from podpass.facts import Unread, known
from podpass.kubernetes.objects import Object
from podpass.provision.errors import sanitize


def _stopped(facts: Facts) -> tuple[Object, str] | None:
    """Return the first container that does not run, and why."""
    pod = facts.cluster.pod
    return find_stopped(pod, facts.cluster.now) if isinstance(pod, dict) else None


def _explain_log(facts: Facts) -> HopExplanation | None:
    """Return the first known error in the log of the stopped container. Raises FactUnread."""
    cluster = facts.cluster
    if (found := known(cluster.log)) is None:
        return None
    identity, resource = facts.cloud.identity, facts.cloud.resource
    values = {
        "POD": cluster.pod_name,
        "NAMESPACE": cluster.namespace_name,
        "SERVICEACCOUNT": cluster.account_name,
        "VAULT": find_vault(cluster.pod, names.VAULT_SUFFIX),
        "PRINCIPAL_ID": identity.principal_id if isinstance(identity, DirectoryIdentity) else "",
        "VAULT_ID": resource.resource_id if isinstance(resource, ResourceFacts) else "",
    }
    explained = explain_recognition(found, {name: each for name, each in values.items() if each})
    # An error whose fix is `podpass doctor` adds nothing to the other checks.
    return None if explained is None or "podpass doctor" in explained.fix else explained


def _find_container_error(facts: Facts) -> Problem | None:
    stopped = _stopped(facts)
    if stopped is None or (found := _explain_log(facts)) is None:
        return None
    status, cause = stopped
    return Problem(
        facts.cluster.workload,
        f"container {status['name']} does not run: {cause}. Its log says:"
        f" {sanitize(found.cause).removesuffix('.')}. This means: {found.meaning.removesuffix('.')}",
        found.fix.removesuffix("."),
    )


def _find_waiting_container(facts: Facts) -> Problem | None:
    stopped, cluster = _stopped(facts), facts.cluster
    if stopped is None or _is_config_error(stopped[0]):
        return None  # `reference-missing` names it
    if not isinstance(cluster.log, Unread) and _explain_log(facts) is not None:
        return None  # `container-error` names it
    status, cause = stopped
    where = f"{cluster.pod_name} -n {cluster.namespace_name}"
    fix = f"kubectl logs {where} -c {status['name']}{find_log(status)}; `podpass explain` takes its text"
    return Problem(
        cluster.workload,
        f"container {status['name']} does not run: {cause}",
        fix if has_run(status) else f"kubectl describe pod {where}",
    )


def _find_missing_reference(facts: Facts) -> Problem | None:
    cluster, stopped = facts.cluster, _stopped(facts)
    missing = () if isinstance(cluster.missing, Unread) else cluster.missing
    if not missing and stopped is not None and _is_config_error(stopped[0]):
        return Problem(
            cluster.workload,
            f"container {stopped[0]['name']} cannot be created: {stopped[1]}",
            fixes.edit_pod(cluster, "create what the message names, or correct its name"),
        )
    if not missing:
        known(cluster.missing)
        return None
    kind, _, name = missing[0].partition(" ")
    create = "secret generic" if kind == "Secret" else "configmap"
    return Problem(
        f"{kind} {cluster.namespace_name}/{name}",
        f"it does not exist, and {cluster.workload} needs it, so no container with it starts",
        f"kubectl create {create} {name} -n {cluster.namespace_name} --from-literal=KEY=VALUE; or correct its"
        " name in the pod template, or set optional: true there",
    )


def _is_config_error(status: Object) -> bool:
    """Return whether the kubelet cannot create a container, because an object or a key does not exist."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    return bool(waiting.get("reason") == "CreateContainerConfigError")


def _find_unscheduled_pod(facts: Facts) -> Problem | None:
    pod = facts.cluster.pod if isinstance(facts.cluster.pod, dict) else {}
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return Problem(
                facts.cluster.workload,
                f"the pod has no node: {str(each.get('message') or each.get('reason'))[:200]}",
                f"kubectl describe pod {facts.cluster.pod_name} -n {facts.cluster.namespace_name}",
            )
    return None


# Optional: a user without the right to read Secrets or logs can still diagnose the rest.
CHECKS: tuple[DoctorCheck, ...] = (
    DoctorCheck("pod-unscheduled", Stage.ASSERTION, "the pod has a node", _find_unscheduled_pod),
    DoctorCheck(
        "reference-missing",
        Stage.ASSERTION,
        "each Secret and ConfigMap that the pod needs exists",
        _find_missing_reference,
        optional=True,
    ),
    DoctorCheck(
        "container-error",
        Stage.ASSERTION,
        "the log of a container that does not run has no error that podpass knows",
        _find_container_error,
        optional=True,
        is_symptom=True,
    ),
    DoctorCheck(
        "container-not-running",
        Stage.ASSERTION,
        "every container of the pod runs",
        _find_waiting_container,
        is_symptom=True,
    ),
)

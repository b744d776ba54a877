"""The checks of what the user writes: namespace, pod, label, ServiceAccount, annotations, client id. Pure."""

import re

from podpass import guids, names
from podpass.account.model import BadAnnotation
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.check_table import CheckTable
from podpass.diagnose.doctor.cloud_checks import is_same_directory, read_presented
from podpass.diagnose.doctor.credentials import matches
from podpass.diagnose.doctor.model import (
    ClusterFacts,
    DirectoryIdentity,
    Facts,
    IdentityCandidate,
    NamedIdentity,
    Problem,
    Stage,
)
from podpass.diagnose.doctor.pods import find_next_client_id
from podpass.facts import FactUnread, Unread, known
from podpass.guids import is_guid
from podpass.provision.errors import sanitize

CHECKS = CheckTable(Stage.ACCOUNT)
_GUID = re.compile(rf"(?<![0-9a-fA-F-]){guids.PATTERN}(?![0-9a-fA-F-])", re.IGNORECASE)
_MAX_NAMES = 5


def _edit_account(facts: Facts) -> str:
    cluster = facts.cluster
    return f"kubectl edit serviceaccount {cluster.account_name} -n {cluster.namespace_name}"


def _set_tenant(facts: Facts) -> str:
    """Return the command with the tenant that was read, else one that uses the webhook's default."""
    tenant = facts.cloud.tenant_id
    if isinstance(tenant, Unread):
        return fixes.remove_annotation(facts.cluster, names.TENANT_ID)
    return fixes.annotate_account(facts.cluster, names.TENANT_ID, tenant)


def _suggest_or_other_account(facts: Facts) -> str:
    fix = suggest_fix(facts)
    if _find_client_id(facts):
        return fix
    return f"{fix}; or use the annotated account: serviceAccountName in the pod template"


@CHECKS.check("namespace-missing", "the namespace exists")
def _find_missing_namespace(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if known(cluster.namespace) is not None:
        return None
    return Problem(
        f"Namespace {cluster.namespace_name}",
        "the namespace does not exist",
        "list the namespaces: kubectl get namespaces; then pass -n NAMESPACE",
    )


@CHECKS.check("pod-missing", "the pod exists")
def _find_missing_pod(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if not cluster.pod_name or known(cluster.pod) is not None:
        return None
    return Problem(
        cluster.workload,
        "the pod does not exist",
        f"list the pods: kubectl get pods -n {cluster.namespace_name}",
    )


@CHECKS.check("account-missing", "the ServiceAccount of the pod exists")
def _find_missing_account(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if known(cluster.account) is not None or (cluster.pod_name and cluster.pod is None):
        return None
    if cluster.namespace is None:
        return None
    return Problem(
        cluster.account_title,
        "the ServiceAccount does not exist, so no pod with it can be created",
        f"kubectl create serviceaccount {cluster.account_name} -n {cluster.namespace_name}",
    )


CHECKS.warning(
    "label-as-annotation",
    f"`{names.USE_LABEL}` is a label, not an annotation",
    lambda facts: fixes.label_template(facts.cluster),
)


@CHECKS.check("label-on-owner", "the label is on the pod template, not only on the Deployment")
def _find_label_on_owner(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    owner = cluster.owner
    if isinstance(owner, Unread) or owner is None or names.USE_LABEL in cluster.labels:
        return None
    about = owner.get("metadata") or {}
    for member in ("labels", "annotations"):
        if names.USE_LABEL in (about.get(member) or {}):
            return Problem(
                f"{owner['kind']} {cluster.namespace_name}/{about['name']}",
                f"the label {names.USE_LABEL} is in metadata.{member} of the {owner['kind']}; the"
                " webhook reads only the labels of the pod template",
                fixes.label_template(cluster),
            )
    return None


@CHECKS.check("label-not-true", 'the value of the label is `"true"`')
def _find_wrong_label(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    value = cluster.labels.get(names.USE_LABEL)
    if value in (None, "true"):
        return None
    return Problem(
        cluster.workload,
        f'label {names.USE_LABEL} is {value!r}; the webhook selects only the value "true"',
        fixes.label_template(cluster),
    )


@CHECKS.check("label-missing", f"the pod has the label `{names.USE_LABEL}`")
def _find_missing_label(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    pod = known(cluster.pod)
    if pod is None or names.USE_LABEL in cluster.labels:
        return None
    if _find_label_on_owner(facts) or _has_warning(cluster, "label_as_annotation"):
        return None
    return Problem(
        cluster.workload,
        f"the pod has no label {names.USE_LABEL}, so the webhook injected no identity",
        fixes.label_template(cluster),
    )


def _has_warning(facts: ClusterFacts, code: str) -> bool:
    return facts.decision is not None and code in facts.decision.warnings


def suggest_fix(facts: Facts) -> str:
    """Return the command that sets the annotation, with the client id if it can be known."""
    found = _find_client_id(facts)
    if found:
        return fixes.annotate_account(facts.cluster, names.CLIENT_ID, found)
    trusting = [each for each in _list_candidates(facts) if each.is_trusting]
    command = fixes.annotate_account(facts.cluster, names.CLIENT_ID, "CLIENT_ID")
    if trusting:
        listed = ", ".join(
            f"{sanitize(each.client_id)} ({sanitize(each.name)})" for each in trusting[:_MAX_NAMES]
        )
        return f"{command}; these identities trust the ServiceAccount: {listed}"
    return f"{_list_command(facts)} lists the client ids, then: {command}"


def _find_client_id(facts: Facts) -> str:
    """Return the client id that was meant; empty if it is not known."""
    present = facts.cluster.client_id
    is_unread = isinstance(facts.cloud.identity, Unread)
    # Without a sign-in, the client id with which the pod was created is the best that is known.
    if _is_present_identity_right(facts) or (is_unread and is_guid(present)):
        return present
    for named in (facts.cloud.other_id, facts.cloud.next and facts.cloud.next.other):
        if named is not None and is_guid(named.client_id):
            return named.client_id
    candidates = _list_candidates(facts)
    for wanted in (
        [each for each in candidates if each.is_trusting],
        [each for each in candidates if not each.is_trusting],
    ):
        if len(wanted) == 1:
            return wanted[0].client_id
    # A GUID with blanks or braces around it.
    written = _GUID.findall(facts.cluster.annotations.get(names.CLIENT_ID, ""))
    is_malformed = not is_guid(facts.cluster.annotations.get(names.CLIENT_ID, ""))
    return written[0].lower() if len(written) == 1 and is_malformed and not candidates else ""


def _list_candidates(facts: Facts) -> list[IdentityCandidate]:
    found = facts.cloud.candidates
    return [] if isinstance(found, Unread) else [each for each in found if is_guid(each.client_id)]


def _list_command(facts: Facts) -> str:
    if facts.cloud.is_only_directory:
        return "`podpass identity list`"
    return '`az identity list --query "[].{name:name,clientId:clientId}"`'


def _is_present_identity_right(facts: Facts) -> bool:
    """Return whether the pod has another client id than its account, and a credential trusts it."""
    cloud = facts.cloud
    if cloud.next is None or not isinstance(cloud.identity, DirectoryIdentity):
        return False
    if isinstance(cloud.credentials, Unread):
        return False
    try:
        presented = read_presented(facts)
    except FactUnread:
        return False
    return any(matches(each, presented) for each in cloud.credentials)


def _find_wrong_next_id(facts: Facts) -> str | None:
    """Return why the next client id of a pod gives it no token; None if it does, or is the present one.

    Raises FactUnread.
    """
    client_id = find_next_client_id(facts.cluster)
    if client_id is None:
        return None
    if not client_id:
        return "it has no annotation client-id now"
    written = sanitize(client_id)
    if not is_guid(client_id):
        return f"its annotation client-id is {written!r}, which is not a GUID"
    following = facts.cloud.next
    if following is None:
        raise FactUnread("the identity of the annotation client-id was not read")
    identity = known(following.identity)
    if identity is None:
        return _describe_unknown(facts, following)
    presented = read_presented(facts)
    if any(matches(each, presented) for each in known(following.credentials)):
        return None
    return (
        f"its annotation client-id is {written}, that of {identity.title}, which has no federated"
        " credential that trusts the ServiceAccount"
    )


def _describe_unknown(facts: Facts, following: NamedIdentity) -> str:
    written = sanitize(following.client_id)
    if following.other is not None:
        meaning = sanitize(following.other)
        return f"its annotation client-id is {written}, which is not a client id but {meaning}"
    return (
        f"its annotation client-id is {written}, and no application and no managed identity of the"
        f" tenant {_read_tenant(facts)} has this client id"
    )


def _read_tenant(facts: Facts) -> str:
    """Return the tenant in which no identity has the client id.

    Raises FactUnread if the workload uses another one.
    """
    cloud = facts.cloud
    if not cloud.is_only_directory and not is_same_directory(facts):
        tenant = sanitize(facts.cluster.tenant_id)
        raise FactUnread(
            f"the workload uses the tenant {tenant}, the sign-in is for {known(cloud.tenant_id)}"
        )
    return known(cloud.tenant_id)


def is_next_id_wrong(facts: Facts) -> bool:
    """Return whether it is known that a new pod would get no token with its next client id."""
    try:
        return _find_wrong_next_id(facts) is not None
    except FactUnread:
        return False


def is_next_id_unread(facts: Facts) -> bool:
    """Return whether it is unknown if a new pod would get a token with its next client id."""
    try:
        _find_wrong_next_id(facts)
    except FactUnread:
        return True
    return False


CHECKS.warning(
    "client-id-missing",
    "the ServiceAccount has the annotation client-id, or each container its own variable",
    _suggest_or_other_account,
    on_account=True,
)
CHECKS.warning(
    "client-id-malformed", "the annotation client-id is a GUID", suggest_fix, on_account=True
)


@CHECKS.check(
    "client-id-wrong",
    "a changed annotation client-id names an identity that trusts the ServiceAccount",
)
def _check_next_id(facts: Facts) -> Problem | None:
    """Find an annotation that breaks the pod when it is created again; other checks name a malformed one."""
    if not is_guid(find_next_client_id(facts.cluster)):
        return None
    why = _find_wrong_next_id(facts)
    if why is None:
        return None
    pod = facts.cluster.workload
    message = f"{why}; {pod} still runs with {sanitize(facts.cluster.client_id)}"
    if _is_present_identity_right(facts):
        message += ", which is right, and would get no token after a restart"
    return Problem(facts.cluster.account_title, message, suggest_fix(facts))


@CHECKS.check(
    "identity-unknown",
    "an application or managed identity has the client id",
    stage=Stage.DIRECTORY,
)
def _check_identity(facts: Facts) -> Problem | None:
    if known(facts.cloud.identity) is not None:
        return None
    other = facts.cloud.other_id
    message = (
        f"this is not a client id but {sanitize(other)}"
        if other is not None
        else f"no application and no managed identity of the tenant {_read_tenant(facts)} has this client id"
    )
    return Problem(f"client id {sanitize(facts.cluster.client_id)}", message, _client_id_fix(facts))


def _client_id_fix(facts: Facts) -> str:
    """Return the fix of a client id that the workload has now: in its own variable, or in the annotation."""
    cluster = facts.cluster
    if find_next_client_id(cluster) is not None:
        if not is_next_id_wrong(facts):
            return fixes.create_again(cluster)
    elif cluster.client_id != cluster.annotations.get(names.CLIENT_ID, cluster.client_id):
        return fixes.edit_pod(cluster, f"correct or remove the variable {names.ENV_CLIENT_ID}")
    fix = suggest_fix(facts)
    return f"{fix}; then {fixes.create_again(cluster)}" if cluster.pod_name else fix


CHECKS.warning(
    "tenant-empty", "the annotation tenant-id is not empty", _set_tenant, on_account=True
)
CHECKS.warning(
    "tenant-malformed",
    "the annotation tenant-id is a GUID or a domain",
    _set_tenant,
    on_account=True,
)


@CHECKS.check(
    "annotation-invalid", "token expiration and port of the sidecar are numbers in their range"
)
def _find_invalid_annotation(facts: Facts) -> Problem | None:
    decision = facts.cluster.decision
    if decision is None or not isinstance(decision.refusal, BadAnnotation):
        return None
    refusal = decision.refusal
    return Problem(facts.cluster.workload, refusal.message, refusal.hint)


CHECKS.warning(
    "belongs-on-account", "client-id and tenant-id are on the ServiceAccount", "move the annotation"
)
CHECKS.warning(
    "belongs-on-pod",
    "annotations of the sidecar and of containers are on the pod",
    _edit_account,
    on_account=True,
)
CHECKS.warning(
    "account-annotation-unknown",
    "the ServiceAccount has no misspelled annotation",
    _edit_account,
    on_account=True,
)
CHECKS.warning(
    "annotation-unknown",
    "the pod has no misspelled annotation",
    "correct the annotation",
    code="unknown_annotation",
)
CHECKS.warning(
    "annotation-as-label", "no annotation is written as a label", "write it as an annotation"
)
CHECKS.warning(
    "label-unknown", "the pod has no misspelled label", "correct the label", code="unknown_label"
)
CHECKS.warning(
    "skips-nothing", "each name in skip-containers is a container", "correct skip-containers"
)

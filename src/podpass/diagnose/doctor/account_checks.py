"""The checks of what the user writes: namespace, pod, label, ServiceAccount, annotations. Pure."""

from collections.abc import Callable

from podpass import names
from podpass.account.model import BadAnnotation
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.model import ClusterFacts, DoctorCheck, Facts, Problem, Stage
from podpass.facts import Unread, known
from podpass.kubernetes.objects import Object

Run = Callable[[Facts], Problem | None]


def labels_of(facts: ClusterFacts) -> Object:
    """Return the labels of the pod."""
    pod = facts.pod if isinstance(facts.pod, dict) else {}
    return (pod.get("metadata") or {}).get("labels") or {}


def account_of(facts: ClusterFacts) -> str:
    """Return how findings name the ServiceAccount."""
    return f"ServiceAccount {facts.namespace_name}/{facts.account_name}"


def _find_missing_namespace(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if known(cluster.namespace) is not None:
        return None
    return Problem(
        f"Namespace {cluster.namespace_name}",
        "the namespace does not exist",
        "list the namespaces: kubectl get namespaces; then pass -n NAMESPACE",
    )


def _find_missing_pod(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if not cluster.pod_name or known(cluster.pod) is not None:
        return None
    return Problem(
        cluster.workload,
        "the pod does not exist",
        f"list the pods: kubectl get pods -n {cluster.namespace_name}",
    )


def _find_missing_account(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    if known(cluster.account) is not None or (cluster.pod_name and cluster.pod is None):
        return None
    if cluster.namespace is None:
        return None
    return Problem(
        account_of(cluster),
        "the ServiceAccount does not exist, so no pod with it can be created",
        f"kubectl create serviceaccount {cluster.account_name} -n {cluster.namespace_name}",
    )


def _find_label_on_owner(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    owner = cluster.owner
    if isinstance(owner, Unread) or owner is None or names.USE_LABEL in labels_of(cluster):
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


def _find_wrong_label(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    value = labels_of(cluster).get(names.USE_LABEL)
    if value in (None, "true"):
        return None
    return Problem(
        cluster.workload,
        f'label {names.USE_LABEL} is {value!r}; the webhook selects only the value "true"',
        fixes.label_template(cluster),
    )


def _find_missing_label(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    pod = known(cluster.pod)
    if pod is None or names.USE_LABEL in labels_of(cluster):
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


def _find_invalid_annotation(facts: Facts) -> Problem | None:
    decision = facts.cluster.decision
    if decision is None or not isinstance(decision.refusal, BadAnnotation):
        return None
    refusal = decision.refusal
    return Problem(facts.cluster.workload, refusal.message, refusal.hint)


def warning_check(
    code: str, place: Callable[[ClusterFacts], str], fix: Callable[[Facts], str]
) -> Run:
    """Return a check that finds a warning of the webhook's rules."""

    def run(facts: Facts) -> Problem | None:
        decision = facts.cluster.decision
        found = () if decision is None else decision.warnings.get(code, ())
        if not found:
            return None
        object_name = place(facts.cluster)
        message = "; ".join(_remove_object(each, object_name) for each in found)
        return Problem(object_name, message, fix(facts))

    return run


def _remove_object(warning: str, object_name: str) -> str:
    """Return a warning without the object at its beginning, which a finding names already."""
    text = warning.removeprefix(f"{object_name}: ")
    return f"it {text.removeprefix(object_name).lstrip()}" if text.startswith(object_name) else text


def workload_of(facts: ClusterFacts) -> str:
    """Return how findings name the workload."""
    return facts.workload


def edits(change: str) -> Callable[[Facts], str]:
    """Return a fix that changes the pod."""
    return lambda facts: fixes.edit_pod(facts.cluster, change)


def _edit_account(facts: Facts) -> str:
    cluster = facts.cluster
    return f"kubectl edit serviceaccount {cluster.account_name} -n {cluster.namespace_name}"


def _label_template(facts: Facts) -> str:
    return fixes.label_template(facts.cluster)


def _set_tenant(facts: Facts) -> str:
    """Return the command with the tenant that was read, else one that uses the webhook's default."""
    tenant = facts.cloud.tenant_id
    if isinstance(tenant, Unread):
        return fixes.remove_annotation(facts.cluster, names.TENANT_ID)
    return fixes.annotate_account(facts.cluster, names.TENANT_ID, tenant)


_SELECTION: tuple[tuple[str, str, Run], ...] = (
    ("namespace-missing", "the namespace exists", _find_missing_namespace),
    ("pod-missing", "the pod exists", _find_missing_pod),
    ("account-missing", "the ServiceAccount of the pod exists", _find_missing_account),
    (
        "label-as-annotation",
        f"`{names.USE_LABEL}` is a label, not an annotation",
        warning_check("label_as_annotation", workload_of, _label_template),
    ),
    (
        "label-on-owner",
        "the label is on the pod template, not only on the Deployment",
        _find_label_on_owner,
    ),
    ("label-not-true", 'the value of the label is `"true"`', _find_wrong_label),
    ("label-missing", f"the pod has the label `{names.USE_LABEL}`", _find_missing_label),
)
_ANNOTATIONS: tuple[tuple[str, str, Run], ...] = (
    (
        "tenant-empty",
        "the annotation tenant-id is not empty",
        warning_check("tenant_empty", account_of, _set_tenant),
    ),
    (
        "tenant-malformed",
        "the annotation tenant-id is a GUID or a domain",
        warning_check("tenant_malformed", account_of, _set_tenant),
    ),
    (
        "annotation-invalid",
        "token expiration and port of the sidecar are numbers in their range",
        _find_invalid_annotation,
    ),
    (
        "belongs-on-account",
        "client-id and tenant-id are on the ServiceAccount",
        warning_check("belongs_on_account", workload_of, edits("move the annotation")),
    ),
    (
        "belongs-on-pod",
        "annotations of the sidecar and of containers are on the pod",
        warning_check("belongs_on_pod", account_of, _edit_account),
    ),
    (
        "account-annotation-unknown",
        "the ServiceAccount has no misspelled annotation",
        warning_check("account_annotation_unknown", account_of, _edit_account),
    ),
    (
        "annotation-unknown",
        "the pod has no misspelled annotation",
        warning_check("unknown_annotation", workload_of, edits("correct the annotation")),
    ),
    (
        "annotation-as-label",
        "no annotation is written as a label",
        warning_check("annotation_as_label", workload_of, edits("write it as an annotation")),
    ),
    (
        "label-unknown",
        "the pod has no misspelled label",
        warning_check("unknown_label", workload_of, edits("correct the label")),
    ),
    (
        "skips-nothing",
        "each name in skip-containers is a container",
        warning_check("skips_nothing", workload_of, edits("correct skip-containers")),
    ),
)
SELECTION, ANNOTATIONS = (
    tuple(DoctorCheck(name, Stage.ACCOUNT, meaning, run) for name, meaning, run in rows)
    for rows in (_SELECTION, _ANNOTATIONS)
)

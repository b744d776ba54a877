"""The checks of the webhook: registered, selecting, reachable, trusted, and what it does to the pod. Pure.

The checks of its Service and certificate explain why it cannot be called. They find nothing while the dry run
of a pod shows that the webhook works.
"""

import base64
import binascii
from collections.abc import Collection, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from podpass import names
from podpass.account.model import BadAnnotation, MountPathTaken, ProxyOnHostNetwork
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.account_checks import is_next_id_unread, is_next_id_wrong
from podpass.diagnose.doctor.check_table import CheckTable
from podpass.diagnose.doctor.model import ClusterFacts, Facts, Problem, Stage
from podpass.diagnose.drift.comparison import (
    find_differences,
    find_drift,
    injected_values,
    is_injected,
)
from podpass.facts import FactUnread, Unread, known
from podpass.kubernetes.objects import Object, Preview, list_containers, matches

REGISTRATION = CheckTable(Stage.ADMISSION)
SERVICE = CheckTable(Stage.ADMISSION)
EFFECT = CheckTable(Stage.ADMISSION)
_SHOWN = 3
INSTALL = (
    "install the webhook: docs/operate/install.md has the `helm install`; on AKS: az aks update --name"
    " CLUSTER --resource-group GROUP --enable-oidc-issuer --enable-workload-identity; on a local instance:"
    " podpass down, then podpass up"
)
_RESTART = "kubectl rollout restart deployment azure-wi-webhook-controller-manager -n {}"


def entries(facts: ClusterFacts) -> Iterator[tuple[str, Object]]:
    """Yield the entries that give pods their identity, with the name of their configuration."""
    for configuration in known(facts.registrations):
        for entry in configuration.get("webhooks") or ():
            if entry.get("name") == names.WEBHOOK_NAME:
                yield str(configuration["metadata"]["name"]), entry


def is_working(facts: ClusterFacts) -> bool:
    """Return whether the dry run shows that the webhook changes pods now."""
    preview = facts.preview
    return isinstance(preview, Preview) and preview.pod is not None and is_injected(preview.pod)


def _selects(facts: ClusterFacts, entry: Object) -> bool:
    return matches(entry.get("namespaceSelector") or {}, _namespace_labels(facts))


def _namespace_labels(facts: ClusterFacts) -> dict[str, str]:
    found = known(facts.namespace) or {}
    return (found.get("metadata") or {}).get("labels") or {}


def _selected_entries(facts: ClusterFacts) -> list[tuple[str, Object]]:
    return [(name, entry) for name, entry in entries(facts) if _selects(facts, entry)]


@REGISTRATION.check("webhook-missing", "a webhook of Workload ID is registered")
def _find_missing_webhook(facts: Facts) -> Problem | None:
    if known(facts.cluster.registrations):
        return None
    return Problem(
        f"MutatingWebhookConfiguration {names.WEBHOOK_CONFIGURATION}",
        "no webhook of Workload ID is registered, so no pod gets an identity",
        INSTALL,
    )


@REGISTRATION.check("webhook-twice", "only one webhook changes the pods of the namespace")
def _find_second_webhook(facts: Facts) -> Problem | None:
    selected = _selected_entries(facts.cluster)
    if len(selected) < 2:
        return None
    listed = ", ".join(name for name, _ in selected)
    return Problem(
        f"MutatingWebhookConfiguration {selected[1][0]}",
        f"{len(selected)} webhooks of Workload ID change the same pods ({listed}); the first one decides"
        " tenant and authority",
        f"uninstall one of them, or: kubectl delete mutatingwebhookconfiguration {selected[1][0]}",
    )


@REGISTRATION.check("webhook-rules", "the webhook selects labelled pods when they are created")
def _find_wrong_rules(facts: Facts) -> Problem | None:
    """Find an entry that does not select labelled pods that are created."""
    wanted = {**facts.cluster.labels, names.USE_LABEL: "true"}
    for name, entry in entries(facts.cluster):
        selects = matches(entry.get("objectSelector") or {}, wanted)
        if not selects or not any(map(_covers_pods, entry.get("rules") or ())):
            part = "rules" if selects else "objectSelector"
            return Problem(
                f"MutatingWebhookConfiguration {name}",
                f"its {part} do not select labelled pods when they are created"
                if selects
                else f"its {part} does not select the labels of the pod",
                "install the chart again, or remove the change: kubectl edit"
                f" mutatingwebhookconfiguration {name}",
            )
    return None


def _covers_pods(rule: Object) -> bool:
    return (
        bool({"CREATE", "*"} & set(rule.get("operations") or ()))
        and bool({"pods", "*", "*/*"} & set(rule.get("resources") or ()))
        and bool({"", "*"} & set(rule.get("apiGroups") or ()))
    )


@REGISTRATION.check(
    "namespace-exempt", "the namespaceSelector of the webhook selects the namespace"
)
def _find_exempt_namespace(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    registered = list(entries(cluster))
    if not registered or _selected_entries(cluster) or known(cluster.namespace) is None:
        return None
    name, entry = registered[0]
    failed = ", ".join(_unmet_requirements(entry["namespaceSelector"], _namespace_labels(cluster)))
    return Problem(
        f"Namespace {cluster.namespace_name}",
        f"the namespaceSelector of the webhook {name} does not select the namespace: {failed}",
        "move the workload to another namespace, or change the label of this one: kubectl get namespace"
        f" {cluster.namespace_name} --show-labels",
    )


def _unmet_requirements(selector: Object, labels: dict[str, str]) -> Iterator[str]:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            yield f"{key} must be {value}"
    for each in selector.get("matchExpressions") or ():
        if not matches({"matchExpressions": [each]}, labels):
            values = each.get("values")
            yield f"{each.get('key')} {each.get('operator')}" + (
                f" ({', '.join(map(str, values))})" if values else ""
            )


def _services(facts: ClusterFacts) -> Iterator[tuple[str, str, Object]]:
    """Yield namespace and name of each entry's Service, unless the webhook works."""
    if is_working(facts):
        return
    for _, entry in entries(facts):
        service = (entry.get("clientConfig") or {}).get("service")
        if service:
            yield str(service.get("namespace")), str(service.get("name")), entry


@SERVICE.check("webhook-service-missing", "the Service of the webhook exists")
def _find_missing_service(facts: Facts) -> Problem | None:
    for namespace, name, _ in _services(facts.cluster):
        if not known(facts.cluster.services[f"{namespace}/{name}"]).exists:
            return Problem(
                f"Service {namespace}/{name}",
                "the Service of the webhook does not exist",
                INSTALL,
            )
    return None


@SERVICE.check("webhook-without-endpoints", "a pod of the webhook is ready")
def _find_no_endpoints(facts: Facts) -> Problem | None:
    for namespace, name, _ in _services(facts.cluster):
        found = known(facts.cluster.services[f"{namespace}/{name}"])
        if found.exists and not found.ready:
            return Problem(
                f"Service {namespace}/{name}",
                "no pod of the webhook is ready, so the API server cannot call it",
                f"kubectl get pods -n {namespace} -l azure-workload-identity.io/system=true; then:"
                f" kubectl describe deployment azure-wi-webhook-controller-manager -n {namespace}",
            )
    return None


def _authorities(entry: Object) -> list[x509.Certificate] | None:
    """Return the certificates of the caBundle; None if it is empty or not PEM."""
    bundle = (entry.get("clientConfig") or {}).get("caBundle") or ""
    try:
        return x509.load_pem_x509_certificates(base64.b64decode(bundle, validate=True))
    except (ValueError, binascii.Error):
        return None


@SERVICE.check("webhook-ca-invalid", "the caBundle has a CA that is valid now")
def _find_invalid_ca(facts: Facts) -> Problem | None:
    if is_working(facts.cluster):
        return None
    for name, entry in entries(facts.cluster):
        found = _authorities(entry)
        now = facts.cluster.now
        if found and any(each.not_valid_after_utc.timestamp() > now for each in found):
            continue
        what = "has expired" if found else "is empty or not PEM"
        return Problem(
            f"MutatingWebhookConfiguration {name}",
            f"the caBundle of {entry['name']} {what}, so the API server does not trust the webhook",
            restart(entry),
        )
    return None


def restart(entry: Object) -> str:
    """Return the command that restarts the webhook of an entry."""
    service = (entry.get("clientConfig") or {}).get("service")
    if not service:
        return "restart the local instance: podpass down, then podpass up"
    return _RESTART.format(service.get("namespace"))


def _leaf(facts: ClusterFacts) -> x509.Certificate | None:
    """Return the serving certificate; None if the webhook works, has no Service or no Secret."""
    if next(_services(facts), None) is None:
        return None
    content = known(facts.certificate)
    if not content:
        return None
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        return None


def _certificate_place(facts: ClusterFacts) -> str:
    namespace = next(_services(facts))[0]
    return f"Secret {namespace}/{names.CERTIFICATE_SECRET}"


@SERVICE.check("webhook-certificate-expired", "the webhook's certificate is valid")
def _find_expired_certificate(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    leaf = _leaf(cluster)
    if leaf is None or leaf.not_valid_after_utc.timestamp() > cluster.now:
        return None
    _, _, entry = next(_services(cluster))
    return Problem(
        _certificate_place(cluster),
        f"the certificate of the webhook expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        restart(entry),
    )


@SERVICE.check(
    "webhook-certificate-untrusted", "a CA of the caBundle has signed the webhook's certificate"
)
def _find_untrusted_certificate(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    leaf = _leaf(cluster)
    if leaf is None:
        return None
    for _, _, entry in _services(cluster):
        found = _authorities(entry)
        if found and not any(_issued(leaf, each) for each in found):
            return Problem(
                _certificate_place(cluster),
                "no CA in the caBundle of the webhook has signed its certificate",
                restart(entry),
            )
    return None


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@SERVICE.check("webhook-certificate-name", "the webhook's certificate has the name of its Service")
def _find_wrong_certificate_name(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    leaf = _leaf(cluster)
    if leaf is None:
        return None
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        listed = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        listed = []
    for namespace, name, entry in _services(cluster):
        if f"{name}.{namespace}.svc" not in listed:
            return Problem(
                _certificate_place(cluster),
                f"the certificate of the webhook is not for {name}.{namespace}.svc",
                restart(entry),
            )
    return None


def has_finding(facts: Facts) -> bool:
    """Return whether a check of this module finds the cause."""
    for check in SERVICE:
        try:
            if check.run(facts) is not None:
                return True
        except FactUnread:
            continue
    return False


@EFFECT.check("webhook-unreachable", "the API server can call the webhook (dry run of the pod)")
def _find_unreachable(facts: Facts) -> Problem | None:
    """Find a webhook that the API server cannot call, for a reason that no other check finds."""
    cluster = facts.cluster
    refusal = known(cluster.preview).refusal
    if "failed calling webhook" not in refusal or has_finding(facts):
        return None
    entry = next(((name, each) for name, each in entries(cluster)), None)
    if entry is None or names.WEBHOOK_NAME not in refusal:
        return Problem(
            cluster.workload,
            f"another webhook prevents the creation of the pod: {refusal}",
            "repair or remove the webhook that the message names",
        )
    return Problem(
        f"MutatingWebhookConfiguration {entry[0]}",
        f"the API server cannot call the webhook: {refusal.partition(': ')[2] or refusal}",
        restart(entry[1]),
    )


@EFFECT.check("mount-path-taken", "no container mounts a volume at the token's path")
def _find_mount_conflict(facts: Facts) -> Problem | None:
    decision = facts.cluster.decision
    refusal = None if decision is None else decision.refusal
    if refusal is None or isinstance(refusal, BadAnnotation | ProxyOnHostNetwork):
        return None
    is_mount = isinstance(refusal, MountPathTaken)
    return Problem(
        facts.cluster.workload,
        refusal.message,
        fixes.edit_pod(facts.cluster, refusal.hint) if is_mount else refusal.hint,
    )


def _is_labelled(facts: ClusterFacts) -> bool:
    if facts.pod is None and not facts.pod_name:
        return True  # the dry run of a ServiceAccount is a labelled pod
    return facts.labels.get(names.USE_LABEL) == "true"


@EFFECT.check("pod-refused", "admission accepts the pod (dry run of the pod)")
def _find_refused_pod(facts: Facts) -> Problem | None:
    """Find a pod that admission refuses now, for a reason that no other check finds."""
    cluster = facts.cluster
    refusal = known(cluster.preview).refusal
    decision = cluster.decision
    if not refusal or "failed calling webhook" in refusal or (decision and decision.refusal):
        return None
    return Problem(
        cluster.workload,
        f"admission refuses the pod now: {refusal}",
        "correct what the message names; `podpass explain` takes its text",
    )


@EFFECT.check(
    "webhook-fails-open", "no pod was created unchanged because of `failurePolicy: Ignore`"
)
def _find_fail_open(facts: Facts) -> Problem | None:
    """Find a webhook with failurePolicy Ignore whose failures have left, or leave now, a pod unchanged."""
    cluster = facts.cluster
    if not _is_labelled(cluster):
        return None
    preview = cluster.preview
    unchanged = isinstance(preview, Preview) and preview.pod is not None and not is_working(cluster)
    pod = cluster.pod if cluster.pod_name else None
    missed = isinstance(pod, dict) and not is_injected(pod)
    for name, entry in _selected_entries(cluster):
        if entry.get("failurePolicy") == "Ignore" and (unchanged or missed):
            return Problem(
                f"MutatingWebhookConfiguration {name}",
                "its failurePolicy is Ignore: while the webhook does not answer, pods are created"
                " without an identity",
                "set mutatingWebhookFailurePolicy=Fail in the chart, or: kubectl edit"
                f" mutatingwebhookconfiguration {name}",
            )
    return None


@EFFECT.check("webhook-without-effect", "the webhook changes a labelled pod")
def _find_no_effect(facts: Facts) -> Problem | None:
    """Find a webhook that is called, or should be, and changes nothing."""
    cluster = facts.cluster
    preview = known(cluster.preview)
    if preview.pod is None or is_working(cluster) or not _is_labelled(cluster):
        return None
    selected = _selected_entries(cluster)
    if not selected or _find_wrong_rules(facts) or _find_fail_open(facts):
        return None
    return Problem(
        f"MutatingWebhookConfiguration {selected[0][0]}",
        "the API server calls the webhook, but a labelled pod stays as it is",
        "check matchConditions and the address of the webhook, and that skip-containers leaves a"
        f" container: kubectl get mutatingwebhookconfiguration {selected[0][0]} -o yaml",
    )


@EFFECT.check("virtual-node", "the pod does not run on a virtual node")
def _find_virtual_node(facts: Facts) -> Problem | None:
    cluster = facts.cluster
    decision = cluster.decision
    found = () if decision is None else decision.warnings.get("virtual_node", ())
    node = cluster.node if isinstance(cluster.node, dict) else {}
    labels = (node.get("metadata") or {}).get("labels") or {}
    if not found and labels.get("type") != "virtual-kubelet":
        return None
    return Problem(
        cluster.workload,
        found[0] if found else "the pod runs on a virtual node, where no token is projected",
        fixes.edit_pod(cluster, "remove the toleration and the node selector of the virtual node"),
    )


EFFECT.warning(
    "secret-first",
    "no container has a client secret or certificate, which SDKs try first",
    "remove the variable",
)
EFFECT.warning(
    "legacy-path-taken",
    "no container mounts a volume at the earlier path of the token",
    "mount it at another path",
)


@EFFECT.check("pod-outdated", "the pod has what admission would give it now (dry run of the pod)")
def _find_outdated_pod(facts: Facts) -> Problem | None:
    cluster, preview = facts.cluster, facts.cluster.preview
    if not isinstance(cluster.pod, dict) or not cluster.pod_name or not _is_labelled(cluster):
        return None
    if isinstance(preview, Unread):
        return _compare_with_account(facts, cluster.pod, preview)
    if preview.pod is None or not is_working(cluster):
        return None
    if not is_injected(cluster.pod):
        return Problem(
            cluster.workload,
            "the pod has no identity, but would get one now: it is older than its label, or the webhook"
            " was not called when it was created",
            fixes.create_again(cluster),
        )
    found = [
        each for each in find_drift(cluster.pod, preview.pod) if not _is_to_stay(facts, each.member)
    ]
    if not found:
        return None
    cause = "the pod is older than its configuration: " + "; ".join(
        f"{each.place}: {each.member} is {each.present or 'not set'}, now it would be"
        f" {each.expected or 'not set'}"
        for each in found[:_SHOWN]
    )
    return Problem(cluster.workload, cause, _create_again(facts, {each.member for each in found}))


def _is_to_stay(facts: Facts, member: str) -> bool:
    """Return whether the value of the pod is right, and the annotation wrong: another check names that."""
    return member == names.ENV_CLIENT_ID and is_next_id_wrong(facts)


def _create_again(facts: Facts, members: Collection[str]) -> str:
    """Return the fix; if it is not known that the new client id is right, also how to keep the old one."""
    cluster = facts.cluster
    again = fixes.create_again(cluster)
    if names.ENV_CLIENT_ID not in members or not is_next_id_unread(facts):
        return again
    old = fixes.annotate_account(cluster, names.CLIENT_ID, cluster.client_id)
    return f"if the new client id is right: {again}; otherwise: {old}"


def _compare_with_account(facts: Facts, pod: Object, preview: Unread) -> Problem | None:
    """Compare the variables of a pod with the annotations of its account, without a dry run.

    Raises FactUnread if they are equal, because the rest is not compared.
    """
    account = known(facts.cluster.account)
    for container in list_containers(pod) if account is not None else ():
        values = injected_values(container.get("env") or ())
        for name, (old, new) in find_differences(values, facts.cluster.annotations, None).items():
            if _is_to_stay(facts, name):
                continue
            return Problem(
                facts.cluster.workload,
                f"the pod is older than the annotations of its ServiceAccount: {name} is"
                f" {old or 'not set'}, now it would be {new or 'not set'}",
                _create_again(facts, {name}),
            )
    raise FactUnread(preview.reason)


CHECKS = (*REGISTRATION, *SERVICE, *EFFECT)

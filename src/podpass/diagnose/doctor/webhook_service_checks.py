"""The checks of the webhook's Service and certificate, which explain why it cannot be called. Pure.

They find nothing while the dry run of a pod shows that the webhook works.
"""

import base64
import binascii
from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from podpass import names
from podpass.diagnose.doctor.model import ClusterFacts, DoctorCheck, Facts, Problem, Stage
from podpass.diagnose.drift.comparison import is_injected
from podpass.facts import FactUnread, known
from podpass.kubernetes.objects import Object, Preview

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


def _services(facts: ClusterFacts) -> Iterator[tuple[str, str, Object]]:
    """Yield namespace and name of each entry's Service, unless the webhook works."""
    if is_working(facts):
        return
    for _, entry in entries(facts):
        service = (entry.get("clientConfig") or {}).get("service")
        if service:
            yield str(service.get("namespace")), str(service.get("name")), entry


def _find_missing_service(facts: Facts) -> Problem | None:
    for namespace, name, _ in _services(facts.cluster):
        if not known(facts.cluster.services[f"{namespace}/{name}"]).exists:
            return Problem(
                f"Service {namespace}/{name}",
                "the Service of the webhook does not exist",
                INSTALL,
            )
    return None


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


_ROWS: tuple[tuple[str, str, Callable[[Facts], Problem | None]], ...] = (
    ("webhook-service-missing", "the Service of the webhook exists", _find_missing_service),
    ("webhook-without-endpoints", "a pod of the webhook is ready", _find_no_endpoints),
    ("webhook-ca-invalid", "the caBundle has a CA that is valid now", _find_invalid_ca),
    (
        "webhook-certificate-expired",
        "the webhook's certificate is valid",
        _find_expired_certificate,
    ),
    (
        "webhook-certificate-untrusted",
        "a CA of the caBundle has signed the webhook's certificate",
        _find_untrusted_certificate,
    ),
    (
        "webhook-certificate-name",
        "the webhook's certificate has the name of its Service",
        _find_wrong_certificate_name,
    ),
)
CHECKS = tuple(DoctorCheck(name, Stage.ADMISSION, meaning, run) for name, meaning, run in _ROWS)


def has_finding(facts: Facts) -> bool:
    """Return whether a check of this module finds the cause."""
    for check in CHECKS:
        try:
            if check.run(facts) is not None:
                return True
        except FactUnread:
            continue
    return False

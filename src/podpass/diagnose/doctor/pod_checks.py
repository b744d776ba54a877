"""The checks of the pod: why it does not run, its token, clock, network, SDK and sidecar. Pure."""

from collections.abc import Iterator

from podpass import names
from podpass.account.model import ProxyOnHostNetwork
from podpass.clouds import CLOUDS
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.check_table import CheckTable
from podpass.diagnose.doctor.cloud_checks import has_wrong_authority
from podpass.diagnose.doctor.model import (
    ClusterFacts,
    ContainerFacts,
    DirectoryIdentity,
    Facts,
    PodToken,
    Problem,
    ResourceFacts,
    Stage,
)
from podpass.diagnose.doctor.pods import (
    describe_stop,
    find_log,
    find_stopped,
    find_vault,
    has_run,
    list_statuses,
)
from podpass.diagnose.drift.comparison import is_injected
from podpass.diagnose.explain.recognition import ErrorExplanation, explain_recognition, recognize
from podpass.facts import Unread, known
from podpass.kubernetes.objects import (
    Object,
    Preview,
    list_containers,
    list_projected_tokens,
)
from podpass.migration.scan.decision import decide_all
from podpass.migration.scan.model import Mention, Result
from podpass.provision.errors import sanitize

ASSERTION = CheckTable(Stage.ASSERTION)
EXCHANGE = CheckTable(Stage.EXCHANGE)
IMDS = CheckTable(Stage.IMDS)
MAX_CLOCK_SECONDS = 240  # Entra accepts a difference of five minutes
_AUDIENCES = frozenset(cloud.exchange_audience for cloud in CLOUDS.values())
_MANY_RESTARTS = 3
_UNKNOWN_IMAGES = {"image_unknown", "image_unknown_kubeling"}
_AUTHORITY_ERRORS = {
    "sdk_authority_unreachable",
    "sdk_authority_document",
    "sdk_authority_malformed",
    "proxy_refused",
}
_PROXY_USER = "set runAsUser on containers, not on the pod"


def _stopped(facts: Facts) -> tuple[Object, str] | None:
    """Return the first container that does not run, and why."""
    pod = facts.cluster.pod
    return find_stopped(pod, facts.cluster.now) if isinstance(pod, dict) else None


def _explain_log(facts: Facts) -> ErrorExplanation | None:
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


@ASSERTION.check("pod-unscheduled", "the pod has a node")
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


@ASSERTION.check(
    "reference-missing", "each Secret and ConfigMap that the pod needs exists", optional=True
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


@ASSERTION.check(
    "container-error",
    "the log of a container that does not run has no error that podpass knows",
    optional=True,
    is_symptom=True,
)
def _find_container_error(facts: Facts) -> Problem | None:
    stopped = _stopped(facts)
    if stopped is None or (found := _explain_log(facts)) is None or _is_explained(facts):
        return None
    status, cause = stopped
    return Problem(
        facts.cluster.workload,
        f"container {status['name']} does not run: {cause}. Its log says:"
        f" {sanitize(found.cause).removesuffix('.')}. This means: {found.meaning.removesuffix('.')}",
        found.fix.removesuffix("."),
    )


@ASSERTION.check("container-not-running", "every container of the pod runs", is_symptom=True)
def _find_waiting_container(facts: Facts) -> Problem | None:
    stopped, cluster = _stopped(facts), facts.cluster
    if stopped is None or _is_config_error(stopped[0]):
        return None  # `reference-missing` names it
    if not isinstance(cluster.log, Unread) and _explain_log(facts) is not None:
        return None  # `container-error` reports it, or the check of its cause
    status, cause = stopped
    where = f"{cluster.pod_name} -n {cluster.namespace_name}"
    fix = f"kubectl logs {where} -c {status['name']}{find_log(status)}; `podpass explain` takes its text"
    return Problem(
        cluster.workload,
        f"container {status['name']} does not run: {cause}",
        fix if has_run(status) else _fix_image(status) or f"kubectl describe pod {where}",
    )


def _fix_image(status: Object) -> str:
    """Return the command for an image that podpass has no command for; empty for any other cause."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    values = {"IMAGE": str(status["image"])} if status.get("image") else {}
    found = recognize(str(waiting.get("message") or "")).findings
    runs = [each.fill(values).sentence.run for each in found if each.sentence.id in _UNKNOWN_IMAGES]
    return runs[0] if runs else ""


def _is_explained(facts: Facts) -> bool:
    """Return whether another check explains the error of the log.

    Another check reports the error of doctor's own exchange, or of an authority that the pod must not ask.
    An AADSTS number is compared only with the exchange: the authority can be that of another pod with the
    same address.
    """
    exchange, log = facts.cloud.exchange, facts.cluster.log
    if isinstance(log, Unread) or log is None:
        return False
    if not isinstance(exchange, Unread) and exchange.number in log.numbers:
        return True
    first = "" if log.numbers or not log.findings else log.findings[0].sentence.id
    return first in _AUTHORITY_ERRORS and has_wrong_authority(facts)


def _pod(facts: Facts) -> Object | None:
    found = facts.cluster.pod
    return found if isinstance(found, dict) else None


def _container(facts: Facts) -> ContainerFacts | None:
    """Return what was read in the container; None without a pod, or if the pod has no identity.

    Raises FactUnread.
    """
    pod = _pod(facts)
    if pod is None or not is_injected(pod) or facts.cluster.container is None:
        return None
    return known(facts.cluster.container)


def _token(facts: Facts) -> PodToken | None:
    container = _container(facts)
    return None if container is None else known(container.token)


def token_audiences(pod: Object) -> dict[str, str]:
    """Return the audience of each projected token that a container may send to the authority, by volume."""
    files = set(_token_files(pod))
    return {
        volume: str(token.get("audience") or "the API server")
        for volume, token in list_projected_tokens(pod)
        if (volume, str(token.get("path"))) in files
    }


def _token_files(pod: Object) -> Iterator[tuple[str, str]]:
    """Yield volume and path of the file that AZURE_FEDERATED_TOKEN_FILE names, for each container."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for entry in container.get("env") or ():
            file = str(entry.get("value", "")) if entry.get("name") == names.ENV_TOKEN_FILE else ""
            for mount in container.get("volumeMounts") or ():
                folder = str(mount.get("mountPath", "")).rstrip("/") + "/"
                if file.startswith(folder):
                    yield str(mount.get("name")), file.removeprefix(folder)


@ASSERTION.check(
    "token-volume-missing", "a projected token is mounted where AZURE_FEDERATED_TOKEN_FILE points"
)
def _find_missing_volume(facts: Facts) -> Problem | None:
    pod = _pod(facts)
    if pod is None or not is_injected(pod) or token_audiences(pod):
        return None
    return Problem(
        facts.cluster.workload,
        f"{names.ENV_TOKEN_FILE} is set, but no container mounts a projected ServiceAccount token there",
        fixes.edit_pod(
            facts.cluster,
            f"remove {names.ENV_TOKEN_FILE} (the webhook then sets it and its volume)",
        ),
    )


def _usual_audiences(facts: ClusterFacts) -> frozenset[str]:
    """Return the audiences that Entra's clouds expect, and the one of the webhook's setting."""
    preview = facts.preview
    expected = preview.pod if isinstance(preview, Preview) else None
    listed = token_audiences(expected) if expected else {}
    return _AUDIENCES | {
        audience for name, audience in listed.items() if name.startswith(names.VOLUME_PREFIX)
    }


def _wrong_audience(facts: Facts, where: str, audience: str) -> Problem:
    return Problem(
        facts.cluster.workload,
        f"the token {where} is for {audience}; Entra expects {names.EXCHANGE_AUDIENCE}",
        fixes.edit_pod(facts.cluster, f"set audience: {names.EXCHANGE_AUDIENCE}"),
    )


@ASSERTION.check("token-volume-audience", "the projected token in the pod's volumes is for Entra")
def _find_wrong_audience(facts: Facts) -> Problem | None:
    pod = _pod(facts)
    if pod is None or facts.cluster.variable(names.ENV_TOKEN_PROXY):
        return None
    for volume, audience in token_audiences(pod).items():
        if audience not in _usual_audiences(facts.cluster):
            return _wrong_audience(facts, f"in volume {volume}", audience)
    return None


@ASSERTION.check("token-file-missing", "the token file exists in the container", optional=True)
def _find_missing_token(facts: Facts) -> Problem | None:
    container = _container(facts)
    if container is None or known(container.token) is not None:
        return None
    return Problem(
        facts.cluster.workload,
        f"container {container.name} has no file {container.token_file}",
        fixes.create_again(facts.cluster),
    )


@ASSERTION.check("token-subject", "the token names the pod's ServiceAccount", optional=True)
def _find_wrong_subject(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None or token.subject == facts.cluster.subject:
        return None
    return Problem(
        facts.cluster.workload,
        f"the token in the pod is for {token.subject}, not for {facts.cluster.subject}: the file is not"
        " the pod's own projected token",
        fixes.edit_pod(facts.cluster, f"remove {names.ENV_TOKEN_FILE} and the volume of the file"),
    )


@ASSERTION.check("token-audience", "the token in the container is for Entra", optional=True)
def _find_wrong_token_audience(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None or facts.cluster.variable(names.ENV_TOKEN_PROXY):
        return None
    if set(token.audiences) & _usual_audiences(facts.cluster) or _find_wrong_audience(facts):
        return None
    return _wrong_audience(facts, "in the pod", ", ".join(token.audiences))


@ASSERTION.check("token-expired", "the token has not expired", optional=True)
def _find_expired_token(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None or token.expires > facts.cluster.now:
        return None
    late = int(facts.cluster.now - token.expires)
    return Problem(
        facts.cluster.workload,
        f"the token in the pod expired {late} seconds ago; the kubelet has not renewed it",
        "check the kubelet of the node: kubectl describe node; then "
        + fixes.create_again(facts.cluster),
    )


@ASSERTION.check("token-issuer", "the token has the issuer of the API server", optional=True)
def _find_other_issuer(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None:
        return None
    issuer = str(known(facts.cluster.discovery).get("issuer", ""))
    if token.issuer == issuer:
        return None
    return Problem(
        facts.cluster.workload,
        f"the token in the pod is from the issuer {token.issuer}; the API server's issuer is {issuer}",
        "if the issuer of the cluster was changed, " + fixes.create_again(facts.cluster),
    )


@ASSERTION.check(
    "token-key-unknown", "the API server publishes the key of the token", optional=True
)
def _find_unknown_key(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None or not token.key_id:
        return None
    published = {str(each.get("kid")) for each in known(facts.cluster.jwks).get("keys") or ()}
    if token.key_id in published:
        return None
    return Problem(
        facts.cluster.workload,
        f"the key {token.key_id} that signed the token in the pod is not among the API server's keys",
        "add the earlier public key to --service-account-key-file, or "
        + fixes.create_again(facts.cluster),
    )


@ASSERTION.check("clock-wrong", "the clock of the node is right", optional=True)
def _find_wrong_clock(facts: Facts) -> Problem | None:
    container = _container(facts)
    if container is None:
        return None
    offset = known(container.clock_offset)
    if abs(offset) <= MAX_CLOCK_SECONDS:
        return None
    where = "ahead of" if offset > 0 else "behind"
    node = (_pod(facts) or {})["spec"].get("nodeName", "")
    return Problem(
        f"Node {node}",
        f"the clock in the pod is {abs(offset):.0f} seconds {where} this machine's; Entra accepts 300",
        "correct the clock that is wrong: chronyc tracking on the node, and on this machine",
    )


@EXCHANGE.check(
    "authority-unreachable",
    "the container can connect to AZURE_AUTHORITY_HOST",
    optional=True,
)
def _find_unreachable_authority(facts: Facts) -> Problem | None:
    container = _container(facts)
    if container is None:
        return None
    reached = known(container.authority)
    if not reached.error:
        return None
    return Problem(
        facts.cluster.workload,
        f"container {container.name} cannot connect to {reached.url}: {reached.error}",
        fixes.remove_authority(facts.cluster)
        or "allow it in network policies, firewall and proxy of the pod, and check its DNS and CA bundle",
    )


@EXCHANGE.check(
    "sdk-too-old",
    "the identity library in the container uses the token file",
    optional=True,
)
def _find_old_library(facts: Facts) -> Problem | None:
    container = _container(facts)
    if container is None:
        return None
    mentions = [
        ("", Mention(name.partition(":")[0], name.partition(":")[2], version))
        for name, version in known(container.libraries).items()
    ]
    for found in decide_all(mentions):
        if found.result in (Result.UPDATE, Result.SIDECAR) and not _has_sidecar(facts.cluster):
            return Problem(
                facts.cluster.workload,
                f"container {container.name} has {found.library} {found.version}: {found.reason}",
                f"update it, or annotate the pod template with {names.INJECT_PROXY}",
            )
    return None


def _has_sidecar(facts: ClusterFacts) -> bool:
    pod = facts.pod if isinstance(facts.pod, dict) else {}
    return any(each.get("name") == names.PROXY_CONTAINER for each in list_containers(pod))


@IMDS.check("proxy-on-host-network", "a pod with the sidecar has its own network")
def _find_proxy_on_host_network(facts: Facts) -> Problem | None:
    decision = facts.cluster.decision
    if decision is None or not isinstance(decision.refusal, ProxyOnHostNetwork):
        return None
    return Problem(
        facts.cluster.workload,
        decision.refusal.message,
        fixes.edit_pod(facts.cluster, "remove hostNetwork or the annotation"),
    )


IMDS.warning(
    "proxy-by-presence",
    "the annotation of the sidecar is `true`: any value injects it",
    "remove the annotation",
)
IMDS.warning(
    "mode-without-proxy",
    "proxy-mode is set only with the sidecar",
    "add inject-proxy-sidecar",
)
IMDS.warning(
    "proxy-cannot-start",
    "the pod's runAsUser lets the sidecar start",
    _PROXY_USER,
)
IMDS.warning("proxy-redirected", "the sidecar runs with its own user", _PROXY_USER)
IMDS.warning(
    "not-redirected",
    "no container runs with the user of the sidecar",
    "use another runAsUser than 1501",
)
IMDS.warning(
    "endpoint-set",
    "no container sets the variables by which SDKs find the sidecar",
    "remove the variable",
)


@IMDS.check("proxy-not-running", "the sidecar runs")
def _find_failing_sidecar(facts: Facts) -> Problem | None:
    pod = _pod(facts)
    if pod is None:
        return None
    own = (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
    for each in (each for each in list_statuses(pod) if each.get("name") in own):
        is_running = "running" in (each.get("state") or {})
        if is_running and int(each.get("restartCount") or 0) < _MANY_RESTARTS:
            continue
        if cause := describe_stop(each, facts.cluster.now):
            return Problem(
                facts.cluster.workload,
                f"the sidecar's container {each['name']} does not work: {cause}",
                f"kubectl logs {facts.cluster.pod_name} -n {facts.cluster.namespace_name} -c"
                f" {each['name']}{find_log(each)}",
            )
    return None


CHECKS = (*ASSERTION, *EXCHANGE, *IMDS)

"""The checks of the running pod: its token, its clock, its network, its SDK, and the sidecar. Pure."""

from collections.abc import Callable, Iterator

from podpass import names
from podpass.account.model import ProxyOnHostNetwork
from podpass.clouds import CLOUDS
from podpass.diagnose.doctor import fixes
from podpass.diagnose.doctor.account_checks import edits, warning_check, workload_of
from podpass.diagnose.doctor.model import (
    ClusterFacts,
    ContainerFacts,
    DoctorCheck,
    Facts,
    PodToken,
    Problem,
    Stage,
)
from podpass.diagnose.doctor.pods import describe_stop, find_log, list_statuses
from podpass.diagnose.drift.comparison import is_injected
from podpass.facts import known
from podpass.kubernetes.objects import Object, Preview
from podpass.migration.scan.decision import decide_all
from podpass.migration.scan.model import Mention, Result

MAX_CLOCK_SECONDS = 240  # Entra accepts a difference of five minutes
_AUDIENCES = frozenset(cloud.exchange_audience for cloud in CLOUDS.values())
_MANY_RESTARTS = 3


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
        str(volume.get("name")): str(token.get("audience") or "the API server")
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
        if (token := source.get("serviceAccountToken"))
        and (str(volume.get("name")), str(token.get("path"))) in files
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


def _find_wrong_audience(facts: Facts) -> Problem | None:
    pod = _pod(facts)
    if pod is None or facts.cluster.variable(names.ENV_TOKEN_PROXY):
        return None
    for volume, audience in token_audiences(pod).items():
        if audience not in _usual_audiences(facts.cluster):
            return _wrong_audience(facts, f"in volume {volume}", audience)
    return None


def _find_missing_token(facts: Facts) -> Problem | None:
    container = _container(facts)
    if container is None or known(container.token) is not None:
        return None
    return Problem(
        facts.cluster.workload,
        f"container {container.name} has no file {container.token_file}",
        fixes.create_again(facts.cluster),
    )


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


def _find_wrong_token_audience(facts: Facts) -> Problem | None:
    token = _token(facts)
    if token is None or facts.cluster.variable(names.ENV_TOKEN_PROXY):
        return None
    if set(token.audiences) & _usual_audiences(facts.cluster) or _find_wrong_audience(facts):
        return None
    return _wrong_audience(facts, "in the pod", ", ".join(token.audiences))


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
    return any(
        each.get("name") == names.PROXY_CONTAINER
        for group in ("initContainers", "containers")
        for each in (pod.get("spec") or {}).get(group) or ()
    )


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


def _find_proxy_on_host_network(facts: Facts) -> Problem | None:
    decision = facts.cluster.decision
    if decision is None or not isinstance(decision.refusal, ProxyOnHostNetwork):
        return None
    return Problem(
        facts.cluster.workload,
        decision.refusal.message,
        fixes.edit_pod(facts.cluster, "remove hostNetwork or the annotation"),
    )


Run = Callable[[Facts], Problem | None]
_PROXY_USER = edits("set runAsUser on containers, not on the pod")
_ASSERTION: tuple[tuple[str, str, Run], ...] = (
    (
        "token-volume-missing",
        "a projected token is mounted where AZURE_FEDERATED_TOKEN_FILE points",
        _find_missing_volume,
    ),
    (
        "token-volume-audience",
        "the projected token in the pod's volumes is for Entra",
        _find_wrong_audience,
    ),
    ("token-file-missing", "the token file exists in the container", _find_missing_token),
    ("token-subject", "the token names the pod's ServiceAccount", _find_wrong_subject),
    ("token-audience", "the token in the container is for Entra", _find_wrong_token_audience),
    ("token-expired", "the token has not expired", _find_expired_token),
    ("token-issuer", "the token has the issuer of the API server", _find_other_issuer),
    ("token-key-unknown", "the API server publishes the key of the token", _find_unknown_key),
    ("clock-wrong", "the clock of the node is right", _find_wrong_clock),
)
_EXCHANGE: tuple[tuple[str, str, Run], ...] = (
    (
        "authority-unreachable",
        "the container can connect to AZURE_AUTHORITY_HOST",
        _find_unreachable_authority,
    ),
    ("sdk-too-old", "the identity library in the container uses the token file", _find_old_library),
)
_IMDS: tuple[tuple[str, str, Run], ...] = (
    (
        "proxy-on-host-network",
        "a pod with the sidecar has its own network",
        _find_proxy_on_host_network,
    ),
    (
        "proxy-by-presence",
        "the annotation of the sidecar is `true`: any value injects it",
        warning_check("proxy_by_presence", workload_of, edits("remove the annotation")),
    ),
    (
        "mode-without-proxy",
        "proxy-mode is set only with the sidecar",
        warning_check("mode_without_proxy", workload_of, edits("add inject-proxy-sidecar")),
    ),
    (
        "proxy-cannot-start",
        "the pod's runAsUser lets the sidecar start",
        warning_check("proxy_cannot_start", workload_of, _PROXY_USER),
    ),
    (
        "proxy-redirected",
        "the sidecar runs with its own user",
        warning_check("proxy_redirected", workload_of, _PROXY_USER),
    ),
    (
        "not-redirected",
        "no container runs with the user of the sidecar",
        warning_check("not_redirected", workload_of, edits("use another runAsUser than 1501")),
    ),
    (
        "endpoint-set",
        "no container sets the variables by which SDKs find the sidecar",
        warning_check("endpoint_set", workload_of, edits("remove the variable")),
    ),
    ("proxy-not-running", "the sidecar runs", _find_failing_sidecar),
)
# What only a command in the container shows; an image without a shell is no fault of the workload.
_IN_CONTAINER = frozenset(
    {"token-file-missing", "token-subject", "token-audience", "token-expired", "token-issuer"}
    | {"token-key-unknown", "clock-wrong", "authority-unreachable", "sdk-too-old"}
)
CHECKS = tuple(
    DoctorCheck(name, stage, meaning, run, optional=name in _IN_CONTAINER)
    for stage, rows in (
        (Stage.ASSERTION, _ASSERTION),
        (Stage.EXCHANGE, _EXCHANGE),
        (Stage.IMDS, _IMDS),
    )
    for name, meaning, run in rows
)

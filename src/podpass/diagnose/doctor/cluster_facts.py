"""Read the cluster half of a diagnosis with the caller's own permissions; nothing is changed.

The only requests that are not `get` or `list` are the dry run of a pod and the command in a container.
"""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from podpass import names
from podpass.clock import Clock
from podpass.diagnose.doctor.admission_decision import decide
from podpass.diagnose.doctor.container_probe import (
    build_command,
    build_python_command,
    parse_output,
)
from podpass.diagnose.doctor.model import (
    AdmissionDecision,
    ClusterFacts,
    ContainerFacts,
    WebhookService,
)
from podpass.diagnose.doctor.pods import (
    find_container,
    find_log,
    find_stopped,
    has_run,
    list_references,
)
from podpass.diagnose.drift.comparison import MIRROR, find_template, without_injection
from podpass.diagnose.explain.recognition import Recognition, recognize_last
from podpass.facts import Unread
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.pod_exec import run_command
from podpass.kubernetes.objects import MaybeObject, Object, Preview, controller_of
from podpass.kubernetes.reader import ObjectReader

_POLICY_NAME = "azure-wi-policy"
_LOG_LINES = 500
_CONTROLLERS = ("ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRef:
    """What is diagnosed: a pod, the pod template of a controller, or a ServiceAccount without a pod.

    `controller` is `Deployment/NAME`, and the same for the other kinds of controllers.
    """

    namespace: str
    account: str = ""
    pod: str = ""
    controller: str = ""


class ClusterReader:
    """Reads facts from one API server; objects of the cluster are read once for all workloads."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._reader, self._clock = ObjectReader(client), clock

    async def read_objects(self, workload: WorkloadRef) -> ClusterFacts:
        """Read the objects of a workload, concurrently where one does not depend on another.

        Raises KubeUnreachable.
        """
        own, shared = await asyncio.gather(
            self._read_own(workload), self._read_shared(workload.namespace)
        )
        return ClusterFacts(
            now=self._clock(),
            server=self._reader.client.server,
            namespace_name=workload.namespace,
            pod_name=workload.pod,
            controller=workload.controller,
            **own,
            **shared,
        )

    async def _read_own(self, workload: WorkloadRef) -> dict[str, Any]:
        """Read what belongs to one workload."""
        namespace = workload.namespace
        pod: MaybeObject = None
        if workload.pod:
            pod = await self._reader.find("Pod", workload.pod, namespace)
        elif workload.controller:
            pod = await self._read_template(namespace, workload.controller)
        spec = pod.get("spec") or {} if isinstance(pod, dict) else {}
        account_name = workload.account or str(spec.get("serviceAccountName") or "default")
        account, (owner, controller), node, missing = await asyncio.gather(
            self._reader.find("ServiceAccount", account_name, namespace),
            self._find_owner(namespace, pod),
            self._find_node(spec.get("nodeName")),
            self._find_missing(namespace, pod),
        )
        if workload.pod or workload.controller:
            manifest = _sent_again(pod, controller, account)
        else:
            manifest = _example_pod(namespace, account_name)
        preview = await self._preview(namespace, manifest)
        if workload.controller:
            pod = _injected_pod(preview, pod)
        return {
            "account_name": account_name,
            "account": account,
            "pod": pod,
            "owner": owner,
            "node": node,
            "missing": missing,
            "authority_container": find_container(manifest, names.ENV_AUTHORITY_HOST),
            "preview": preview,
            "decision": _decide(namespace, account, manifest, _injected_pod(preview, pod)),
        }

    async def _read_shared(self, namespace: str) -> dict[str, Any]:
        """Read what belongs to the cluster and to the namespace."""
        found, registrations, discovery, jwks = await asyncio.gather(
            self._reader.find("Namespace", namespace),
            self._read_registrations(),
            self._reader.discovery(),
            self._reader.jwks(),
        )
        services, certificate = await self._read_services(registrations)
        return {
            "namespace": found,
            "registrations": registrations,
            "services": services,
            "certificate": certificate,
            "discovery": discovery,
            "jwks": jwks,
        }

    async def probe_container(self, facts: ClusterFacts) -> ClusterFacts:
        """Read the inside of the first running container that has the token, and the log of a stopped one."""
        if not isinstance(facts.pod, dict) or not facts.pod_name:
            return facts
        container, log = await asyncio.gather(
            self._run_probe(facts, _choose_container(facts.pod)), self._read_log(facts, facts.pod)
        )
        return replace(facts, container=container, log=log)

    async def _run_probe(
        self, facts: ClusterFacts, container: Object | Unread
    ) -> ContainerFacts | Unread:
        if isinstance(container, Unread):
            return container
        where = facts.namespace_name, facts.pod_name, str(container["name"])
        for command in (build_command(container), build_python_command(container)):
            before = self._clock()
            try:
                done = await run_command(self._reader.client, *where, command)
            except KubeError as exc:
                return Unread(f"no command could run in container {where[2]}: {exc.message}")
            if done.output:
                return parse_output(where[2], done.output, (before + self._clock()) / 2)
        return Unread(f"container {where[2]} has neither a shell nor Python")

    async def _read_log(self, facts: ClusterFacts, pod: Object) -> Recognition | Unread | None:
        """Return the known errors in the log of the first container that does not run.

        The rest of the log is dropped, because a program may print secrets.
        """
        stopped = find_stopped(pod, facts.now)
        if stopped is None or not has_run(stopped[0]):
            return None
        query = {"container": str(stopped[0]["name"]), "tailLines": str(_LOG_LINES)}
        if find_log(stopped[0]):
            query["previous"] = "true"
        log = await self._reader.read_log(facts.namespace_name, facts.pod_name, query)
        if isinstance(log, Unread):
            return Unread(f"the log of container {query['container']}: {log.reason}")
        return recognize_last(log)

    async def _read_registrations(self) -> Sequence[Object] | Unread:
        found = await self._reader.list("MutatingWebhookConfiguration")
        if isinstance(found, Unread):
            return found
        listed = [each for each in found if _mutation_entries(each)]
        if not listed:
            policy = await self._reader.find("MutatingAdmissionPolicy", _POLICY_NAME)
            return [policy] if isinstance(policy, dict) else ()
        return listed

    async def _preview(self, namespace: str, manifest: MaybeObject) -> Preview | Unread:
        """Create the pod again as a dry run."""
        if manifest is None or isinstance(manifest, Unread):
            return manifest or Unread("the pod does not exist")
        if MIRROR in (manifest["metadata"].get("annotations") or {}):
            return Unread("the pod is a static pod, which no webhook changes")
        return await self._reader.preview(namespace, manifest)

    async def _find_owner(
        self, namespace: str, pod: MaybeObject
    ) -> tuple[MaybeObject, MaybeObject]:
        """Return the workload that a user edits, such as a Deployment, and the controller of the pod."""
        controller = await self._read_controller(namespace, pod)
        if not isinstance(controller, dict):
            return controller, controller
        owner = await self._read_controller(namespace, controller)
        return (owner if isinstance(owner, dict) else controller), controller

    async def _read_controller(self, namespace: str, thing: MaybeObject) -> MaybeObject:
        reference = controller_of(thing) if isinstance(thing, dict) else {}
        if reference.get("kind") not in _CONTROLLERS:
            return None
        found = await self._reader.find(reference["kind"], reference["name"], namespace)
        return {**found, "kind": reference["kind"]} if isinstance(found, dict) else found

    async def _read_template(self, namespace: str, controller: str) -> MaybeObject:
        """Return the pod that a controller creates from its template, before admission."""
        kind, _, name = controller.partition("/")
        found = await self._reader.find(kind, name, namespace)
        if not isinstance(found, dict):
            return found
        template = (found.get("spec") or {}).get("template") or {}
        about = template.get("metadata") or {}
        owner = {"controller": True, "kind": kind, "name": name}
        metadata = {**about, "namespace": namespace, "ownerReferences": [owner]}
        return {"metadata": metadata, "spec": template.get("spec") or {}}

    async def _find_node(self, name: object) -> MaybeObject:
        return await self._reader.find("Node", str(name)) if name else None

    async def _find_missing(self, namespace: str, pod: MaybeObject) -> Sequence[str] | Unread:
        """Return the Secrets and ConfigMaps of a pod that do not exist; no content of a Secret is read."""
        missing = []
        for kind, name in list_references(pod) if isinstance(pod, dict) else ():
            exists = await self._reader.exists(kind, name, namespace)
            if isinstance(exists, Unread):
                return exists
            if not exists:
                missing.append(f"{kind} {name}")
        return missing

    async def _read_services(
        self, registrations: Sequence[Object] | Unread
    ) -> tuple[dict[str, WebhookService | Unread], bytes | Unread | None]:
        """Read the Services of the webhooks, and the serving certificate of the first one."""
        services: dict[str, WebhookService | Unread] = {}
        certificate: bytes | Unread | None = None
        for one in () if isinstance(registrations, Unread) else registrations:
            for entry in _mutation_entries(one):
                named = (entry.get("clientConfig") or {}).get("service")
                if not named:
                    continue
                namespace, name = str(named.get("namespace", "")), str(named.get("name", ""))
                if f"{namespace}/{name}" not in services:
                    services[f"{namespace}/{name}"] = await self._read_service(namespace, name)
                    if len(services) == 1:
                        certificate = await self._read_certificate(namespace)
        return services, certificate

    async def _read_service(self, namespace: str, name: str) -> WebhookService | Unread:
        service, slices = await asyncio.gather(
            self._reader.find("Service", name, namespace),
            self._reader.list("EndpointSlice", namespace, f"kubernetes.io/service-name={name}"),
        )
        if isinstance(service, Unread):
            return service
        if isinstance(slices, Unread):
            return slices
        ready = sum(
            len(endpoint.get("addresses") or ())
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False
        )
        reference = f"{namespace}/{name}"
        return WebhookService(reference=reference, exists=service is not None, ready=ready)

    async def _read_certificate(self, namespace: str) -> bytes | Unread | None:
        """Return the certificate of the webhook's Secret; its key is dropped at once."""
        secret = await self._reader.find("Secret", names.CERTIFICATE_SECRET, namespace)
        if not isinstance(secret, dict):
            return secret
        try:
            return base64.b64decode((secret.get("data") or {}).get(names.TLS_CERTIFICATE) or "")
        except (binascii.Error, ValueError):
            return b""


def _mutation_entries(configuration: Object) -> list[Object]:
    """Return the entries of a configuration that give pods their identity."""
    return [
        each
        for each in configuration.get("webhooks") or ()
        if each.get("name") == names.WEBHOOK_NAME
    ]


def _example_pod(namespace: str, account: str) -> Object:
    """Return the smallest labelled pod of a ServiceAccount."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "app", "image": "podpass-doctor", "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "podpass-doctor-",
            "namespace": namespace,
            "labels": {names.USE_LABEL: "true"},
        },
        "spec": {"serviceAccountName": account, "containers": [container]},
    }


def _sent_again(pod: MaybeObject, controller: MaybeObject, account: MaybeObject) -> MaybeObject:
    """Return the pod that a client would send now; None for a pod that does not exist."""
    if not isinstance(pod, dict):
        return pod
    template = find_template(pod, controller if isinstance(controller, dict) else None)
    authors: tuple[str, ...] = ()
    if isinstance(account, dict):
        annotations = (account.get("metadata") or {}).get("annotations") or {}
        authors = () if names.CLIENT_ID in annotations else (names.ENV_CLIENT_ID,)
    return without_injection(pod, template, authors)


def _injected_pod(preview: Preview | Unread, pod: MaybeObject) -> Object | None:
    """Return the pod of the dry run, else the running one."""
    if isinstance(preview, Preview) and preview.pod is not None:
        return preview.pod
    return pod if isinstance(pod, dict) else None


def _decide(
    namespace: str, account: MaybeObject, manifest: MaybeObject, injected: Object | None
) -> AdmissionDecision | None:
    if not isinstance(account, dict) or not isinstance(manifest, dict):
        return None
    about = account.get("metadata") or {}
    return decide(
        manifest, namespace, str(about.get("name")), about.get("annotations") or {}, injected
    )


def _choose_container(pod: Object) -> Object | Unread:
    """Return the first running container with the token, else the first running one."""
    statuses = {
        each.get("name"): each for each in (pod.get("status") or {}).get("containerStatuses") or ()
    }
    running = [
        each
        for each in (pod.get("spec") or {}).get("containers") or ()
        if each.get("name") != names.PROXY_CONTAINER
        and "running" in ((statuses.get(each.get("name")) or {}).get("state") or {})
    ]
    if not running:
        return Unread("no container of the pod is running")
    with_token = (
        each
        for each in running
        if any(entry.get("name") == names.ENV_TOKEN_FILE for entry in each.get("env") or ())
    )
    chosen: Object = next(with_token, running[0])
    return chosen

"""Read the cluster half of a diagnosis with the caller's own permissions; nothing is changed.

The only requests that are not `get` or `list` are the dry run of a pod and the command in a container.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson

from podpass import names
from podpass.clock import Clock
from podpass.diagnose.doctor.admission_decision import AdmissionDecision, decide
from podpass.diagnose.doctor.cluster_model import (
    ClusterFacts,
    ContainerFacts,
    Preview,
    WebhookService,
)
from podpass.diagnose.doctor.container_probe import (
    build_command,
    build_python_command,
    parse_output,
)
from podpass.diagnose.doctor.model import MaybeObject, Object, Unread
from podpass.diagnose.doctor.pod_facts import find_missing, first_line, read_log
from podpass.diagnose.doctor.pod_manifest import find_container
from podpass.diagnose.drift.comparison import find_template, without_injection
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable
from podpass.kubernetes.client.pod_exec import run_command

_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
_POLICY_NAME = "azure-wi-policy"
_KEYS = "/openid/v1/jwks"
_JWKS_TYPE = "application/jwk-set+json"
_MIRROR = "kubernetes.io/config.mirror"
_NOT_FOUND, _FORBIDDEN = 404, 403
CONTROLLERS = {
    "ReplicaSet": "apis/apps/v1/namespaces/{}/replicasets",
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "apis/batch/v1/namespaces/{}/cronjobs",
}
_REFUSED_BY_ADMISSION = ("admission webhook", "failed calling webhook", "ValidatingAdmissionPolicy")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRef:
    """What is diagnosed: a pod, the pod template of a controller, or a ServiceAccount without a pod.

    `controller` is `Deployment/NAME`, and the same for the other kinds of CONTROLLERS.
    """

    namespace: str
    account: str = ""
    pod: str = ""
    controller: str = ""


class ClusterReader:
    """Reads facts from one API server; objects of the cluster are read once for all workloads."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._shared: dict[str, asyncio.Task[Any]] = {}

    async def read_objects(self, workload: WorkloadRef) -> ClusterFacts:
        """Read the objects of a workload, concurrently where one does not depend on another.

        Raises KubeUnreachable.
        """
        own, shared = await asyncio.gather(
            self._read_own(workload), self._read_shared(workload.namespace)
        )
        return ClusterFacts(
            now=self._clock(),
            server=self._client.server,
            namespace_name=workload.namespace,
            pod_name=workload.pod,
            controller=workload.controller,
            **own,
            **shared,
        )

    async def _read_own(self, workload: WorkloadRef) -> dict[str, Any]:
        """Read what belongs to one workload."""
        namespace = workload.namespace
        core = f"/api/v1/namespaces/{quote(namespace, safe='')}"
        pod: MaybeObject = None
        if workload.pod:
            pod = await self._read(f"{core}/pods/{quote(workload.pod, safe='')}")
        elif workload.controller:
            pod = await self._read_template(namespace, workload.controller)
        account_name = workload.account or _account_of(pod)
        account, (owner, controller), node, missing = await asyncio.gather(
            self._read(f"{core}/serviceaccounts/{quote(account_name, safe='')}"),
            self._find_owner(namespace, pod),
            self._find_node(pod),
            find_missing(self._client, namespace, pod),
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
            self._once(f"/api/v1/namespaces/{quote(namespace, safe='')}"),
            self._once_registrations(),
            self._once("/.well-known/openid-configuration"),
            self._once(_KEYS),
        )
        services, certificate = await self._read_services(registrations)
        return {
            "namespace": found,
            "registrations": registrations,
            "services": services,
            "certificate": certificate,
            "discovery": discovery or Unread("the API server publishes no discovery document"),
            "jwks": jwks or Unread("the API server publishes no keys"),
        }

    async def probe_container(self, facts: ClusterFacts) -> ClusterFacts:
        """Read the inside of the first running container that has the token, and the log of a stopped one."""
        if not isinstance(facts.pod, dict) or not facts.pod_name:
            return facts
        container, log = await asyncio.gather(
            self._run_probe(facts, _choose_container(facts.pod)),
            read_log(self._client, facts),
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
                done = await run_command(self._client, *where, command)
            except KubeError as exc:
                return Unread(f"no command could run in container {where[2]}: {exc.message}")
            if done.output:
                return parse_output(where[2], done.output, (before + self._clock()) / 2)
        return Unread(f"container {where[2]} has neither a shell nor Python")

    async def _once(self, path: str) -> Any:
        """Read a document that several workloads need."""
        if path not in self._shared:
            self._shared[path] = asyncio.ensure_future(self._read(path))
        return await asyncio.shield(self._shared[path])

    async def _once_registrations(self) -> Sequence[Object] | Unread:
        found = await self._once(_WEBHOOKS)
        if not isinstance(found, dict):
            return found or ()
        listed = [each for each in found.get("items") or () if _mutation_entries(each)]
        if not listed:
            policy = await self._once(f"{_POLICIES}/{_POLICY_NAME}")
            return [policy] if isinstance(policy, dict) else ()
        return listed

    async def _read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return a document; None if it does not exist, Unread if the caller may not read it.

        Raises KubeUnreachable.
        """
        try:
            if path == _KEYS:
                return orjson.loads(await self._client.text(path, accept=_JWKS_TYPE))
            return await self._client.get(path, params)
        except KubeUnreachable:
            raise
        except KubeError as exc:
            if exc.status == _NOT_FOUND:
                return None
            return Unread(first_line(exc.message))

    async def _preview(self, namespace: str, manifest: MaybeObject) -> Preview | Unread:
        """Create the pod again as a dry run, which calls the webhooks and stores nothing."""
        if manifest is None or isinstance(manifest, Unread):
            return manifest or Unread("the pod does not exist")
        if _MIRROR in (manifest["metadata"].get("annotations") or {}):
            return Unread("the pod is a static pod, which no webhook changes")
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        try:
            made = await self._client.create(path, manifest, {"dryRun": "All"})
        except KubeUnreachable:
            raise
        except KubeError as exc:
            if exc.status == _FORBIDDEN and not exc.message.startswith(_REFUSED_BY_ADMISSION):
                return Unread(f"no dry run of the pod: {first_line(exc.message)}")
            if any(each in exc.message for each in _REFUSED_BY_ADMISSION):
                return Preview(refusal=first_line(exc.message))
            return Unread(f"no dry run of the pod: {first_line(exc.message)}")
        return Preview(pod=made)

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
        reference = _controller_of(thing if isinstance(thing, dict) else None)
        if reference.get("kind") not in CONTROLLERS:
            return None
        found = await self._once(controller_path(namespace, reference["kind"], reference["name"]))
        return {**found, "kind": reference["kind"]} if isinstance(found, dict) else found

    async def _read_template(self, namespace: str, controller: str) -> MaybeObject:
        """Return the pod that a controller creates from its template, before admission."""
        kind, _, name = controller.partition("/")
        found: MaybeObject = await self._once(controller_path(namespace, kind, name))
        if not isinstance(found, dict):
            return found
        template = (found.get("spec") or {}).get("template") or {}
        about = template.get("metadata") or {}
        owner = {"controller": True, "kind": kind, "name": name}
        metadata = {**about, "namespace": namespace, "ownerReferences": [owner]}
        return {"metadata": metadata, "spec": template.get("spec") or {}}

    async def _find_node(self, pod: MaybeObject) -> MaybeObject:
        name = (pod.get("spec") or {}).get("nodeName") if isinstance(pod, dict) else None
        return await self._once(f"/api/v1/nodes/{quote(str(name), safe='')}") if name else None

    async def _read_services(
        self, registrations: Sequence[Object] | Unread
    ) -> tuple[dict[str, WebhookService | Unread], bytes | Unread | None]:
        """Read the Services of the webhooks, and the serving certificate of the first one."""
        services: dict[str, WebhookService | Unread] = {}
        certificate: bytes | Unread | None = None
        for entry in (
            (each for one in registrations for each in _mutation_entries(one))
            if not isinstance(registrations, Unread)
            else ()
        ):
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
        core = quote(namespace, safe="")
        service, slices = await asyncio.gather(
            self._once(f"/api/v1/namespaces/{core}/services/{quote(name, safe='')}"),
            self._read(
                f"/apis/discovery.k8s.io/v1/namespaces/{core}/endpointslices",
                {"labelSelector": f"kubernetes.io/service-name={name}"},
            ),
        )
        if isinstance(service, Unread) or isinstance(slices, Unread):
            return service if isinstance(service, Unread) else slices
        ready = sum(
            len(endpoint.get("addresses") or ())
            for each in (slices or {}).get("items") or ()
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False
        )
        reference = f"{namespace}/{name}"
        return WebhookService(reference=reference, exists=service is not None, ready=ready)

    async def _read_certificate(self, namespace: str) -> bytes | Unread | None:
        """Return the certificate of the webhook's Secret; its key is dropped at once."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{names.CERTIFICATE_SECRET}"
        secret = await self._once(path)
        if not isinstance(secret, dict):
            return secret if isinstance(secret, Unread) else None
        try:
            return base64.b64decode((secret.get("data") or {}).get(names.TLS_CERTIFICATE) or "")
        except (binascii.Error, ValueError):
            return b""


def controller_path(namespace: str, kind: str, name: str) -> str:
    """Return the path of a controller of pods, such as a Deployment."""
    collection = CONTROLLERS[kind].format(quote(namespace, safe=""))
    return f"/{collection}/{quote(name, safe='')}"


def _account_of(pod: MaybeObject) -> str:
    spec = pod.get("spec") or {} if isinstance(pod, dict) else {}
    return str(spec.get("serviceAccountName") or "default")


def _controller_of(thing: Object | None) -> Mapping[str, Any]:
    owners = ((thing or {}).get("metadata") or {}).get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), {})


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

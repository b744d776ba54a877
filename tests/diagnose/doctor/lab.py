"""A cluster with the webhook, in which single objects are broken: the embedded API server, or a real one.

Each broken set-up has its own namespace. What belongs to the whole cluster (the registration of the webhook,
its Service and its certificate) is set up again for each of them.
"""

import base64
import contextlib
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podpass import names
from podpass.account.annotations import filter_annotations
from podpass.admission.handler import create_app
from podpass.admission.service_accounts import AccountNotFound
from podpass.admission.webhook_configuration import build_mutation_entry
from podpass.crypto.x509 import basic_constraints, build_certificate, build_name, encode_pem
from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.diagnose.doctor.model import CloudFacts, ClusterFacts, Diagnosis
from podpass.diagnose.doctor.run import diagnose
from podpass.http.server import (
    App,
    Receive,
    Scope,
    Send,
    bind,
    read_body,
    respond,
    server_tls,
    serving,
)
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.settings import WebhookSettings
from tests.control_plane.service import run_service_proxy

CLIENT = "33333333-aaaa-4bbb-8ccc-000000000001"
TENANT = "33333333-aaaa-4bbb-8ccc-0000000000ff"
SYSTEM = names.SYSTEM_NAMESPACE
SERVICE_HOST = f"{names.WEBHOOK_SERVICE}.{SYSTEM}.svc"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_LABEL = {names.USE_LABEL: "true"}
SETTINGS = WebhookSettings(tenant_id=TENANT, proxy_image="podpass-proxy:test", native_sidecar=True)

Object = dict[str, Any]


class DirectReader:
    """Reads each ServiceAccount when the webhook needs it, so that no test waits for a cache."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        try:
            found = await self._client.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
        except KubeError as exc:
            raise AccountNotFound(namespace, name) from exc
        return filter_annotations(found["metadata"].get("annotations"))


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A CA that signs serving certificates of the webhook."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, *, days: int = 30) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = build_certificate(
            subject=build_name("doctor tests"),
            key=key,
            validity=_validity(days),
            extensions=(basic_constraints(ca=True),),
        )
        return cls(key=key, certificate=certificate)

    @property
    def bundle(self) -> str:
        return base64.b64encode(encode_pem(self.certificate)).decode()

    def sign(self, host: str = SERVICE_HOST, *, days: int = 30) -> tuple[bytes, bytes]:
        """Return certificate and key (PEM) for a host; they have expired if `days` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        name: x509.GeneralName = x509.DNSName(host)
        if host[0].isdecimal():
            name = x509.IPAddress(ipaddress.ip_address(host))
        certificate = build_certificate(
            subject=build_name("webhook"),
            key=key,
            validity=_validity(days),
            extensions=((x509.SubjectAlternativeName([name]), False),),
            issuer=self.certificate.subject,
            signing_key=self.key,
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return encode_pem(certificate), pem


def _validity(days: int) -> tuple[dt.datetime, dt.datetime]:
    now = dt.datetime.now(dt.UTC)
    ends = now + dt.timedelta(days=days)
    return min(now, ends) - dt.timedelta(days=1), ends


@dataclass(kw_only=True)
class Lab:
    """One namespace of the cluster, and the operations that break it."""

    client: KubeClient
    kubeconfig: Path
    folder: Path
    authority: Authority
    namespace: str
    stack: AsyncExitStack
    cluster_ip: str | None = None
    port: int = 0
    settings: WebhookSettings = SETTINGS

    @property
    def _core(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    async def account(self, name: str = "web", **annotations: str) -> None:
        """Create a ServiceAccount; `client_id` is the annotation, and none is set if it is empty."""
        given = {"client_id": CLIENT} | annotations
        about = {names.PREFIX + key.replace("_", "-"): value for key, value in given.items()}
        if not given["client_id"]:
            del about[names.CLIENT_ID]
        body = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "annotations": about},
        }
        await self.client.create(f"{self._core}/serviceaccounts", body)

    async def pod(
        self,
        name: str = "web",
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        own: Mapping[str, str] | None = None,
        container: Mapping[str, Any] | None = None,
        status: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> Object:
        """Create a pod of the account `web`; no kubelet of this cluster starts it.

        The keys of `annotations` have no prefix, those of `own` have theirs.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": dict(_LABEL if labels is None else labels),
                "annotations": {
                    names.PREFIX + key: value for key, value in (annotations or {}).items()
                }
                | dict(own or {}),
            },
            "spec": pod_spec(container, **spec),
        }
        made = await self.client.create(f"{self._core}/pods", body)
        if status is not None:
            made = await self.client.patch(f"{self._core}/pods/{name}/status", {"status": status})
        return made

    async def deployment(
        self, name: str = "web", *, on_template: bool, with_pod: bool = True, **metadata: Any
    ) -> None:
        """Create a Deployment, its ReplicaSet and its pod, as the controllers do."""
        labels = {"app": name}
        template = {"metadata": {"labels": labels | (_LABEL if on_template else {})}}
        spec = {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": template | {"spec": pod_spec(None)},
        }
        apps = f"/apis/apps/v1/namespaces/{self.namespace}"
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
        body |= {"metadata": {"name": name, **metadata}}
        made = await self.client.create(f"{apps}/deployments", body)
        owned = {"name": f"{name}-1", "labels": labels, **_owned_by("Deployment", made)}
        body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": owned, "spec": spec}
        made = await self.client.create(f"{apps}/replicasets", body)
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": pod_spec(None)}
        about = {**template["metadata"], "name": name, **_owned_by("ReplicaSet", made)}
        if with_pod:
            await self.client.create(f"{self._core}/pods", pod | {"metadata": about})

    async def label_template(self, name: str, value: str) -> None:
        """Set the label of a Deployment's pod template; no controller of this cluster creates pods."""
        template = {"metadata": {"labels": {names.USE_LABEL: value}}}
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"
        await self.client.patch(path, {"spec": {"template": template}})

    async def annotate(self, name: str = "web", **annotations: str) -> None:
        """Change annotations of a ServiceAccount."""
        about = {names.PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
        path = f"{self._core}/serviceaccounts/{name}"
        await self.client.patch(path, {"metadata": {"annotations": about}})

    async def register(self, **changes: Any) -> None:
        """Register the webhook by its URL; changes replace members of the entry."""
        url = f"https://127.0.0.1:{self.port}{names.WEBHOOK_PATH}"
        await self._register({"url": url, "caBundle": self.authority.bundle}, **changes)

    async def register_service(self, bundle: str | None = None, **changes: Any) -> None:
        """Register the webhook by its Service."""
        service = {"namespace": SYSTEM, "name": names.WEBHOOK_SERVICE, "path": names.WEBHOOK_PATH}
        chosen = self.authority.bundle if bundle is None else bundle
        await self._register({"service": service, "caBundle": chosen}, **changes)

    async def _register(
        self,
        client_config: Object,
        name: str = names.WEBHOOK_CONFIGURATION,
        entry_name: str = names.WEBHOOK_NAME,
        **changes: Any,
    ) -> None:
        entry = build_mutation_entry(client_config) | {"name": entry_name, "timeoutSeconds": 5}
        entry |= changes
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [entry],
        }
        await self.client.patch(
            f"{_WEBHOOKS}/{name}?fieldManager=lab&force=true", body, "application/apply-patch+yaml"
        )

    async def register_twice(self) -> None:
        """Register the webhook under a second name, as a chart next to the add-on of AKS does."""
        url = f"https://127.0.0.1:{self.port}{names.WEBHOOK_PATH}"
        config = {"url": url, "caBundle": self.authority.bundle}
        await self._register(config, name="second-webhook")

    async def register_path(self, path: str) -> None:
        """Register the webhook with another path of its URL."""
        url = f"https://127.0.0.1:{self.port}{path}"
        await self._register({"url": url, "caBundle": self.authority.bundle})

    async def deny_pods(self) -> None:
        """Register another webhook, which refuses every pod."""
        pem, key = self.authority.sign("127.0.0.1")
        port = await self.stack.enter_async_context(self._served(pem, key, _deny))
        config = {"url": f"https://127.0.0.1:{port}/", "caBundle": self.authority.bundle}
        await self._register(config, name="second-webhook", entry_name="deny.example.com")

    async def node(self, name: str, **labels: str) -> None:
        """Create a Node."""
        about = {"name": name, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": about}
        with contextlib.suppress(KubeError):
            await self.client.create("/api/v1/nodes", body)

    async def label_namespace(self, labels: Mapping[str, str]) -> None:
        """Set labels of the namespace."""
        await self.client.patch(self._core, {"metadata": {"labels": dict(labels)}})

    async def label_pod(self, labels: Mapping[str, str]) -> None:
        """Set labels of the running pod."""
        await self.client.patch(f"{self._core}/pods/web", {"metadata": {"labels": dict(labels)}})

    async def unregister(self) -> None:
        """Remove every registration."""
        for name in (names.WEBHOOK_CONFIGURATION, "second-webhook"):
            with contextlib.suppress(KubeError):
                await self.client.delete(f"{_WEBHOOKS}/{name}")

    async def service(
        self, certificate: tuple[bytes, bytes] | None = None, *, ready: bool = True
    ) -> None:
        """Create the Service of the webhook with a Secret, and serve the certificate behind it."""
        pem, key = certificate or self.authority.sign()
        port = await self.stack.enter_async_context(self._served(pem, key))
        spec: Object = {"ports": [{"port": 443, "targetPort": port}]}
        if self.cluster_ip:
            spec["clusterIP"] = self.cluster_ip
            ready_ports = [("127.0.0.1", port)] if ready else []
            await self.stack.enter_async_context(
                run_service_proxy(ready_ports, self.cluster_ip, 443)
            )
        about = {"name": names.WEBHOOK_SERVICE, "namespace": SYSTEM}
        core = f"/api/v1/namespaces/{SYSTEM}"
        body = {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}
        await self.client.create(f"{core}/services", body)
        slices: Object = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {
                "name": names.WEBHOOK_SERVICE,
                "labels": {"kubernetes.io/service-name": names.WEBHOOK_SERVICE},
            },
            "ports": [{"port": port, "protocol": "TCP", "name": ""}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
        }
        if not self.cluster_ip:  # the embedded API server connects to the address of the endpoint
            endpoint: Object = slices["endpoints"][0]
            endpoint["addresses"] = ["127.0.0.1"]
            # It connects only to an endpoint that is a pod.
            endpoint["targetRef"] = {"kind": "Pod", "name": "webhook", "namespace": SYSTEM}
            await self._webhook_pod()
        await self.client.create(
            f"/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices", slices
        )
        data = {
            names.TLS_CERTIFICATE: base64.b64encode(pem).decode(),
            names.TLS_KEY: base64.b64encode(key).decode(),
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "data": data}
        secret |= {"metadata": {"name": names.CERTIFICATE_SECRET}}
        await self.client.create(f"{core}/secrets", secret)

    async def configure(self, **settings: Any) -> None:
        """Serve and register the webhook with other settings."""
        self.settings = replace(self.settings, **settings)
        certificate = self.authority.sign("127.0.0.1")
        self.port = await self.stack.enter_async_context(self._served(*certificate))
        await self.register()

    async def start(self) -> None:
        """Serve the webhook at `port`, and register it in a cluster with nothing but the namespaces."""
        certificate = self.authority.sign("127.0.0.1")
        self.port = await self.stack.enter_async_context(self._served(*certificate))
        await self.reset()
        await self.register()

    @asynccontextmanager
    async def _served(
        self, certificate: bytes, key: bytes, other: App | None = None
    ) -> AsyncIterator[int]:
        files = self.folder / "served.pem", self.folder / "served.key"
        files[0].write_bytes(certificate)
        files[1].write_bytes(key)
        sock = bind("127.0.0.1", 0)
        app = other or create_app(self.settings, DirectReader(self.client))
        async with serving(app, sock, server_tls(str(files[0]), str(files[1]))):
            yield sock.getsockname()[1]

    async def _webhook_pod(self) -> None:
        """Create the pod of the webhook with an address, as if a kubelet ran it."""
        pods = f"/api/v1/namespaces/{SYSTEM}/pods"
        spec = {"containers": [{"name": "webhook", "image": "webhook"}], "nodeName": "other"}
        with contextlib.suppress(KubeError):
            await self.client.create(pods, {"metadata": {"name": "webhook"}, "spec": spec})
        status = {"phase": "Running", "podIP": "127.0.0.1"}
        await self.client.patch(f"{pods}/webhook/status", {"status": status})

    async def reset(self) -> None:
        """Remove the objects of the webhook, and create the namespaces."""
        await self.unregister()
        for path in (
            f"/api/v1/namespaces/{SYSTEM}/services/{names.WEBHOOK_SERVICE}",
            f"/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices/{names.WEBHOOK_SERVICE}",
            f"/api/v1/namespaces/{SYSTEM}/secrets/{names.CERTIFICATE_SECRET}",
        ):
            with contextlib.suppress(KubeError):
                await self.client.delete(path)
        for name in (SYSTEM, self.namespace):
            with contextlib.suppress(KubeError):
                await self.client.create(
                    "/api/v1/namespaces",
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
                )

    async def as_reader(self, *resources: str) -> Path:
        """Return the kubeconfig of an account that may only read resources of the namespace."""
        await self.account("reader", client_id="")
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        group = "rbac.authorization.k8s.io"
        about = {"metadata": {"name": "reader"}, "apiVersion": f"{group}/v1"}
        rules = [{"apiGroups": [""], "resources": list(resources), "verbs": ["get", "list"]}]
        await self.client.create(f"{rbac}/roles", {"kind": "Role", "rules": rules, **about})
        subject = {"kind": "ServiceAccount", "name": "reader", "namespace": self.namespace}
        role = {"apiGroup": group, "kind": "Role", "name": "reader"}
        binding = {"kind": "RoleBinding", "subjects": [subject], "roleRef": role, **about}
        await self.client.create(f"{rbac}/rolebindings", binding)
        made = await self.client.create(f"{self._core}/serviceaccounts/reader/token", {"spec": {}})
        config = yaml.safe_load(self.kubeconfig.read_text())
        context = next(
            each["context"]
            for each in config["contexts"]
            if each["name"] == config["current-context"]
        )
        context["user"] = "reader"
        config["users"] = [{"name": "reader", "user": {"token": made["status"]["token"]}}]
        for each in config["clusters"]:
            if file := each["cluster"].get("certificate-authority"):
                each["cluster"]["certificate-authority"] = str(self.kubeconfig.parent / file)
        path = self.folder / "reader.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    async def diagnose(
        self, *, pod: str = "web", account: str = "", controller: str = ""
    ) -> Diagnosis:
        """Return the diagnosis of one workload of the namespace."""
        workload = WorkloadRef(
            namespace=self.namespace,
            pod="" if account or controller else pod,
            account=account,
            controller=controller,
        )
        [found] = await diagnose(self.client, [workload], read_cloud=read_no_cloud)
        return found


async def read_no_cloud(_: ClusterFacts) -> CloudFacts:
    """Return no facts of the cloud half, which has its own tests."""
    return CloudFacts()


def pod_spec(container: Mapping[str, Any] | None, **more: Any) -> Object:
    """Return the spec of a pod that is bound to a node which does not exist, so that nothing runs it."""
    one = {"name": "app", "image": "none", **(container or {})}
    return {"serviceAccountName": "web", "nodeName": "nowhere", "containers": [one]} | more


def _owned_by(kind: str, owner: Object) -> Object:
    about = owner["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": about["name"], "uid": about["uid"]}
    return {"ownerReferences": [reference | {"controller": True}]}


async def _deny(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every review with a refusal."""
    del scope
    review = orjson.loads(await read_body(receive, 1024 * 1024))
    answer = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "not here"}}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
    await respond(send, 200, orjson.dumps(body))

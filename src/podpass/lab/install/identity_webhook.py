"""The webhook that gives pods their identity: keep the one of the cluster, or install podpass's.

Left alone, a webhook creates its CA, adds it to the registration, and waits until every API server must have
observed that change. Here each API server learns of the registration and of the CA at the same time, so there
is nothing to wait for. The webhook finds both, and rotates them later.
"""

import asyncio
import base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from podpass import names
from podpass.admission.certificates.model import RotationPolicy, StoredCertificates
from podpass.admission.certificates.secret_codec import encode_secret
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.install import apply
from podpass.lab.install.objects import OWNER_LABELS, CloudValues, Object, build_pull_secrets
from podpass.manifests import ManifestValues, build_webhook_objects
from podpass.manifests.values import CONFIG, DEPLOYMENT

DEPLOYMENT_PATH = f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/deployments/{DEPLOYMENT}"
_REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
# `install` waits for the first success. As in the chart, the pod leaves the Service after 15 seconds.
_FREQUENT = {"periodSeconds": 1, "failureThreshold": 15}
# The names of the objects do not depend on it.
ANY_TENANT = "00000000-0000-0000-0000-000000000000"


async def find_foreign(client: KubeClient) -> dict[str, Any] | None:
    """Return the registration of a webhook for identities that this installation does not own.

    Raises KubeError.
    """
    found = await client.find(f"{_REGISTRATIONS}/{names.WEBHOOK_CONFIGURATION}")
    if found is None:
        return None
    labels = found["metadata"].get("labels") or {}
    return None if OWNER_LABELS.items() <= labels.items() else found


async def read_problem(client: KubeClient) -> str:
    """Return why labelled pods are created without an identity, empty if they are not.

    An installation that was interrupted leaves a registration that refuses no pod.

    Raises KubeError.
    """
    try:
        found = await client.find(f"{_REGISTRATIONS}/{names.WEBHOOK_CONFIGURATION}")
    except KubeError as exc:
        if exc.status != HTTPStatus.FORBIDDEN:
            raise
        return ""  # the caller may read only the namespace
    if found is None:
        return "the webhook for identities is not registered"
    is_own = OWNER_LABELS.items() <= (found["metadata"].get("labels") or {}).items()
    policies = [each.get("failurePolicy") for each in found.get("webhooks") or ()]
    if is_own and {*policies} != {"Fail"}:
        return "the installation of the webhook for identities is not complete"
    return ""


async def read_tenant(client: KubeClient, registration: dict[str, Any]) -> str:
    """Return the default tenant of a webhook, empty if its configuration cannot be found.

    Raises KubeError.
    """
    for hook in registration.get("webhooks") or ():
        service = (hook.get("clientConfig") or {}).get("service") or {}
        if not service.get("namespace"):
            continue
        path = f"/api/v1/namespaces/{service['namespace']}/configmaps/{CONFIG}"
        if (config := await client.find(path)) is not None:
            return str((config.get("data") or {}).get("AZURE_TENANT_ID", ""))
    return ""


def build_own_webhook(values: CloudValues, tenant_id: str) -> list[Object]:
    """Build the objects of podpass's webhook, marked as a part of this installation."""
    repository, digest, tag = _split_image(values.image)
    sets = [f"image.repository={repository}", "replicaCount=1"]
    sets += [f"image.digest={digest}"] if digest else []
    sets += [f"image.release={tag}"] if tag else []
    sets += [f"image.pullPolicy={values.pull_policy}"] if values.pull_policy else []
    manifest = ManifestValues.from_sets(sets, tenant_id=tenant_id, namespace=names.SYSTEM_NAMESPACE)
    objects = build_webhook_objects(manifest)
    for item in objects:
        item["metadata"]["labels"] |= OWNER_LABELS
        if item["kind"] == "ServiceAccount":
            item |= build_pull_secrets(values)
        if item["kind"] == "Deployment":
            [container] = item["spec"]["template"]["spec"]["containers"]
            container["readinessProbe"] |= _FREQUENT
    return objects


def _split_image(image: str) -> tuple[str, str, str]:
    """Return repository, digest and tag of an image; the last two may be empty."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon is that of a registry's port
        return name, digest, ""
    return repository, digest, tag


async def start_own(
    client: KubeClient, objects: list[Object], now: float
) -> list[tuple[str, apply.ObjectChange]]:
    """Apply the objects of podpass's webhook while the cloud starts.

    The API server ignores failures of a new registration until `complete_own`, so that an installation that
    fails stops no pod.

    Units: `now` in seconds since the epoch. Raises NotOurs, KubeError.
    """
    *others, registration = objects
    existing = await apply.read(client, registration) or {}
    policies = {each["name"]: each["failurePolicy"] for each in existing.get("webhooks") or ()}
    hooks = [
        {**each, "failurePolicy": policies.get(each["name"], "Ignore")}
        for each in registration["webhooks"]
    ]
    return await apply_own(client, [*others, {**registration, "webhooks": hooks}], now)


async def apply_own(
    client: KubeClient, objects: list[Object], now: float
) -> list[tuple[str, apply.ObjectChange]]:
    """Apply the objects of podpass's webhook; the first installation also creates its certificate.

    Units: `now` in seconds since the epoch. Raises NotOurs, KubeError.
    """
    existing = await apply.check_owned(client, objects)
    certified: dict[str, Object] = {}
    if not any(apply.describe(item) in existing for item in objects if _has_certificate(item)):
        certified = await asyncio.to_thread(_certify, objects, now)
    changes = []
    for item in objects:
        name = apply.describe(item)
        if name in certified:
            # Key and CA are fields of another manager, so a later apply leaves the rotated ones.
            await apply.create(client, certified[name])
        changes.append((name, await apply.apply(client, item, existing.get(name))))
    return changes


async def complete_own(
    client: KubeClient, objects: list[Object]
) -> list[tuple[str, apply.ObjectChange]]:
    """Make the API server refuse labelled pods if the webhook fails. Call this when the webhook serves.

    Raises KubeError.
    """
    registration = objects[-1]
    existing = await apply.read(client, registration)
    change = await apply.apply(client, registration, existing)
    return [(apply.describe(registration), change)]


def _has_certificate(item: Object) -> bool:
    return item["kind"] in ("Secret", "MutatingWebhookConfiguration")


def _certify(objects: list[Object], now: float) -> dict[str, Object]:
    """Return the Secret and the registration, by name, with a new certificate."""

    host = f"{names.WEBHOOK_SERVICE}.{names.SYSTEM_NAMESPACE}.svc"
    certificate = create_first_certificate(host, now)
    return {
        apply.describe(item): certificate.add_to(item) for item in objects if _has_certificate(item)
    }


@dataclass(frozen=True, slots=True)
class FirstCertificate:
    """The data of the webhook's Secret, base64."""

    data: dict[str, str]

    def add_to(self, item: Object) -> Object:
        """Return the Secret with the certificate and its keys, or the registration with the CA."""
        if item["kind"] == "Secret":
            return {**item, "data": self.data}
        bundle = self.data[names.CA_CERTIFICATE]
        hooks = [
            {**each, "clientConfig": {**each["clientConfig"], "caBundle": bundle}}
            for each in item["webhooks"]
        ]
        return {**item, "webhooks": hooks}


def create_first_certificate(host: str, now: float) -> FirstCertificate:
    """Create a CA and a leaf for the webhook's host; this takes a third of a second.

    Units: `now` in seconds since the epoch.
    """
    issuer = RsaCertificateIssuer(host=host, now=now, policy=RotationPolicy())
    ca = issuer.create_ca()
    stored = StoredCertificates(current=ca, leaf=issuer.sign_leaf(ca))
    values = {name: value for name, value in encode_secret(stored).items() if value}
    return FirstCertificate(
        {name: base64.b64encode(each).decode() for name, each in values.items()}
    )

"""Read and patch the `caBundle`s of the webhook configurations, with which API servers verify the webhook."""

import base64
import binascii
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.admission.certificates import secret_codec
from podpass.admission.certificates.model import CertificateAuthority, StoredCertificates
from podpass.kubernetes.client import KubeClient, KubeError, Object

COLLECTION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedConfiguration:
    """A webhook configuration as read from the API server.

    `object` is None if the configuration does not exist; `bundles` are the CAs of each webhook entry.
    """

    name: str
    object: Object | None = field(repr=False)
    bundles: Sequence[tuple[CertificateAuthority, ...]] = ()

    @property
    def ids(self) -> Sequence[frozenset[str]]:
        return [frozenset(each.id for each in bundle) for bundle in self.bundles]

    @property
    def version(self) -> str:
        """Return a text that changes with the webhook entries, but not with labels or other metadata."""
        about = (self.object or {}).get("metadata", {})
        return f"{about.get('uid')}/{about.get('generation') or about.get('resourceVersion')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePatch:
    """The desired configuration.

    `added` and `removed` are the ids of the CAs that are added to or removed from some entry.
    """

    object: Object = field(repr=False)
    added: frozenset[str]
    removed: frozenset[str]


class ConfigurationClient:
    """Reads and writes the webhook configurations with these names."""

    def __init__(self, client: KubeClient, names: Sequence[str]) -> None:
        self._client = client
        self.names = tuple(names)

    async def read(self, name: str) -> ObservedConfiguration:
        """Read one configuration. Raises KubeError, but not when the configuration does not exist."""
        try:
            found = await self._client.get(f"{COLLECTION}/{name}")
        except KubeError as exc:
            if exc.status != 404:
                raise
            return ObservedConfiguration(name=name, object=None)
        bundles = [_decode_hook_bundle(hook) for hook in found.get("webhooks") or ()]
        return ObservedConfiguration(name=name, object=found, bundles=bundles)

    async def write(self, name: str, changed: Object) -> None:
        """Replace a configuration if it has not changed since it was read.

        Raises KubeError, 409 when another writer changed it first.
        """
        await self._client.replace(f"{COLLECTION}/{name}", changed)


def build_bundle_patch(
    configuration: ObservedConfiguration, certificates: StoredCertificates
) -> BundlePatch | None:
    """Return the configuration with the desired `caBundle`s, or None if it already has them."""
    if configuration.object is None or certificates.current is None:
        return None
    changed, added, removed = copy.deepcopy(configuration.object), set[str](), set[str]()
    entries = zip(changed.get("webhooks") or (), configuration.bundles, strict=True)
    for hook, present in entries:
        pem = secret_codec.build_desired_bundle(certificates, present)
        if pem is not None:
            hook["clientConfig"]["caBundle"] = base64.b64encode(pem).decode()
            before = {each.id for each in present}
            after = {each.id for each in secret_codec.decode_bundle(pem)}
            added |= after - before
            removed |= before - after
    if not added and not removed:
        return None
    return BundlePatch(object=changed, added=frozenset(added), removed=frozenset(removed))


def find_last_writer(configuration: Object) -> str:
    """Return the field manager that wrote a configuration last; empty if the API server recorded none."""
    entries = configuration.get("metadata", {}).get("managedFields") or ()
    last: Any = max(entries, key=lambda each: str(each.get("time") or ""), default={})
    return str(last.get("manager") or "")


def _decode_hook_bundle(hook: Object) -> tuple[CertificateAuthority, ...]:
    try:
        pem = base64.b64decode(hook.get("clientConfig", {}).get("caBundle") or "", validate=True)
    except (binascii.Error, TypeError):
        return ()
    return secret_codec.decode_bundle(pem)

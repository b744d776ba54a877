"""The webhook configurations that API servers find us by: what their `caBundle`s hold, and mending them."""

import base64
import binascii
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.admission.certificates import secret_codec
from podpass.admission.certificates.model import Authority, Held
from podpass.kubernetes.client import KubeClient, KubeError, Object

COLLECTION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One configuration as it was read.

    Shapes:  `object` is None where there is none; `bundles` are the authorities in each webhook entry.
    """

    name: str
    object: Object | None = field(repr=False)
    bundles: Sequence[tuple[Authority, ...]] = ()

    @property
    def ids(self) -> Sequence[frozenset[str]]:
        return [frozenset(each.id for each in bundle) for bundle in self.bundles]

    @property
    def version(self) -> str:
        """Tell one state of its webhooks from another; labels and the like do not count."""
        about = (self.object or {}).get("metadata", {})
        return f"{about.get('uid')}/{about.get('generation') or about.get('resourceVersion')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What a configuration has to become.

    Shapes:  `joined` and `left` are ids of authorities that came into or went out of some entry.
    """

    object: Object = field(repr=False)
    joined: frozenset[str]
    left: frozenset[str]


class Configurations:
    """The configurations of one name each, wherever they are needed together."""

    def __init__(self, client: KubeClient, names: Sequence[str]) -> None:
        self._client = client
        self.names = tuple(names)

    async def read(self, name: str) -> Registered:
        """Read one.

        Errors:  KubeError, but not for one that is not there.
        """
        try:
            found = await self._client.get(f"{COLLECTION}/{name}")
        except KubeError as exc:
            if exc.status != 404:
                raise
            return Registered(name=name, object=None)
        bundles = [_bundle(hook) for hook in found.get("webhooks") or ()]
        return Registered(name=name, object=found, bundles=bundles)

    async def write(self, name: str, changed: Object) -> None:
        """Put it there, if it still is what was read.

        Errors:  KubeError, 409 where somebody else was quicker.
        """
        await self._client.replace(f"{COLLECTION}/{name}", changed)


def mend(registered: Registered, held: Held) -> Mended | None:
    """Bring every `caBundle` into step with the Secret, and touch nothing else; None if they are."""
    if registered.object is None or held.current is None:
        return None
    changed, joined, left = copy.deepcopy(registered.object), set[str](), set[str]()
    entries = zip(changed.get("webhooks") or (), registered.bundles, strict=True)
    for hook, present in entries:
        pem = secret_codec.wanted(held, present)
        if pem is not None:
            hook["clientConfig"]["caBundle"] = base64.b64encode(pem).decode()
            before = {each.id for each in present}
            after = {each.id for each in secret_codec.authorities(pem)}
            joined |= after - before
            left |= before - after
    if not joined and not left:
        return None
    return Mended(object=changed, joined=frozenset(joined), left=frozenset(left))


def changed_by(configuration: Object) -> str:
    """Name who wrote a configuration last, as the API server noted."""
    entries = configuration.get("metadata", {}).get("managedFields") or ()
    last: Any = max(entries, key=lambda each: str(each.get("time") or ""), default={})
    return str(last.get("manager") or "")


def _bundle(hook: Object) -> tuple[Authority, ...]:
    try:
        pem = base64.b64decode(hook.get("clientConfig", {}).get("caBundle") or "", validate=True)
    except (binascii.Error, TypeError):
        return ()
    return secret_codec.authorities(pem)

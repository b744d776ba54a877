"""Build all objects of the webhook, in the order in which they can be applied."""

import hashlib
import json
from typing import Any

from podpass import __version__
from podpass.manifests.meta import CONFIG, LABELS, Object
from podpass.manifests.template import fill
from podpass.manifests.values import ImageMissing, ManifestValues, read_rendered_chart

_LEVELS = ("audit", "enforce", "warn")
# Namespaces of Kubernetes and the default namespace: podpass does not set their labels.
_SYSTEM_PREFIXES = ("default", "kube-")


def build_webhook_objects(values: ManifestValues) -> list[Object]:
    """Build the objects; the registration is last, so that the webhook exists before it is called.

    Raises ImageMissing.
    """
    if not values["image.repository"]:
        raise ImageMissing("image.repository is required, because there is no public image")
    namespace = values.namespace
    # The objects list the webhook's own namespace already: it must never block itself.
    exempt = [name for name in dict.fromkeys(values["exemptNamespaces"]) if name != namespace]
    given = {
        **values.by_key,
        "namespace": namespace,
        "exemptNamespaces": exempt,
        "version": __version__,
        "configHash": "",
    }
    objects = read_rendered_chart()["objects"]
    given["configHash"] = _hash_config(fill(objects, given))
    return [*_build_namespace(values), *fill(objects, given)]


def _hash_config(objects: list[Object]) -> str:
    """Return the hash of the settings as the chart computes it: a changed setting replaces the pods."""
    data = next(one["data"] for one in objects if one["metadata"]["name"] == CONFIG)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":  # Helm escapes JSON for HTML
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def _build_namespace(values: ManifestValues) -> list[Object]:
    """Build the namespace with Pod Security labels: restricted, or privileged if hostNetwork requires it.

    The chart does not have it: Helm or the user creates the namespace of a release.
    """
    if values.namespace.startswith(_SYSTEM_PREFIXES):
        return []
    level = "privileged" if values["hostNetwork"] else "restricted"
    labels: dict[str, Any] = dict(LABELS)
    for mode in _LEVELS:
        labels[f"pod-security.kubernetes.io/{mode}"] = level
        labels[f"pod-security.kubernetes.io/{mode}-version"] = "latest"
    metadata = {"name": values.namespace, "labels": labels}
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}]

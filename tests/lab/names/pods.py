"""Pods for the tests of this room."""

from typing import Any

from podpass.account.model import parse_pod
from podpass.lab.names.injection import BundleNames, PodInjection, inject
from tests.admission.conftest import apply_patch

NAMES = BundleNames()
Object = dict[str, Any]


def make_pod(*containers: Object, **spec: Any) -> Object:
    """Build a raw pod; without containers it has one, `web`."""
    found = list(containers) or [{"name": "web", "image": "web:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": "default"},
        "spec": {"containers": found, **spec},
    }


def inject_raw(raw: Any, old: Object | None = None) -> PodInjection:
    """Compute the injection of a raw pod."""
    before = None if old is None else parse_pod(old, "default").spec
    return inject(parse_pod(raw, "default"), NAMES, old=before)


def patched(raw: Any) -> Any:
    """Return a raw pod with its patch applied."""
    return apply_patch(raw, inject_raw(raw).operations)

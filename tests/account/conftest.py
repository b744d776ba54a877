"""What the tests of this stage build with: a pod and an account, and their wish."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass.account.annotations import read_wish
from podpass.account.model import Account, Wish, read_pod

Read = Callable[..., Wish]


def _read(
    pod: Mapping[str, Any] | None = None,
    account: Mapping[str, str] | None = None,
    *,
    custom_endpoint_annotation: str | None = None,
    **spec: Any,
) -> Wish:
    raw = {"metadata": {"name": "app", "annotations": pod}, "spec": spec}
    return read_wish(
        read_pod(raw, "default"),
        Account(namespace="default", name="web", annotations=account or {}),
        tenant_id="own-tenant",
        custom_endpoint_annotation=custom_endpoint_annotation,
    )


@pytest.fixture
def read() -> Read:
    """Read the wish of a pod with these annotations, whose account has those."""
    return _read

"""What the tests of this stage build with: raw pods, settings, accounts, a patch applied by the letter."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass.account.annotations import read_wish
from podpass.account.model import Account, read_pod
from podpass.admission.accounts import AccountNotFound
from podpass.admission.mutate import Operation, mutate
from podpass.settings import WebhookSettings

Pod = dict[str, Any]
MakePod = Callable[..., Pod]
Mutate = Callable[..., list[Operation]]
Apply = Callable[[Any, list[Operation]], Any]

SETTINGS = WebhookSettings(
    tenant_id="tenant", proxy_image="proxy:test", proxy_init_image="proxy-init:test"
)


class KnownAccounts:
    """Accounts in memory, by `namespace/name`."""

    def __init__(self, known: Mapping[str, Mapping[str, str]]) -> None:
        self.known = dict(known)

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        try:
            return self.known[f"{namespace}/{name}"]
        except KeyError:
            raise AccountNotFound(namespace, name) from None


@pytest.fixture
def known_accounts() -> type[KnownAccounts]:
    return KnownAccounts


@pytest.fixture
def settings() -> WebhookSettings:
    return SETTINGS


@pytest.fixture
def make_pod() -> MakePod:
    """Make a raw pod: one container `web`, unless `spec` says otherwise."""

    def make(
        annotations: Mapping[str, str] | None = None, *, name: str = "app", **spec: Any
    ) -> Pod:
        metadata: dict[str, Any] = {"name": name, "namespace": "default"}
        if annotations is not None:
            metadata["annotations"] = dict(annotations)
        containers = [{"name": "web", "image": "web:1"}]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": containers, **spec},
        }

    return make


def _mutate(
    raw: Any,
    account: Mapping[str, str] | None = None,
    settings: WebhookSettings = SETTINGS,
    namespace: str = "default",
) -> list[Operation]:
    pod = read_pod(raw, namespace)
    known = Account(namespace=namespace, name=pod.account, annotations=account or {})
    wish = read_wish(
        pod,
        known,
        tenant_id=settings.tenant_id,
        custom_endpoint_annotation=settings.custom_endpoint_annotation,
    )
    return mutate(pod, wish, settings)


@pytest.fixture
def mutating() -> Mutate:
    """Both pure halves in a row: raw pod and account annotations in, patch out."""
    return _mutate


def apply_patch(document: Any, operations: list[Operation]) -> Any:
    """Apply a JSON patch (RFC 6902) by the letter: a missing parent or index is an error."""
    document = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        holder = document
        for part in parents:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        value = copy.deepcopy(operation["value"])
        match operation["op"], holder:
            case "add", list():
                index = len(holder) if last == "-" else int(last)
                assert 0 <= index <= len(holder)
                holder.insert(index, value)
            case "add", dict():
                holder[last] = value
            case "replace", list():
                holder[int(last)] = value
            case "replace", dict():
                assert last in holder
                holder[last] = value
            case other:
                raise AssertionError(other)
    return document


@pytest.fixture
def applying() -> Apply:
    return apply_patch

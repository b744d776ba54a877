"""Builders for the tests of this stage: raw pods, settings, accounts, and an RFC 6902 patch function."""

import copy
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from podpass import log, names
from podpass.account.annotations import parse_identity_config
from podpass.account.model import ServiceAccount, parse_pod
from podpass.admission.handler import create_app
from podpass.admission.mutate import PatchOperation, mutate
from podpass.admission.service_accounts import AccountNotFound
from podpass.http.server import App, bind, server_tls, serving
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Pod = dict[str, Any]
MakePod = Callable[..., Pod]
Mutate = Callable[..., list[PatchOperation]]
Apply = Callable[[Any, list[PatchOperation]], Any]

CLIENT = {names.CLIENT_ID: "00000000-0000-4000-8000-000000000001"}
SETTINGS = WebhookSettings(
    tenant_id="tenant", proxy_image="proxy:test", proxy_init_image="proxy-init:test"
)


class KnownAccounts:
    """Accounts in memory, by `namespace/name`."""

    def __init__(self, known: Mapping[str, Mapping[str, str]]) -> None:
        self.known = dict(known)

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
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
    """Build a raw pod with one container `web`, unless `spec` has others."""

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
) -> list[PatchOperation]:
    pod = parse_pod(raw, namespace)
    known = ServiceAccount(namespace=namespace, name=pod.account, annotations=account or {})
    config = parse_identity_config(
        pod,
        known,
        tenant_id=settings.tenant_id,
        custom_endpoint_annotation=settings.custom_endpoint_annotation,
        proxy_mode=settings.proxy_mode,
        legacy_path=settings.legacy_token_path,
    )
    return mutate(pod, config, settings).operations


@pytest.fixture
def mutate_pod() -> Mutate:
    """Return a function that mutates a raw pod with account annotations and returns the patch."""
    return _mutate


def apply_patch(document: Any, operations: list[PatchOperation]) -> Any:
    """Apply a JSON patch strictly by RFC 6902: a missing parent or index is an error."""
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
def mutate_and_apply() -> Apply:
    return apply_patch


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[App], Any]]:
    """Serve an application over TLS until the test ends."""
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.key"))
    contexts = []

    async def serve(app: App) -> Endpoint:
        sock = bind("127.0.0.1", 0)
        url = f"https://localhost:{sock.getsockname()[1]}"
        tls = server_tls(str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"))
        server = serving(app, sock, tls)
        await server.__aenter__()
        session = aiohttp.ClientSession()
        contexts.append((session, server))
        return Endpoint(session, url, ca.cert_pem.bytes())

    yield serve
    for session, server in contexts:
        await session.close()
        await server.__aexit__(None, None, None)


@pytest.fixture
async def webhook(start: Callable[[App], Any]) -> Endpoint:
    """Provide a webhook with two ServiceAccounts, one of them with a client ID."""
    accounts = KnownAccounts({"default/default": CLIENT, "default/plain": {}})
    endpoint: Endpoint = await start(create_app(SETTINGS, accounts))
    return endpoint


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the log lines that exist so far."""
    stream = io.StringIO()
    root = logging.getLogger("podpass")
    before = (root.handlers[:], root.level, root.propagate)
    log.configure(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level, root.propagate = before

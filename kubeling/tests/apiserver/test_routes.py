"""Paths and authorization agree: the store is asked only for what the authorizer was asked for.

The test sends every route of every kind in many spellings, also those that no client sends. The caller may do
everything, so a request is refused only because it has no route. The attributes that the authorizer got are
compared with each read and write of the store.
"""

import contextvars
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from kubeling.apiserver.auth.rbac import AuthorizerAttributes
from kubeling.apiserver.kinds import KINDS, Kind, find_kind
from kubeling.apiserver.registry import strategies
from kubeling.apiserver.request import parse_request_info
from kubeling.apiserver.validation import validate
from tests.apiserver.test_rbac import RBAC, grant

HOME, OTHER, NAME = "default", "team-b", "kube-root-ca.crt"
SUBRESOURCES = sorted({each.name for kind in KINDS for each in kind.subresources} | {"none"})
REQUESTS = (
    ("GET", ""),
    ("GET", "watch=1&timeoutSeconds=0"),
    ("GET", f"fieldSelector=metadata.name%3D%20{NAME}"),
    ("GET", "fieldSelector=metadata.name!%3Da,metadata.name%3Db"),
    ("POST", ""),
    ("PUT", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("DELETE", f"fieldSelector=metadata.name%3D{NAME}"),
    ("LIST", ""),
    ("DELETECOLLECTION", ""),
)
WRITE_VERBS = {
    "create": {"create"},
    "update": {"update", "patch", "delete", "deletecollection", "create"},
    "delete": {"delete", "deletecollection", "update", "patch", "create"},
}


@dataclass(frozen=True, slots=True)
class StoreCall:
    """One call of the store; the name is empty for a list."""

    operation: str
    kind: Kind
    namespace: str
    name: str


@dataclass(slots=True)
class Recorder:
    """The authorizer's attributes and the store's calls of one request."""

    authorized: list[AuthorizerAttributes] = field(default_factory=list)
    calls: list[StoreCall] = field(default_factory=list)


_recorder: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar(
    "recorder", default=None
)


def note(operation: str, kind: Kind, namespace: str, name: str) -> None:
    if recorder := _recorder.get():
        recorder.calls.append(StoreCall(operation, kind, namespace, name))


def record(live: Any, patch: pytest.MonkeyPatch) -> None:
    """Record the calls of this test's own requests, and change nothing in the store."""
    store, rbac = live.cluster.store, live.cluster._rbac
    check, get, stored, listed = rbac.check, store.get, store.get_stored, store.list_stored

    def checked(user: Any, attributes: AuthorizerAttributes) -> None:
        if recorder := _recorder.get():
            recorder.authorized.append(attributes)
        check(user, attributes)

    def read(kind: Kind, namespace: str, name: str) -> Any:
        note("read", kind, namespace, name)
        return get(kind, namespace, name)

    def read_stored(kind: Kind, namespace: str, name: str) -> Any:
        note("read", kind, namespace, name)
        return stored(kind, namespace, name)

    def list_stored(kind: Kind, namespace: str = "", **options: Any) -> Any:
        note("list", kind, namespace, "")
        return listed(kind, namespace, **options)

    def written(operation: str) -> Any:
        def write(kind: Kind, obj: Any, *_revision: int) -> Any:
            note(operation, kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            return obj

        return write

    patch.setattr(rbac, "check", checked)
    for name, replacement in (
        ("get", read),
        ("get_stored", read_stored),
        ("list_stored", list_stored),
        *((name, written(name)) for name in ("create", "update", "delete")),
    ):
        patch.setattr(store, name, replacement)
    for name in ("create", "update"):  # a small body must reach the store
        patch.setattr(validate, name, lambda *_args, **_options: [])
    # The allocator of cluster IPs reads every Service; it shows none of them.
    patch.setattr(strategies, "prepare_for_create", lambda *_args: None)


def routes(kind: Kind) -> Iterator[str]:
    """Yield the paths of a kind with and without a namespace, whichever the kind has."""
    for start in ("", f"/namespaces/{HOME}", f"/watch/namespaces/{HOME}", "/watch"):
        collection = f"{kind.prefix}{start}/{kind.plural}"
        yield collection
        yield f"{collection}/{NAME}"
        yield from (f"{collection}/{NAME}/{each}" for each in SUBRESOURCES)
    yield f"{kind.prefix}/namespaces/{HOME}"
    yield from (f"{kind.prefix}/namespaces/{HOME}/{each}" for each in ("status", "finalize"))
    for inner in ("", f"/{OTHER}", f"/{OTHER}/status", f"/{OTHER}/finalize", f"/{OTHER}/pods"):
        yield f"{kind.prefix}/namespaces/{HOME}/namespaces{inner}"


def spellings(path: str) -> Iterator[str]:
    """Yield a path in spellings that a server could read as another path."""
    yield path
    yield path + "/"
    parts = path.split("/")
    for at in range(2, len(parts)):
        before, part, after = "/".join(parts[:at]), parts[at], "/".join(parts[at + 1 :])
        rest = f"/{after}" if after else ""
        yield f"{before}//{part}{rest}"
        yield f"{before}/./{part}{rest}"
        yield f"{before}/../{part}{rest}"
        yield f"{before}%2F{part}{rest}"
        yield f"{before}/{part}%2f..{rest}"
        yield f"{before}/%{ord(part[0]):02x}{part[1:]}{rest}"
        yield f"{before}/{part.upper()}{rest}"
        yield f"{before}/{quote(chr(0))}{part}{rest}"


async def send(live: Any, method: str, path: str, query: str, kind: Kind) -> tuple[Recorder, bytes]:
    recorder, sent = Recorder(), list[bytes]()
    metadata = {"name": path.rpartition("/")[2]} if method == "POST" else {"name": NAME}
    body = json.dumps({"metadata": metadata}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def respond(message: Any) -> None:
        sent.append(message.get("body", b""))

    media_type = b"application/merge-patch+json" if method == "PATCH" else b"application/json"
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", b"Bearer admin-token"), (b"content-type", media_type)],
    }
    token = _recorder.set(recorder)
    try:
        await live.cluster.app(scope, receive, respond)
    finally:
        _recorder.reset(token)
    recorder.calls = [each for each in recorder.calls if each.kind == kind]
    return recorder, b"".join(sent)


def covers(attributes: AuthorizerAttributes, call: StoreCall) -> bool:
    """Return whether a permission with these attributes includes a call of the store."""
    kind = call.kind
    if (attributes.group, attributes.resource) != (kind.group, kind.plural):
        return False
    allowed = WRITE_VERBS.get(call.operation)
    if allowed is not None and attributes.verb not in allowed:
        return False
    if call.operation == "create" and attributes.subresource:
        return False
    if attributes.namespace and attributes.namespace != (
        call.name if kind.kind == "Namespace" else call.namespace
    ):
        return False
    if kind.namespaced and call.namespace == "" and attributes.namespace:
        return False
    return not (attributes.name and call.name) or attributes.name == call.name


@pytest.mark.parametrize(("method", "query"), REQUESTS)
async def test_store_reads_and_writes_only_the_authorized_object(
    live: Any, monkeypatch: pytest.MonkeyPatch, method: str, query: str
) -> None:
    """Fails if a path has other attributes for the authorizer than for the registry."""
    record(live, monkeypatch)
    served = 0
    for kind, every_spelling in (
        *((kind, False) for kind in KINDS),
        *((kind, True) for kind in KINDS if kind.kind in ("ConfigMap", "Namespace", "Node")),
    ):
        paths = itertools.chain.from_iterable(
            spellings(path) if every_spelling else (path,) for path in routes(kind)
        )
        for path in paths:
            recorder, _ = await send(live, method, path, query, kind)
            served += bool(recorder.calls)
            for call in recorder.calls:
                assert any(covers(each, call) for each in recorder.authorized), (
                    f"{method} {path}?{query} was authorized as {recorder.authorized}, "
                    f"and the store was asked for {call}"
                )
    assert served > 20 or method in ("LIST", "DELETECOLLECTION")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api/v1//pods",
            "/api/v1/namespaces//pods",
            "/apis/apps//deployments",
            "/api/v1/pods//log",
        ),
        *("/apis//v1/namespaces/a/services/b/proxy/x", "/api/v1/namespaces/a//b/proxy/x"),
    ],
)
def test_path_with_an_empty_part_names_no_resource(path: str) -> None:
    """Fails if `namespaces//pods` is authorized as a subresource of all namespaces."""
    assert parse_request_info("GET", path, {}).plural == ""


@pytest.mark.parametrize("method", ["LIST", "WATCH", "CREATE", "DELETECOLLECTION", "ESCALATE", "*"])
def test_method_named_like_a_verb_is_refused(method: str) -> None:
    """Fails if a client chooses the verb that is authorized."""
    assert parse_request_info(method, "/api/v1/pods", {}).verb == ""


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ("metadata.name=a", "a"),
        ("metadata.name==a", "a"),
        (" metadata.name = a ", "a"),
        ("spec.nodeName=n,metadata.name=a", "a"),
        ("metadata.name!=a", ""),
        ("metadata.name=a!=b", ""),
        ("metadata.names=a", ""),
        ("metadata.name", ""),
    ],
)
def test_name_required_by_a_field_selector_is_the_authorized_name(selector: str, name: str) -> None:
    """Fails if a user who may list one name selects other objects."""
    path, query = "/api/v1/namespaces/default/pods", {"fieldSelector": [selector]}
    assert parse_request_info("GET", path, query).selected_name == name
    assert parse_request_info("DELETE", path, query).selected_name == ""


@pytest.mark.parametrize(
    "path",
    ["/api/v1/namespaces/default/namespaces", "/api/v1/namespaces/default/namespaces/default"],
)
async def test_namespaces_are_not_served_inside_a_namespace(live: Any, path: str) -> None:
    """Fails if a RoleBinding lists or creates namespaces of the whole cluster."""
    assert (await live.call("GET", path, token="alice-token")).status == 403
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    await grant(live, [everything])
    for method in ("GET", "POST", "PUT", "DELETE"):
        body = {"metadata": {"name": "mine"}} if method in ("POST", "PUT") else None
        refused = await live.call(method, path, body, token="alice-token")
        assert (refused.status, refused.body["reason"]) == (404, "NotFound"), refused.text
    assert (await live.call("GET", "/api/v1/namespaces", token="alice-token")).status == 403
    assert (await live.call("GET", "/api/v1/namespaces/mine")).status == 404
    # The request for a namespace itself has that namespace, as in the real API server.
    own = await live.call("GET", "/api/v1/namespaces/default", token="alice-token")
    assert own.status == 200


async def test_view_role_of_a_namespace_does_not_list_namespaces(live: Any) -> None:
    binding = {
        "metadata": {"name": "v"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }
    made = await live.call("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    assert made.status == 201, made.text
    path = "/api/v1/namespaces/default/namespaces"
    assert (await live.call("GET", path, token="alice-token")).status == 404
    watch = await live.call("GET", f"{path}?watch=1&timeoutSeconds=1", token="alice-token")
    assert watch.status == 404


async def test_collection_is_deleted_only_in_one_namespace(live: Any) -> None:
    """Fails if webhooks that select namespaces miss the deletions of a cluster-wide path."""
    await live.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    refused = await live.call("DELETE", "/api/v1/configmaps")
    assert (refused.status, refused.body["reason"]) == (405, "MethodNotAllowed")
    assert (await live.call("GET", "/api/v1/namespaces/default/configmaps/a")).status == 200


async def test_write_of_a_subresource_does_not_create_the_object(live: Any) -> None:
    """Fails if a user who may only write the status of deployments creates one."""
    rule = {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments/status"]}
    await grant(live, [rule])
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    path = "/apis/apps/v1/namespaces/default/deployments/d/status"
    refused = await live.call("PUT", path, body, token="alice-token")
    assert (refused.status, refused.body["reason"]) == (404, "NotFound")
    assert find_kind("apps", "v1", "deployments") is not None

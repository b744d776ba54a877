"""A parsed request: its user, verb, object and options."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from kubeling.apiserver.kinds import Kind, find_kind
from kubeling.apiserver.selectors import required_name
from kubeling.apiserver.status import bad_request, too_large
from kubeling.asgi import BodyTooLarge, Receive, Scope, read_body

MAX_BODY_BYTES = 3 * 1024 * 1024
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_LONG_SUBRESOURCES = ("attach", "exec", "log", "portforward", "proxy")
_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
KindLookup = Callable[[str, str, str], Kind | None]
"""Returns the kind of a group, a version and a plural; None if the API server does not serve it."""
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


_NODE_PREFIX, _NODES = "system:node:", "system:nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInfo:
    """The authenticated user of a request.

    `extra` maps names to lists of text, as `user.extra` of a TokenReview.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def node(self) -> str | None:
        """Return the node name, perhaps empty, of a node's user; None for other users."""
        if not self.name.startswith(_NODE_PREFIX) or _NODES not in self.groups:
            return None
        return self.name.removeprefix(_NODE_PREFIX)

    def body(self) -> dict[str, Any]:
        """Return the user as a `UserInfo` object, without empty fields."""
        fields = {
            "username": self.name,
            "uid": self.uid,
            "groups": list(self.groups),
            "extra": {name: list(values) for name, values in self.extra.items()},
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """The verb and the resource of a request, from its method and path.

    `group` is empty for the core group; `plural` is empty for a non-resource path; `namespace`, `name` and
    `subresource` are empty if the path has none. `namespaced_path` is whether the resource comes after
    `namespaces/<name>/`; `namespace` is also set for a namespace itself, because RoleBindings in the
    namespace grant rights on it. `selected_name` is the name that a field selector requires. `proxied` is
    the path after the subresource `proxy`, as the client sent it.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    namespaced_path: bool = False
    selected_name: str = ""
    proxied: str = ""
    lookup: KindLookup = field(default=find_kind, compare=False, repr=False)

    @property
    def kind(self) -> Kind | None:
        """Return the kind of the resource; None if the API server does not serve it."""
        return self.lookup(self.group, self.version, self.plural)


def parse_request_info(
    method: str,
    path: str,
    query: Mapping[str, Sequence[str]],
    lookup: KindLookup = find_kind,
) -> RequestInfo:
    """Parse a method and a path into a verb and a resource; `lookup` finds its kind.

    Source:  RequestInfo of the API server: `/api/v1/...`, `/apis/<group>/<version>/...`, and
             `namespaces/<name>/<resource>` except for the subresources of a namespace. A path with an
             empty part is no resource here: the real API server would read it as another path.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        rest = []
    if not rest:
        return RequestInfo(verb=method.lower(), path=path)
    namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 1 else ""
    namespaced_path = bool(namespace) and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES
    if namespaced_path:
        rest = rest[2:]
    is_proxy = len(rest) > 2 and rest[2] == "proxy"
    before_proxied = len(parts) - len(rest) + 3
    if "" in (parts[:before_proxied] if is_proxy else parts):
        return RequestInfo(verb=method.lower(), path=path)
    name = rest[1] if len(rest) > 1 else ""
    verb = _verb(method, name, query)
    return RequestInfo(
        verb=verb,
        path=path,
        group=group,
        version=version,
        plural=rest[0],
        # The namespace of a Namespace is its own name; a custom kind may have the same plural.
        namespace=namespace if namespaced_path or not group else "",
        name=name,
        subresource="proxy" if is_proxy else "/".join(rest[2:]),
        namespaced_path=namespaced_path,
        selected_name=required_name(query.get("fieldSelector", [""])[0])
        if verb in ("list", "watch")
        else "",
        proxied="".join(
            f"/{tail}" for tail in path.lstrip("/").split("/", before_proxied)[before_proxied:]
        )
        if is_proxy
        else "",
        lookup=lookup,
    )


def _verb(method: str, name: str, query: Mapping[str, Sequence[str]]) -> str:
    if method in ("GET", "HEAD"):
        if name:
            # Never a watch: RBAC would allow it for one name, and it would return all objects.
            return "get"
        is_watch = query.get("watch", [""])[0].lower() in ("1", "true", "t")
        return "watch" if is_watch else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    # A method named like a verb, such as LIST or ESCALATE, would let the caller choose the authorized verb.
    return _VERBS.get(method, "")


def check_timeout(info: RequestInfo, query: Mapping[str, Sequence[str]]) -> None:
    """Refuse a `timeout` parameter that is not a Go duration, except for watches and logs.

    Raises StatusError 400.
    """
    value = query.get("timeout", [""])[0]
    is_long = info.verb == "watch" or info.subresource in _LONG_SUBRESOURCES
    if value and not is_long and not _DURATION.fullmatch(value):
        raise bad_request(
            f"invalid timeout specified in the request URL - {value!r} is no duration"
        )


@dataclass(slots=True, kw_only=True)
class Request:
    """One HTTP request; `warnings` collects the warnings of its response.

    `size` is the size of the body in bytes, after it was read. A caller in this process passes the decoded
    body as `value`.
    """

    method: str
    scope: Scope
    receive: Receive
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    info: RequestInfo
    user: UserInfo
    warnings: list[str] = field(default_factory=list)
    size: int = 0
    value: Any = None

    def option(self, name: str) -> str:
        """Return the first value of a query parameter; empty if it is not given."""
        return self.query.get(name, [""])[0]

    @property
    def content_type(self) -> str:
        """Return the media type of the body, without parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def kind(self) -> Kind:
        """Return the kind of the resource; the handler must have checked that it exists."""
        kind = self.info.kind
        assert kind is not None
        return kind

    @property
    def namespaced_name(self) -> tuple[str, str]:
        """Return the namespace (empty for a cluster-scoped kind) and the name of the object."""
        return (self.info.namespace if self.kind.namespaced else ""), self.info.name

    async def body(self) -> bytes:
        """Read the whole body. Raises StatusError 413."""
        try:
            body = await read_body(self.receive, MAX_BODY_BYTES)
        except BodyTooLarge as exc:
            raise too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}") from exc
        self.size = len(body)
        return body


def read_query(scope: Scope) -> dict[str, list[str]]:
    """Parse the query string; a parameter without a value is empty."""
    return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def read_headers(scope: Scope) -> dict[str, str]:
    """Return the headers by lower-case name; repeated headers are joined by commas."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}

"""A request as the API understands it: who asks, which verb, on which object, with which options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from podpass.http.server import BodyTooLarge, Receive, Scope, read_body
from podpass.kubernetes.apiserver.kinds import Kind, find
from podpass.kubernetes.apiserver.status import too_large

MAX_BODY_BYTES = 3 * 1024 * 1024
_NAMESPACE_PARTS = ("status", "finalize")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks, as authentication found out.

    Shapes:  `extra` holds lists of text by name, as `user.extra` of a TokenReview.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """Write the user as `UserInfo`; what is empty is left out."""
        every = {
            "username": self.name,
            "uid": self.uid,
            "groups": list(self.groups),
            "extra": {name: list(values) for name, values in self.extra.items()},
        }
        return {name: value for name, value in every.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path names.

    Shapes:  `group` is empty for the core; `plural` is empty for a path that is no resource;
             `namespace`, `name` and `subresource` are empty where the path has none.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def kind(self) -> Kind | None:
        return find(self.group, self.version, self.plural)


def target(method: str, path: str, query: Mapping[str, Sequence[str]]) -> Target:
    """Read method and path as verb and resource.

    Source:  RequestInfo of the API server: `/api/v1/...`, `/apis/<group>/<version>/...`, and
             `namespaces/<name>/<resource>` except for the parts of a namespace itself.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Target(verb=method.lower(), path=path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    return Target(
        verb=_verb(method, name, query),
        path=path,
        group=group,
        version=version,
        plural=rest[0],
        namespace=rest[1] if rest[0] == "namespaces" and len(rest) > 1 else namespace,
        name=name,
        subresource="/".join(rest[2:]),
    )


def _verb(method: str, name: str, query: Mapping[str, Sequence[str]]) -> str:
    if method in ("GET", "HEAD"):
        if name:
            # Never a watch: it would be allowed for one name, and show all.
            return "get"
        watched = query.get("watch", [""])[0].lower() in ("1", "true", "t")
        return "watch" if watched else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())


@dataclass(slots=True, kw_only=True)
class Request:
    """One HTTP request on its way through the API; `warnings` collects what the answer will warn of."""

    method: str
    scope: Scope
    receive: Receive
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    target: Target
    user: User
    warnings: list[str] = field(default_factory=list)

    def option(self, name: str) -> str:
        """Give the first value of a query parameter, or nothing."""
        return self.query.get(name, [""])[0]

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def kind(self) -> Kind:
        """The kind the path names; only for requests that were found to have one."""
        kind = self.target.kind
        assert kind is not None
        return kind

    @property
    def place(self) -> tuple[str, str]:
        """The namespace (empty for a kind without) and name of the object."""
        return (self.target.namespace if self.kind.namespaced else ""), self.target.name

    async def body(self) -> bytes:
        """Read the whole body.

        Errors:  StatusError 413.
        """
        try:
            return await read_body(self.receive, MAX_BODY_BYTES)
        except BodyTooLarge as exc:
            raise too_large(f"Request entity too large: limit is {MAX_BODY_BYTES}") from exc


def read_query(scope: Scope) -> dict[str, list[str]]:
    """Read the query string; parameters without a value count as empty."""
    return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def read_headers(scope: Scope) -> dict[str, str]:
    """Give headers by lower-case name; repeated ones joined by commas."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found

"""Non-resource paths: version, discovery, OpenAPI, health and the issuer's documents."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import orjson

from kubeling import __version__
from kubeling.apiserver import response
from kubeling.apiserver.auth.authentication import AuthConfig
from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.kinds import Kind, Subresource
from kubeling.apiserver.release import Release
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import JSON, Response
from kubeling.apiserver.status import Body, not_acceptable
from kubeling.errors import Error
from kubeling.service_account.names import (
    DISCOVERY_PATH,
    DISCOVERY_TYPE,
    JWKS_PATH,
    JWKS_TYPE,
    discovery_document,
    is_acceptable,
)

_log = logging.getLogger(__name__)

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_VERSIONS = ("v2", "v2beta1")
_HEALTH = ("/healthz", "/livez", "/readyz")
NOT_FOUND = response.plain_text(404, "404 page not found\n")

PageHandler = Callable[[Request], Response]
Delegated = Mapping[tuple[str, str], Body]
"""The APIResourceList of each group and version that another server serves; empty if it is unavailable."""


def version(release: Release) -> Body:
    """Return the version of a server that serves a release."""
    major, minor = release.name.split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        # Build metadata after a plus is ignored when versions are compared.
        "gitVersion": f"{release.version}+kubeling.{__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    }


class DiscoveryHandler:
    """Handles every non-resource path; the server is ready while `check_database` raises no error."""

    def __init__(
        self,
        auth_config: AuthConfig,
        jwks_uri: str,
        kinds: ServedKinds,
        check_database: Callable[[], None],
    ) -> None:
        self._auth_config, self._kinds = auth_config, kinds
        self._jwks_uri, self._check_database = jwks_uri, check_database
        self._pages: Mapping[str, PageHandler] = {
            "/": lambda request: _root_response(request, kinds),
            "/version": lambda request: response.encode(request, version(kinds.release)),
            "/api": lambda request: _core_versions_response(request, kinds),
            DISCOVERY_PATH: self._issuer,
            JWKS_PATH: self._keys,
        }

    def handle(self, request: Request, delegated: Delegated) -> Response:
        """Respond to a path; an unknown path gets plain text, as from the real server."""
        path = request.info.path
        normalized = path.rstrip("/") or "/"
        if request.method not in ("GET", "HEAD"):
            return NOT_FOUND
        if normalized == "/apis":
            return _groups_response(request, self._kinds, delegated)
        if page := self._pages.get(normalized):
            return page(request)
        if normalized.startswith(_HEALTH):
            return self._health_response(request, normalized)
        if normalized == "/openapi/v2" or f"{normalized}/".startswith("/openapi/v3/"):
            return _openapi(request, normalized, self._kinds)
        return _group_response(request, normalized, self._kinds, delegated)

    def _health_response(self, request: Request, path: str) -> Response:
        """Respond whether the server is ready; a server that responds is alive."""
        name, _, check = path.strip("/").partition("/")
        if check not in ("", "ping", "etcd"):
            return NOT_FOUND
        if name == "readyz" and check != "ping":
            try:
                self._check_database()
            except Error as exc:
                _log.error("database_write_failed", extra={"cause": exc.message})
                text = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"
                return response.plain_text(500, text)
        if not check and "verbose" in request.query:
            return response.plain_text(200, f"[+]ping ok\n[+]etcd ok\n{name} check passed\n")
        return response.plain_text(200, "ok")

    def _issuer(self, request: Request) -> Response:
        _require_acceptable(request, DISCOVERY_TYPE)
        return response.encode(
            request, discovery_document(self._auth_config.issuer, self._jwks_uri)
        )

    def _keys(self, request: Request) -> Response:
        _require_acceptable(request, JWKS_TYPE)
        return Response(200, orjson.dumps(self._auth_config.signer.jwks()), JWKS_TYPE.decode())


def _require_acceptable(request: Request, media_type: bytes) -> None:
    if not is_acceptable(request.headers.get("accept", ""), media_type):
        raise not_acceptable([media_type.decode()])


def _root_response(request: Request, kinds: ServedKinds) -> Response:
    paths = ["/api", "/api/v1", "/apis", *_HEALTH, "/openapi/v2", "/openapi/v3", "/version"]
    paths += [f"/apis/{group}" for group, _ in kinds.group_versions() if group]
    paths += [f"/apis/{group}/{version}" for group, version in kinds.group_versions() if group]
    return response.encode(request, {"paths": sorted(paths)})


def _core_versions_response(request: Request, kinds: ServedKinds) -> Response:
    if version := _aggregated_version(request):
        return _aggregated_discovery(request, version, [("", "v1")], kinds, {})
    host, port = request.scope.get("server") or ("", 0)
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": f"{host}:{port}"}
    body = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
    return response.encode(request, body)


def _groups_response(request: Request, kinds: ServedKinds, delegated: Delegated) -> Response:
    named = [(group, version) for group, version in kinds.group_versions() if group]
    named += delegated
    if version := _aggregated_version(request):
        return _aggregated_discovery(request, version, named, kinds, delegated)
    groups = [_group_body(group, named) for group in dict.fromkeys(group for group, _ in named)]
    return response.encode(request, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


def _group_body(group: str, named: Sequence[tuple[str, str]]) -> Body:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for each, version in named
        if each == group
    ]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _group_response(
    request: Request, path: str, kinds: ServedKinds, delegated: Delegated
) -> Response:
    """Respond to `/apis/<group>`, `/apis/<group>/<version>` and `/api/v1`."""
    match path.split("/")[1:]:
        case ["apis", name]:
            named = [*kinds.group_versions(), *delegated]
            if name in {group for group, _ in named if group}:
                body = {"kind": "APIGroup", "apiVersion": "v1", **_group_body(name, named)}
                return response.encode(request, body)
        case ["api", version] if ("", version) in kinds.group_versions():
            return response.encode(request, resource_list("", version, kinds))
        case ["apis", group, version] if group and (group, version) in kinds.group_versions():
            return response.encode(request, resource_list(group, version, kinds))
    return NOT_FOUND


def resource_list(group: str, version: str, kinds: ServedKinds) -> Body:
    """List the resources of a group and version."""
    resources = [
        row
        for kind in kinds.all()
        if (kind.group, kind.version) == (group, version)
        for row in (_resource(kind), *(_subresource(kind, sub) for sub in kind.subresources))
    ]
    head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    api_version = f"{group}/{version}" if group else version
    rows = sorted(resources, key=lambda row: str(row["name"]))
    return head | {"groupVersion": api_version, "resources": rows}


def _resource(kind: Kind) -> Body:
    row: Body = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    if kind.storage_hash:
        row["storageVersionHash"] = kind.storage_hash
    return row


def _subresource(kind: Kind, sub: Subresource) -> Body:
    row: Body = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
    }
    if sub.version:
        row |= {"group": sub.group, "version": sub.version}
    return row | {"kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated_version(request: Request) -> str:
    """Return the version of aggregated discovery that a client prefers; empty if it prefers none."""
    for each in response.media_ranges(request.headers.get("accept", "")):
        if each.params.get("as") == "APIGroupDiscoveryList":
            if each.type == JSON and each.params.get("v") in _VERSIONS:
                return each.params["v"]
        elif each.type in (JSON, "*/*", "application/*"):
            return ""
    return ""


def _aggregated_discovery(
    request: Request,
    version: str,
    group_list: Sequence[tuple[str, str]],
    kinds: ServedKinds,
    delegated: Delegated,
) -> Response:
    items: list[Body] = []
    for group in dict.fromkeys(group for group, _ in group_list):
        versions = []
        for name in group_list:
            if name[0] != group:
                continue
            found = delegated.get(name)
            rows = _own_rows(*name, kinds) if found is None else _rows(*name, found)
            # Clients retry a version that is stale.
            freshness = "Stale" if found == {} else "Current"
            versions.append({"version": name[1], "resources": rows, "freshness": freshness})
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    body = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }
    made = response.encode(request, body)
    return Response(200, made.body, _AGGREGATED.format(version))


def _own_rows(group: str, version: str, kinds: ServedKinds) -> list[Body]:
    built_in = {
        kind.plural
        for kind in kinds.all()
        if (kind.group, kind.version) == (group, version) and kind.custom is None
    }
    return _rows(group, version, resource_list(group, version, kinds), built_in)


def _rows(group: str, version: str, found: Body, built_in: Collection[str] = ()) -> list[Body]:
    """Return the resources in an APIResourceList as in aggregated discovery.

    The kind of a response of a built-in resource has no group and version.
    """
    rows: dict[str, Body] = {}
    for each in found.get("resources", ()):
        plural, _, below = each["name"].partition("/")
        own = ("", "") if plural in built_in else (group, version)
        kind = {
            "group": each.get("group") or own[0],
            "version": each.get("version") or own[1],
            "kind": each["kind"],
        }
        row: Body = {"responseKind": kind, "verbs": each.get("verbs", [])}
        if below:
            parts = rows.setdefault(plural, {}).setdefault("subresources", [])
            parts.append({"subresource": below, **row})
            continue
        names = {name: each[name] for name in ("shortNames", "categories") if each.get(name)}
        scope = "Namespaced" if each.get("namespaced") else "Cluster"
        singular = each.get("singularName") or ""
        row |= {"resource": plural, "scope": scope, "singularResource": singular, **names}
        rows[plural] = row | rows.get(plural, {})
    return [*rows.values()]


# An OpenAPI v2 document as protobuf, with its version (field 1) and nothing else.
_NO_OPENAPI = b"\x0a\x032.0"
_NO_OPENAPI_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def _openapi(request: Request, path: str, kinds: ServedKinds) -> Response:
    """Respond to `/openapi/v2`, `/openapi/v3`, and to the documents of groups and versions below it."""
    from kubeling.apiserver.read import openapi

    found: Body | None = None
    match path.split("/")[2:]:
        case ["v2"]:
            # kubectl requests this page only as protobuf if v3 does not list a kind. With an empty document
            # it says "no matches for kind"; it cannot parse JSON here.
            accepted = request.headers.get("accept", "*/*")
            if "json" not in accepted and "*/*" not in accepted:
                return Response(200, _NO_OPENAPI, _NO_OPENAPI_TYPE)
            found = openapi.v2(kinds.all())
        case ["v3"]:
            found = openapi.v3_root(kinds.all())
        case ["v3", "api", version]:
            found = openapi.v3("", version, kinds.all())
        case ["v3", "apis", group, version]:
            found = openapi.v3(group, version, kinds.all())
    return NOT_FOUND if found is None else response.encode(request, found)

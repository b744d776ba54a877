"""What the API says of itself: version, groups and resources, OpenAPI, health, the issuer's documents."""

from collections.abc import Callable, Mapping, Sequence

import orjson

from podpass import __version__
from podpass.crypto.jose import DISCOVERY_PATH
from podpass.kubernetes.apiserver import response as answer
from podpass.kubernetes.apiserver.auth.authentication import Trust
from podpass.kubernetes.apiserver.kinds import KINDS, Kind, Subresource, group_versions
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import JSON, Answer
from podpass.kubernetes.apiserver.status import Body
from podpass.kubernetes.service_account.discovery import JWKS_TYPE, discovery_document, jwks
from podpass.kubernetes.service_account.names import JWKS_PATH

VERSION = {
    "major": "1",
    "minor": "34",
    "emulationMajor": "1",
    "emulationMinor": "34",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "33",
    # Build metadata after a plus is ignored where versions are compared.
    "gitVersion": f"v1.34.4+podpass.{__version__}",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_VERSIONS = ("v2", "v2beta1")
_HEALTH = ("/healthz", "/livez", "/readyz")
NOT_FOUND = answer.text(404, "404 page not found\n")

Page = Callable[[Request], Answer]


class Discovery:
    """Answers every path that is no resource."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._pages: Mapping[str, Page] = {
            "/": _root,
            "/version": lambda request: answer.whole(request, VERSION),
            "/api": _core_versions,
            "/apis": _groups,
            "/openapi/v2": _openapi_v2,
            "/openapi/v3": _openapi_v3_root,
            DISCOVERY_PATH: self._issuer,
            JWKS_PATH: self._keys,
        }

    def answer(self, request: Request) -> Answer:
        """Answer a path; one that is unknown gets plain text, as from the real server."""
        path = request.target.path
        clean = path.rstrip("/") or "/"
        if request.method not in ("GET", "HEAD"):
            return NOT_FOUND
        if page := self._pages.get(clean):
            return page(request)
        if clean.startswith(_HEALTH):
            return _health(request, clean)
        if clean.startswith("/openapi/v3/"):
            return _openapi_v3(request, clean.removeprefix("/openapi/v3/"))
        return _group(request, clean)

    def _issuer(self, request: Request) -> Answer:
        answer.only(request, [JSON])
        return answer.whole(request, discovery_document(self._trust.issuer))

    def _keys(self, request: Request) -> Answer:
        media_type = JWKS_TYPE.decode()
        answer.only(request, [media_type])
        return Answer(200, orjson.dumps(jwks(self._trust.signer.public)), media_type)


def _root(request: Request) -> Answer:
    paths = ["/api", "/api/v1", "/apis", *_HEALTH, "/openapi/v2", "/openapi/v3", "/version"]
    paths += [f"/apis/{group}" for group, _ in group_versions() if group]
    paths += [f"/apis/{group}/{version}" for group, version in group_versions() if group]
    return answer.whole(request, {"paths": sorted(paths)})


def _health(request: Request, path: str) -> Answer:
    """Everything that could be unhealthy would have kept us from answering at all."""
    check = path.removeprefix("/healthz").removeprefix("/livez").removeprefix("/readyz")
    if check not in ("", "/ping", "/etcd"):
        return NOT_FOUND
    if not check and "verbose" in request.query:
        name = path.strip("/")
        return answer.text(200, f"[+]ping ok\n[+]etcd ok\n{name} check passed\n")
    return answer.text(200, "ok")


def _core_versions(request: Request) -> Answer:
    if version := _aggregated(request):
        return _aggregate(request, version, [("", "v1")])
    host, port = request.scope.get("server") or ("", 0)
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": f"{host}:{port}"}
    body = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}
    return answer.whole(request, body)


def _groups(request: Request) -> Answer:
    named = [(group, version) for group, version in group_versions() if group]
    if version := _aggregated(request):
        return _aggregate(request, version, named)
    groups = [_group_body(group) for group in dict.fromkeys(group for group, _ in named)]
    return answer.whole(request, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


def _group_body(group: str) -> Body:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for each, version in group_versions()
        if each == group
    ]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _group(request: Request, path: str) -> Answer:
    """Answer `/apis/<group>`, `/apis/<group>/<version>` and `/api/v1`."""
    parts = path.split("/")[1:]
    if parts[0] == "apis" and len(parts) == 2:
        if parts[1] in {group for group, _ in group_versions() if group}:
            body = {"kind": "APIGroup", "apiVersion": "v1", **_group_body(parts[1])}
            return answer.whole(request, body)
        return NOT_FOUND
    group, version = (
        ("", parts[-1]) if parts[0] == "api" else (parts[1] if parts[1:] else "", parts[-1])
    )
    if (group, version) not in group_versions() or len(parts) != (3 if group else 2):
        return NOT_FOUND
    return answer.whole(request, resource_list(group, version))


def resource_list(group: str, version: str) -> Body:
    """List the resources of a group and version."""
    resources = [
        row
        for kind in KINDS
        if (kind.group, kind.version) == (group, version)
        for row in (_resource(kind), *(_part(kind, sub) for sub in kind.subresources))
    ]
    head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    api_version = f"{group}/{version}" if group else version
    return head | {"groupVersion": api_version, "resources": sorted(resources, key=_name)}


def _name(row: Body) -> str:
    return str(row["name"])


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


def _part(kind: Kind, sub: Subresource) -> Body:
    row: Body = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
    }
    if sub.version:
        row |= {"group": sub.group, "version": sub.version}
    return row | {"kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated(request: Request) -> str:
    """Tell which version of aggregated discovery a client prefers; empty for none."""
    for each in answer.media_ranges(request.headers.get("accept", "")):
        if each.params.get("as") == "APIGroupDiscoveryList":
            if each.type == JSON and each.params.get("v") in _VERSIONS:
                return each.params["v"]
        elif each.type in (JSON, "*/*", "application/*"):
            return ""
    return ""


def _aggregate(request: Request, version: str, wanted: Sequence[tuple[str, str]]) -> Answer:
    items = []
    for group in dict.fromkeys(group for group, _ in wanted):
        versions = [
            {"version": each, "resources": _discovered(group, each), "freshness": "Current"}
            for other, each in wanted
            if other == group
        ]
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    body = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }
    made = answer.whole(request, body)
    return Answer(200, made.body, _AGGREGATED.format(version))


def _discovered(group: str, version: str) -> list[Body]:
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    return [_discovered_kind(kind) for kind in sorted(kinds, key=lambda kind: kind.plural)]


def _discovered_kind(kind: Kind) -> Body:
    row: Body = {
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    if kind.subresources:
        row["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for sub in sorted(kind.subresources, key=lambda sub: sub.name)
        ]
    return row


# An OpenAPI v2 document as protobuf, with its version (field 1) and nothing else.
_NO_OPENAPI = b"\x0a\x032.0"


def _openapi_v2(request: Request) -> Answer:
    from podpass.kubernetes.apiserver.read import openapi

    # kubectl asks for this page as protobuf alone when v3 does not name a kind. An empty document lets it
    # go on to its own "no matches for kind"; JSON would make it stumble over the first byte.
    accepted = request.headers.get("accept", "*/*")
    if "json" not in accepted and "*/*" not in accepted:
        return Answer(
            200, _NO_OPENAPI, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        )
    return answer.whole(request, openapi.v2())


def _openapi_v3_root(request: Request) -> Answer:
    from podpass.kubernetes.apiserver.read import openapi

    return answer.whole(request, openapi.v3_root())


def _openapi_v3(request: Request, path: str) -> Answer:
    """Answer `api/v1` or `apis/<group>/<version>` below `/openapi/v3/`."""
    from podpass.kubernetes.apiserver.read import openapi

    parts = path.split("/")
    group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else _apis(parts)
    if (group, version) not in group_versions():
        return NOT_FOUND
    return answer.whole(request, openapi.v3(group, version))


def _apis(parts: Sequence[str]) -> tuple[str, str]:
    return (parts[1], parts[2]) if parts[0] == "apis" and len(parts) == 3 else ("?", "?")

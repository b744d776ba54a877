"""Bodies in: media type, JSON or YAML, the kind it says it is, and its fields against the schema."""

import functools
import json
from typing import Any

import orjson

from podpass.kubernetes.apiserver import protobuf, schema
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import JSON, YAML
from podpass.kubernetes.apiserver.status import bad_request, unsupported_media_type
from podpass.kubernetes.apiserver.storage.storage import Object

_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)


def parse(data: bytes, media_type: str) -> tuple[Any, list[str]]:
    """Read a body as JSON, YAML or protobuf; the second value names members that stand twice in an object.

    Errors:  StatusError 400.
    """
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice.extend(sorted({name for name in names if names.count(name) > 1}))
        return found

    try:
        if media_type == protobuf.MEDIA_TYPE:
            return protobuf.decode(data), twice
        if media_type == JSON:
            value = json.loads(data, object_pairs_hook=unique, parse_constant=_no_constant)
        else:
            value = _json_or_yaml(data, unique, twice)
        # Numbers beyond 64 bits, lone surrogates and YAML's numeric keys could not be stored.
        orjson.dumps(value)
    except (protobuf.MalformedBody, ValueError, TypeError, RecursionError) as exc:
        raise bad_request(f"the body of the request cannot be read as {media_type}") from exc
    return value, twice


def _json_or_yaml(data: bytes, unique: Any, twice: list[str]) -> Any:
    """Read YAML, which is JSON most of the time: kubectl sends it under that name."""
    if data.startswith(b"{"):
        try:
            return json.loads(data, object_pairs_hook=unique, parse_constant=_no_constant)
        except ValueError:  # a map in YAML's own flow style
            twice.clear()
    return _yaml(data)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _yaml(data: bytes) -> Any:
    """Read YAML that holds nothing JSON could not: no aliases, no dates."""
    import yaml

    try:
        # A few lines of nested aliases stand for gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, _loader())):
            raise ValueError("an alias")
        return yaml.load(data, _loader())  # noqa: S506 a safe loader, without dates
    except yaml.YAMLError as exc:
        raise ValueError("not YAML") from exc


@functools.cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, found in base.yaml_implicit_resolvers.items()
    }
    return type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})


async def obj(request: Request, kind: Kind) -> Object:
    """Read the object in a request's body, without what the schema does not know.

    Errors:  StatusError 400, 413, 415.
    """
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, twice = parse(await request.body(), media_type)
    return of_kind(request, kind, value, twice)


def of_kind(request: Request, kind: Kind, value: Any, twice: list[str] | None = None) -> Object:
    """Check that a value is an object of a kind, and its fields.

    Errors:  StatusError 400.
    """
    return fitting(request, kind, _of_kind(value, kind.kind, kind.api_version), twice)


async def named(request: Request, kind: str, api_version: str) -> Object:
    """Read a body of a type that is not a kind of its own: Binding, Eviction, TokenRequest..."""
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, twice = parse(await request.body(), media_type)
    return fitting(request, kind, _of_kind(value, kind, api_version), twice)


def options(request: Request, body: bytes) -> Object:
    """Read DeleteOptions; any group's version of them is taken."""
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, twice = parse(body, media_type)
    if not isinstance(value, dict) or value.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request("the body of a deletion is DeleteOptions")
    return fitting(request, "DeleteOptions", value, twice)


def _of_kind(value: Any, kind: str, api_version: str) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the body of the request is not an object")
    said = value.get("kind") or kind
    if said != kind:
        raise bad_request(f"{said} in version {api_version!r} cannot be handled as a {kind}")
    version = value.get("apiVersion") or api_version
    if version != api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({api_version})"
        )
    return value | {"kind": kind, "apiVersion": api_version}


def fitting(
    request: Request, kind: Kind | str, value: Object, twice: list[str] | None = None
) -> Object:
    """Check an object's fields and give it without the unknown ones, as `fieldValidation` wants it.

    Errors:  StatusError 400 for a wrong type, and in Strict for unknown and doubled fields.
    """
    report = schema.check(kind, value)
    if report.type_errors:
        raise bad_request(
            f"{schema.type_name(kind)} in the body cannot be read: " + "; ".join(report.type_errors)
        )
    odd = [f'duplicate field "{name}"' for name in twice or ()]
    odd += [f'unknown field "{path}"' for path in report.unknown]
    match request.option("fieldValidation"):
        case "Strict" if odd:
            raise bad_request("strict decoding error: " + ", ".join(odd))
        case "Ignore":
            pass
        case _:
            request.warnings += odd
    fitted = schema.prune(kind, value)
    if (value.get("metadata") or {}).get("managedFields") == []:
        # An empty list says something where no list says nothing: it takes every owner away.
        fitted["metadata"]["managedFields"] = [{}]
    return fitted

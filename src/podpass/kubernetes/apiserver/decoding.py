"""Decode request bodies: JSON, YAML or protobuf; check the kind and the fields against the schema."""

import json
from collections import Counter
from typing import Any

import orjson

from podpass.kubernetes.apiserver import limits, protobuf, schema, worker, yaml_body
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import JSON, YAML
from podpass.kubernetes.apiserver.status import (
    Cause,
    CauseType,
    bad_request,
    invalid_options,
    unsupported_media_type,
)
from podpass.kubernetes.apiserver.storage.storage import Object

_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)
_CUSTOM_TYPES = (JSON, YAML)


def parse(data: bytes, media_type: str) -> tuple[Any, list[str]]:
    """Decode a body; also return the names of members that an object contains more than once.

    Errors:  StatusError 400, and 413 for more values than one request may have.
    """
    duplicates: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            duplicates.extend(sorted(name for name, count in counts.items() if count > 1))
        return found

    try:
        if media_type == protobuf.MEDIA_TYPE:
            value = protobuf.decode(data)
        elif media_type == JSON:
            value = json.loads(data, object_pairs_hook=unique, parse_constant=_refuse_constant)
        else:
            value = _json_or_yaml(data, unique, duplicates)
        # Refuse what cannot be stored: numbers beyond 64 bits, lone surrogates, numeric keys of YAML.
        orjson.dumps(value)
    except (protobuf.MalformedBody, ValueError, TypeError, RecursionError) as exc:
        raise bad_request(f"the body of the request cannot be read as {media_type}") from exc
    limits.check_values(value)
    return value, duplicates


def _json_or_yaml(data: bytes, unique: Any, duplicates: list[str]) -> Any:
    """Decode YAML; try JSON first, because kubectl sends JSON with the media type of YAML."""
    if data.startswith(b"{"):
        try:
            return json.loads(data, object_pairs_hook=unique, parse_constant=_refuse_constant)
        except ValueError:  # a YAML map in flow style
            duplicates.clear()
    return yaml_body.parse(data)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


async def decode_object(request: Request, kind: Kind) -> Object:
    """Decode the object in a request's body, without unknown fields.

    Errors:  StatusError 400, 413, 415.
    """
    media_type = request.content_type or JSON
    accepted = _TYPES if kind.custom is None else _CUSTOM_TYPES
    if media_type not in accepted:
        raise unsupported_media_type(accepted)
    body = await request.body()

    def decode() -> Object:
        value, duplicates = parse(body, media_type)
        return check_kind(request, kind, value, duplicates)

    return await worker.run(len(body), decode)


def check_kind(
    request: Request, kind: Kind, value: Any, duplicates: list[str] | None = None
) -> Object:
    """Check that a value is an object of a kind, and check its fields.

    Errors:  StatusError 400, and 422 for a custom resource of another kind.
    """
    if kind.custom is not None:
        _check_custom_kind(kind, value)
    return check_fields(
        request, kind, _with_type_meta(value, kind.kind, kind.api_version), duplicates
    )


async def decode_type(request: Request, kind: str, api_version: str) -> Object:
    """Decode a body whose type is not in the table of kinds: Binding, Eviction, TokenRequest..."""
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    body = await request.body()

    def decode() -> Object:
        value, duplicates = parse(body, media_type)
        return check_fields(request, kind, _with_type_meta(value, kind, api_version), duplicates)

    return await worker.run(len(body), decode)


def decode_delete_options(request: Request, body: bytes) -> Object:
    """Decode DeleteOptions of any API version."""
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, duplicates = parse(body, media_type)
    if not isinstance(value, dict) or value.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request("the body of a deletion must be DeleteOptions")
    return check_fields(request, "DeleteOptions", value, duplicates)


def _with_type_meta(value: Any, kind: str, api_version: str) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the body of the request is not an object")
    given = value.get("kind") or kind
    if given != kind:
        raise bad_request(f"{given} in version {api_version!r} cannot be handled as a {kind}")
    version = value.get("apiVersion") or api_version
    if version != api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({api_version})"
        )
    return value | {"kind": kind, "apiVersion": api_version}


def _check_custom_kind(kind: Kind, value: Any) -> None:
    """Check the kind of a custom resource, which its schema cannot imply."""
    if not isinstance(value, dict) or not value.get("kind"):
        raise bad_request(f"the body must be an object with the kind {kind.kind}")
    if value["kind"] != kind.kind:
        cause = Cause(CauseType.INVALID, f"must be {kind.kind}", "kind")
        given, metadata = str(value["kind"]), value.get("metadata")
        name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
        raise invalid_options(given, [cause], name=name, group=kind.group)


def check_fields(
    request: Request, kind: Kind | str, value: Object, duplicates: list[str] | None = None
) -> Object:
    """Check an object's fields by `fieldValidation`; return the object without unknown fields.

    Errors:  StatusError 400 for a wrong type, and with Strict for unknown and duplicate fields.
    """
    report = schema.check(kind, value)
    if report.type_errors:
        raise bad_request(
            f"{kind if isinstance(kind, str) else kind.kind} in the body cannot be read: "
            + "; ".join(report.type_errors)
        )
    names = (duplicates or [])[: schema.MAX_PROBLEMS]
    problems = [f'duplicate field "{schema.shorten(name)}"' for name in names]
    problems += [f'unknown field "{path}"' for path in report.unknown]
    match request.option("fieldValidation"):
        case "Strict" if problems:
            raise bad_request("strict decoding error: " + ", ".join(problems))
        case "Ignore":
            pass
        case _:
            request.warnings += problems
    pruned = schema.prune(kind, value)
    if (value.get("metadata") or {}).get("managedFields") == []:
        # An empty list removes all field managers; a missing list does not.
        pruned["metadata"]["managedFields"] = [{}]
    return pruned

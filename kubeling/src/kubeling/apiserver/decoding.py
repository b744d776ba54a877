"""Decode request bodies: JSON, YAML or protobuf; check the kind and the fields against the schema."""

import json
from collections.abc import Sequence
from typing import Any

import orjson

from kubeling.apiserver import limits, protobuf, schema, strict_decoding, worker, yaml_body
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import JSON, YAML
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    invalid_options,
    too_large,
    unsupported_media_type,
)
from kubeling.apiserver.storage.storage import Object
from kubeling.apiserver.strict_decoding import DuplicateKeys

_TYPES = (JSON, YAML, protobuf.MEDIA_TYPE)
_CUSTOM_TYPES = (JSON, YAML)


def parse(data: bytes, media_type: str) -> tuple[Any, DuplicateKeys]:
    """Decode a body; also return the keys that an object contains more than once.

    Raises StatusError 400, and 413 for more values than one request may have.
    """
    duplicates = DuplicateKeys()
    try:
        if media_type == protobuf.MEDIA_TYPE:
            value = protobuf.decode(data)
        else:
            read = _json if media_type == JSON else _json_or_yaml
            value = read(data, duplicates)
    except RecursionError as exc:
        raise too_large("the body is nested too deeply") from exc
    except (protobuf.MalformedBody, ValueError, TypeError) as exc:
        raise _unreadable(media_type) from exc
    limits.check_values(value)
    try:
        # Refuse what cannot be stored: numbers beyond 64 bits, lone surrogates, numeric keys of YAML.
        orjson.dumps(value)
    except (ValueError, TypeError) as exc:
        raise _unreadable(media_type) from exc
    return value, duplicates


def _unreadable(media_type: str) -> StatusError:
    return bad_request(f"the body of the request cannot be read as {media_type}")


def _json(data: bytes, duplicates: DuplicateKeys) -> Any:
    return json.loads(data, object_pairs_hook=duplicates.collect, parse_constant=_refuse_constant)


def _json_or_yaml(data: bytes, duplicates: DuplicateKeys) -> Any:
    """Decode YAML; try JSON first, because kubectl sends JSON with the media type of YAML."""
    if data.startswith(b"{"):
        try:
            return _json(data, duplicates)
        except ValueError:  # a YAML map in flow style
            duplicates.by_object.clear()
    return yaml_body.parse(data, duplicates.in_yaml)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


async def read_value(request: Request, media_type: str) -> tuple[Any, DuplicateKeys]:
    """Decode the body of a request; a caller in this process has passed the value itself.

    Raises StatusError 400, 413.
    """
    if request.value is not None:
        # A copy: the registry changes the value, and the caller may use it again.
        return orjson.loads(orjson.dumps(request.value)), DuplicateKeys()
    body = await request.body()
    return await worker.run(len(body), parse, body, media_type)


async def decode_object(request: Request, kind: Kind) -> Object:
    """Decode the object in a request's body, without unknown fields. Raises StatusError 400, 413, 415."""
    media_type = request.content_type or JSON
    accepted = _TYPES if kind.custom is None else _CUSTOM_TYPES
    if media_type not in accepted:
        raise unsupported_media_type(accepted)
    value, duplicates = await read_value(request, media_type)
    return await worker.run(request.size, check_kind, request, kind, value, duplicates)


def check_kind(
    request: Request, kind: Kind, value: Any, duplicates: DuplicateKeys | None = None
) -> Object:
    """Check that a value is an object of a kind, and check its fields.

    Raises StatusError 400, and 422 for a custom resource of another kind.
    """
    return check_fields(request, kind, _typed(kind, value), duplicates)


def check_applied(request: Request, kind: Kind, value: Any, duplicates: DuplicateKeys) -> Object:
    """Check that the body of an apply is an object of a kind, and check its fields.

    Raises StatusError 400; 500 for an unknown field or a wrong type, whatever `fieldValidation` is, as in the
    real API server.
    """
    typed = _typed(kind, value)
    found = strict_decoding.problems(typed, duplicates)
    if found and _is_strict(request):
        raise bad_request(strict_decoding.error_text(found, duplicates))
    report = schema.check(kind, typed)
    faults = [
        *report.type_errors,
        *(f".{path}: field not declared in schema" for path in report.unknown),
    ]
    if faults:
        named = f"/{(typed.get('metadata') or {}).get('name', '')}; {kind.api_version}, Kind={kind.kind}"
        raise StatusError(500, "", f"failed to create typed patch object ({named}): {faults[0]}")
    _warn(request, found)
    return _prune(kind, typed)


def check_patched(request: Request, kind: Kind, value: Any, in_patch: Sequence[str]) -> Object:
    """Check that a patched value is an object of a kind, and check its fields.

    Raises StatusError 400, 422.
    """
    return check_patched_fields(request, kind, _typed(kind, value), in_patch)


async def decode_type(request: Request, kind: str, api_version: str, *older: str) -> Object:
    """Decode a body whose type is not in the table of kinds: Binding, Eviction, TokenRequest...

    A body of an `older` version, which has the same fields, becomes one of `api_version`.
    """
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, duplicates = await read_value(request, media_type)
    if isinstance(value, dict) and value.get("apiVersion") in older:
        value["apiVersion"] = api_version
    typed = with_type_meta(value, kind, api_version)
    return await worker.run(request.size, check_fields, request, kind, typed, duplicates)


def decode_delete_options(request: Request, body: bytes) -> Object:
    """Decode DeleteOptions of any API version."""
    media_type = request.content_type or JSON
    if media_type not in _TYPES:
        raise unsupported_media_type(_TYPES)
    value, duplicates = parse(body, media_type)
    if not isinstance(value, dict) or value.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request("the body of a deletion must be DeleteOptions")
    return check_fields(request, "DeleteOptions", value, duplicates)


def with_type_meta(value: Any, kind: str, api_version: str) -> Object:
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
    # In place: `strict_decoding` knows the objects of a body by their identity.
    value |= {"kind": kind, "apiVersion": api_version}
    return value


def _typed(kind: Kind, value: Any) -> Object:
    """Return an object of a kind with its type; a custom resource must have it: no schema implies it."""
    if kind.custom is not None:
        if not isinstance(value, dict) or not value.get("kind"):
            raise bad_request(f"the body must be an object with the kind {kind.kind}")
        if value["kind"] != kind.kind:
            cause = Cause(CauseType.INVALID, f"must be {kind.kind}", "kind")
            given, metadata = str(value["kind"]), value.get("metadata")
            name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
            raise invalid_options(given, [cause], name=name, group=kind.group)
    return with_type_meta(value, kind.kind, kind.api_version)


def check_fields(
    request: Request,
    kind: Kind | str,
    value: Object,
    duplicates: DuplicateKeys | None = None,
) -> Object:
    """Check an object's fields by `fieldValidation`; return the object without unknown fields.

    Raises StatusError 400 for a wrong type, and with Strict for unknown and duplicate fields.
    """
    report = schema.check(kind, value)
    if report.type_errors:
        raise bad_request(
            f"{kind if isinstance(kind, str) else kind.kind} in the body cannot be read: "
            + "; ".join(report.type_errors)
        )
    duplicates = duplicates or DuplicateKeys()
    found = strict_decoding.problems(value, duplicates, report.unknown_fields)
    if found and _is_strict(request):
        raise bad_request(strict_decoding.error_text(found, duplicates))
    _warn(request, found)
    return _prune(kind, value)


def check_patched_fields(
    request: Request, kind: Kind | str, value: Object, in_patch: Sequence[str]
) -> Object:
    """Check the fields of a patched object, like `check_fields`; `in_patch` are problems of the patch itself.

    Raises StatusError 422.
    """
    report = schema.check(kind, value)
    if report.type_errors:
        raise _invalid_patch("; ".join(report.type_errors))
    unknown = sorted(f'unknown field "{path}"' for path in report.unknown)
    found = [*in_patch, *unknown][: strict_decoding.MAX_PROBLEMS]
    if found and _is_strict(request):
        raise _invalid_patch(strict_decoding.error_text(found, DuplicateKeys()))
    _warn(request, found)
    return _prune(kind, value)


def _is_strict(request: Request) -> bool:
    """Return whether a client wants unknown and duplicate fields to be refused."""
    return request.option("fieldValidation") == "Strict"


def _warn(request: Request, found: Sequence[str]) -> None:
    if request.option("fieldValidation") != "Ignore":
        request.warnings += found


def _invalid_patch(problem: str) -> StatusError:
    return invalid_options("", [Cause(CauseType.INVALID, problem, "patch")], group="")


def _prune(kind: Kind | str, value: Object) -> Object:
    pruned = schema.prune(kind, value)
    if (value.get("metadata") or {}).get("managedFields") == []:
        # An empty list removes all field managers; a missing list does not.
        pruned["metadata"]["managedFields"] = [{}]
    return pruned

"""Protobuf bodies of Kubernetes: decoded as typed Go clients encode them, and refused if malformed.

test_clients tests requests of real clients; these tests encode the bytes themselves.
"""

import math
import struct
from typing import Any

import pytest

from kubeling.apiserver import protobuf
from kubeling.apiserver.protobuf import MalformedBody

TYPE = "application/vnd.kubernetes.protobuf"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(kind: str, raw: bytes, api_version: str = "v1") -> bytes:
    about = field(1, api_version) + field(2, kind)
    return b"k8s\x00" + field(1, about) + field(2, raw) + field(3, "") + field(4, "")


def metadata(name: str) -> bytes:
    # As Go encodes it: fields that were never set are present and empty.
    empty = b"".join(field(number, "") for number in (2, 3, 4, 5, 6))
    labels = field(11, field(1, "app") + field(2, "x"))
    return field(1, name) + empty + field(7, 0) + field(8, b"") + labels


def test_config_map_with_bytes_is_decoded() -> None:
    raw = field(1, metadata("a")) + field(2, field(1, "k") + field(2, "v"))
    raw += field(3, field(1, "b") + field(2, b"\x00\xff")) + field(4, 0)
    assert protobuf.decode(body("ConfigMap", raw)) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "data": {"k": "v"},
        "binaryData": {"b": "AP8="},
        "immutable": False,
    }


def test_inlined_messages_are_decoded() -> None:
    volume = field(1, "c") + field(2, field(19, field(1, field(1, "settings"))))
    probe = field(
        1, field(2, field(1, "/ok") + field(2, field(1, 1) + field(2, 0) + field(3, "http")))
    )
    container = field(1, "c") + field(2, "i") + field(11, probe + field(2, 0) + field(3, 5))
    raw = field(1, metadata("p")) + field(2, field(1, volume) + field(2, container) + field(4, 30))
    spec = protobuf.decode(body("Pod", raw))["spec"]
    assert spec["volumes"] == [{"name": "c", "configMap": {"name": "settings"}}]
    assert spec["containers"][0]["readinessProbe"] == {
        "httpGet": {"path": "/ok", "port": "http"},
        "timeoutSeconds": 5,
    }


def test_zero_of_an_optional_field_is_preserved_and_other_zeros_are_dropped() -> None:
    """Fails if pointers and plain fields are not distinguished."""
    raw = field(1, metadata("p")) + field(
        2, field(4, 0) + field(8, "") + field(11, 0) + field(21, 0)
    )
    assert protobuf.decode(body("Pod", raw))["spec"] == {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }


def test_times_negative_numbers_and_quantities_are_decoded() -> None:
    spec = field(1, "me") + field(2, 15) + field(4, field(1, 1767225600) + field(2, 5000))
    raw = field(1, metadata("l")) + field(2, spec)
    decoded = protobuf.decode(body("Lease", raw, "coordination.k8s.io/v1"))["spec"]
    assert decoded["renewTime"] == "2026-01-01T00:00:00.000005Z"
    first_year = field(1, metadata("l")) + field(2, field(4, field(1, -62135596798)))
    decoded = protobuf.decode(body("Lease", first_year, "coordination.k8s.io/v1"))["spec"]
    assert decoded["renewTime"] == "0001-01-01T00:00:02.000000Z"
    options = protobuf.decode(body("DeleteOptions", field(1, -1)))
    assert options["gracePeriodSeconds"] == -1
    limits = field(8, field(1, field(1, "cpu") + field(2, field(1, "100m"))))
    container = field(1, "c") + field(2, "i") + limits
    pod = protobuf.decode(body("Pod", field(2, field(2, container))))
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "100m"}}


def test_lists_in_maps_are_decoded() -> None:
    extra = field(1, "scopes") + field(2, field(1, "a") + field(1, "b"))
    raw = field(2, field(3, "alice") + field(5, extra))
    review = protobuf.decode(body("SubjectAccessReview", raw, "authorization.k8s.io/v1"))
    assert review["spec"] == {"user": "alice", "extra": {"scopes": ["a", "b"]}}


def test_definition_of_custom_resources_is_decoded() -> None:
    """Fails if a schema that may be another type, or a required false boolean, is lost."""

    def schema(*fields: bytes) -> bytes:
        return b"".join(fields)

    def double(number: int, value: float) -> bytes:
        return varint(number << 3 | 1) + struct.pack("<d", value)

    text = schema(field(5, "string"), field(8, field(1, b'"x"')), field(20, field(1, b'"x"')))
    size = schema(field(5, "integer"), double(9, 3), double(11, 0.5), field(37, 0))
    listed = schema(field(5, "array"), field(24, field(1, text)))
    closed = schema(field(5, "object"), field(30, field(1, 0)))
    map_of = schema(field(5, "object"), field(30, field(1, 1) + field(2, text)))
    both = schema(field(24, field(2, text) + field(2, size)))
    properties = {"size": size, "listed": listed, "closed": closed, "map": map_of, "both": both}
    root = field(5, "object") + b"".join(
        field(29, field(1, name) + field(2, each)) for name, each in properties.items()
    )
    version = field(1, "v1") + field(2, 1) + field(3, 0) + field(4, field(1, root))
    subresources = field(5, field(1, b""))
    raw = field(1, metadata("d")) + field(2, field(1, "g") + field(7, version + subresources))
    api_version = "apiextensions.k8s.io/v1"
    decoded = protobuf.decode(body("CustomResourceDefinition", raw, api_version))
    (found,) = decoded["spec"]["versions"]
    text_found = {"type": "string", "default": "x", "enum": ["x"]}
    size_found = {"type": "integer", "maximum": 3, "minimum": 0.5}
    assert (found["served"], found["storage"], found["subresources"]) == (
        True,
        False,
        {"status": {}},
    )
    assert found["schema"]["openAPIV3Schema"]["properties"] == {
        "size": size_found,
        "listed": {"type": "array", "items": text_found},
        "closed": {"type": "object", "additionalProperties": False},
        "map": {"type": "object", "additionalProperties": text_found},
        "both": {"items": [text_found, size_found]},
    }


def schema_body(part: bytes) -> bytes:
    version = field(4, field(1, part))
    return body("CustomResourceDefinition", field(2, field(7, version)), "apiextensions.k8s.io/v1")


BROKEN = {
    "no magic": b"k8s\x01",
    "empty": b"",
    "nothing in it": b"k8s\x00",
    "unknown kind": body("Nonsense", b""),
    "cut off": body("ConfigMap", field(1, metadata("a")))[:-10],
    "a length beyond the end": body("ConfigMap", b"\x0a\x7f"),
    "a number without an end": body("ConfigMap", b"\x0a" + b"\xff" * 12),
    "a wire type there is not": body("ConfigMap", b"\x0b"),
    "a number for a message": body("ConfigMap", field(1, 5)),
    "not UTF-8": body("ConfigMap", field(1, field(1, b"\xff"))),
    "a number of 4 bytes": schema_body(varint(9 << 3 | 5) + b"1234"),
    "a number that is infinite": schema_body(varint(9 << 3 | 1) + struct.pack("<d", math.inf)),
    "a number for a schema": schema_body(field(24, 5)),
    "a time out of range": body("ConfigMap", field(1, field(8, field(1, 1 << 62)))),
}


@pytest.mark.parametrize("how", BROKEN)
def test_malformed_body_is_refused(how: str) -> None:
    with pytest.raises(MalformedBody):
        protobuf.decode(BROKEN[how])


async def test_protobuf_body_is_accepted_and_the_response_is_json(live: Any) -> None:
    raw = field(1, metadata("a")) + field(2, field(1, "k") + field(2, "v"))
    maps = "/api/v1/namespaces/default/configmaps"
    made = await live.call("POST", maps, body("ConfigMap", raw), content_type=TYPE)
    assert made.status == 201, made.text
    assert made.body["data"] == {"k": "v"}
    for how in BROKEN.values():
        refused = await live.call("POST", maps, how, content_type=TYPE)
        assert (refused.status, refused.body["reason"]) == (400, "BadRequest")

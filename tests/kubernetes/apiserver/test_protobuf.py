"""Protobuf bodies of Kubernetes: decoded as typed Go clients encode them, and refused if malformed.

test_clients tests requests of real clients; these tests encode the bytes themselves.
"""

from typing import Any

import pytest

from podpass.kubernetes.apiserver import protobuf
from podpass.kubernetes.apiserver.protobuf import MalformedBody

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


def test_zero_of_a_pointer_is_preserved_and_other_zeros_are_dropped() -> None:
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

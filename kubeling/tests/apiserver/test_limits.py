"""The work of one request is bounded, and grows with its size only.

`tests/fuzz/growth.py` counts operations. Here are the cases in which one operation of Python is long: unions
of sets, concatenated texts, patterns and large numbers.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import kubeling
from kubeling.apiserver import (
    decoding,
    limits,
    response,
    schema,
    status,
    strict_decoding,
)
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.patch import (
    json_patch,
    managed_fields,
    server_side_apply,
    strategic_merge,
)
from kubeling.apiserver.patch.managed_fields import FieldManager, OwnedFields
from kubeling.apiserver.registry import strategies
from kubeling.apiserver.status import Cause, StatusError

MAPS = "/api/v1/namespaces/default/configmaps"
POD = kind_by_name("Pod")


def refused(step: Any, *args: Any) -> int:
    with pytest.raises(StatusError) as caught:
        step(*args)
    return caught.value.status


@pytest.mark.parametrize(
    ("body", "media_type", "content_type"),
    [
        (b'{"a":[' + b"1," * limits.MAX_VALUES + b"1]}", "POST", "application/json"),
        (b"a: [" + b"1, " * limits.MAX_VALUES + b"1]", "POST", "application/yaml"),
        (b"a: [" + b"1, " * limits.MAX_VALUES + b"1]", "PATCH", "application/apply-patch+yaml"),
        (b'{"a":[' + b"1," * limits.MAX_VALUES + b"1]}", "PATCH", "application/merge-patch+json"),
        (b"[" * 300 + b"1" + b"]" * 300, "POST", "application/yaml"),
    ],
)
async def test_body_with_too_many_values_is_refused(
    live: Any, body: bytes, media_type: str, content_type: str
) -> None:
    await live.call("POST", MAPS, {"metadata": {"name": "m"}})
    path = MAPS if media_type == "POST" else f"{MAPS}/m?fieldManager=x"
    answer = await live.call(media_type, path, body, content_type=content_type)
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


def test_values_are_counted_without_the_managed_fields() -> None:
    """Fails if a client cannot send back a large object that the server returned."""
    fields: dict[str, Any] = {f"f:k{at}": {} for at in range(limits.MAX_VALUES)}
    entry = {"manager": "m", "fieldsV1": {"f:data": fields}}
    limits.check_values({"metadata": {"managedFields": [entry]}, "data": {"a": "b"}})
    assert refused(limits.check_values, {"metadata": {"managedFields": [entry] * 4}}) == 413
    assert refused(limits.check_values, {"metadata": {}, "data": fields}) == 413


def test_many_deeply_nested_values_are_refused() -> None:
    leaves: Any = {str(at): 1 for at in range(20_000)}
    for _ in range(50):
        leaves = {"a": leaves}
    limits.check_values(leaves)
    for _ in range(100):
        leaves = {"a": leaves}
    assert refused(limits.check_values, leaves) == 413


def test_object_that_grows_by_patches_is_refused() -> None:
    """Fails if only the body of a patch is checked, and not its result."""
    half = {f"a{at}": "" for at in range(limits.MAX_VALUES * 2 // 3)}
    json_patch.check_size({"data": half})
    merged = json_patch.merge_patch({"data": half}, {"data": {f"b{name}": "" for name in half}})
    assert refused(json_patch.check_size, merged) == 413


def test_patch_that_moves_a_long_list_many_times_is_refused() -> None:
    """Fails if 10,000 operations can each insert before 65,000 items."""
    inserts = [{"op": "add", "path": "/a/0", "value": 1}] * 2000
    assert refused(json_patch.json_patch, {"a": [0] * 60_000}, inserts) == 413
    removals = [{"op": "remove", "path": "/a/0"}] * 2000
    assert refused(json_patch.json_patch, {"a": [0] * 60_000}, removals) == 413
    appends = [{"op": "add", "path": "/a/-", "value": 1}] * 2000
    assert len(json_patch.json_patch({"a": [0] * 60_000}, appends)["a"]) == 62_000


def test_patch_that_merges_one_item_many_times_is_refused() -> None:
    """Fails if each of many patches of one container merges all of its variables."""
    container = {"name": "c", "env": [{"name": f"e{at}"} for at in range(2000)]}
    patches = [{"name": "c", "env": [{"name": f"e{at}", "value": "v"}]} for at in range(2000)]
    change = {"spec": {"containers": patches}}
    live = {"spec": {"containers": [container]}}
    assert refused(strategic_merge.merge, "Pod", live, change) == 413
    change["spec"]["containers"] = patches[:3]
    merged = strategic_merge.merge("Pod", live, change)
    assert merged["spec"]["containers"][0]["env"][2] == {"name": "e2", "value": "v"}


class CountedPaths(frozenset[tuple[str, ...]]):
    """A set of paths that counts the items of each union that makes a new set."""

    copied = 0

    def __or__(self, other: Any) -> Any:
        CountedPaths.copied += len(self) + len(other)
        return frozenset.__or__(self, other)

    __ror__ = __or__


def test_old_managers_are_merged_without_copying_their_fields_again() -> None:
    CountedPaths.copied = 0
    managers = {
        FieldManager(manager=f"m{at}", operation="Update", api_version="v1"): OwnedFields(
            paths=CountedPaths([("f:data", f"f:{at}")]), time=f"{at:05}"
        )
        for at in range(500)
    }
    capped = managed_fields.cap_update_managers(managers)
    assert len(capped) == managed_fields.MAX_UPDATE_MANAGERS
    assert CountedPaths.copied <= 2 * len(managers)
    ancient = next(each for each in capped if each.manager == "ancient-changes")
    assert len(capped[ancient].paths) == 491
    assert capped[ancient].time == "00490"


def test_field_of_a_removed_parent_is_removed_with_it() -> None:
    config = {
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "env": [{"name": "x"}, {"name": "y"}]}]},
    }
    first = server_side_apply.apply(POD, None, config, "m", now=1.0)
    container = {"name": "c", "env": [{"name": "y"}]}
    spec = {"containers": [container]}
    second = server_side_apply.apply(
        POD, first, {"metadata": {"name": "p"}, "spec": spec}, "m", now=2.0
    )
    assert second["spec"]["containers"] == [container]
    assert not second["metadata"].get("labels")


def test_paths_of_valid_fields_are_not_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if each value below a key of a megabyte makes a text of a megabyte."""
    formatted: list[Any] = []
    monkeypatch.setattr(schema, "_format_path", formatted.append)
    review = {"spec": {"extra": {"k" * 1000: ["a"] * 1000}}}
    assert not schema.check("SubjectAccessReview", review).type_errors
    assert formatted == []


def test_validation_report_is_bounded() -> None:
    review = {"spec": {"extra": {"k" * 100_000: [1] * 1000}}, **{f"u{at}": 1 for at in range(500)}}
    report = schema.check("SubjectAccessReview", review)
    assert (len(report.type_errors), len(report.unknown)) == (100, 100)
    assert max(map(len, report.type_errors)) < 1200
    causes = [Cause("", "m", "f")] * 5000
    assert len(status.invalid_options("Pod", causes).causes) == 1000
    path = ("f:spec", 'k:{"name":"' + "x" * 100_000 + '"}')
    assert len(managed_fields.format_path(path)) <= 1024


def test_warnings_are_checked_up_to_the_length_of_the_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[int] = []
    is_sendable = response._is_sendable

    def note(text: str) -> bool:
        checked.append(len(text))
        return is_sendable(text)

    monkeypatch.setattr(response, "_is_sendable", note)
    response.format_warnings(f"{at} {'x' * 100}" for at in range(10_000))
    assert sum(checked) <= 4096 + 256


def test_duplicate_names_of_json_are_reported_once() -> None:
    body = json.dumps({"a": 1})[:-1] + ', "a": 2, "b": 1, "b": 1, "b": 1, "c": 1}'
    value, duplicates = decoding.parse(body.encode(), "application/json")
    assert strict_decoding.problems(value, duplicates) == [
        'duplicate field "a"',
        'duplicate field "b"',
    ]


def test_large_yaml_response_is_json() -> None:
    """Fails if libyaml writes a large object, which blocks the event loop for seconds."""
    small, large = {"a": [1]}, {"a": ["x"] * 20_000}
    assert response.encode_yaml(small) == b"a:\n- 1\n"
    assert json.loads(response.encode_yaml(json.dumps(large).encode())) == large


async def test_large_object_in_a_yaml_list_is_an_item_of_the_list(live: Any) -> None:
    import yaml

    for name, size in (("a", 1), ("b", 70_000)):
        await live.call("POST", MAPS, {"metadata": {"name": name}, "data": {"k": "x\n" * size}})
    listed = await live.call("GET", f"{MAPS}?limit=2", accept="application/yaml")
    items = yaml.safe_load(listed.text)["items"]
    assert [len(each["data"]["k"]) for each in items] == [2, 140_000]


def test_full_range_of_node_ports_is_an_error() -> None:
    """Fails with an internal IndexError, or searches all ports for each port."""
    ports = [{"port": 1} for _ in range(2768)]
    strategies._allocate_node_ports(ports, set())
    assert len({each["nodePort"] for each in ports}) == 2768
    assert refused(strategies._allocate_node_ports, [{"port": 1}], set(range(30000, 32768))) == 500


def patterns() -> Iterator[tuple[str, str]]:
    """Yield each pattern of the Kubernetes packages, with its place."""
    package = kubeling
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                yield f"{found.name}.{name}", value.pattern


def _unbounded(token: Any) -> bool:
    return str(token[0]) in ("MAX_REPEAT", "MIN_REPEAT") and bool(token[1][1] > 1000)


def _can_be_empty(token: Any) -> bool:
    kind = str(token[0])
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return bool(token[1][0] == 0)
    return kind in ("AT", "ASSERT", "ASSERT_NOT")


def _pieces(tokens: Any) -> Iterator[Any]:
    """Yield a pattern's sequences, those of its groups and branches included."""
    yield list(tokens)
    for kind, value in tokens:
        match str(kind):
            case "SUBPATTERN":
                yield from _pieces(value[3])
            case "MAX_REPEAT" | "MIN_REPEAT":
                yield from _pieces(value[2])
            case "BRANCH":
                for each in value[1]:
                    yield from _pieces(each)


def has_adjacent_repetitions(pattern: str) -> bool:
    """Return whether two repetitions of common characters have no required character between them."""
    for sequence in _pieces(_parser.parse(pattern)):
        for at, first in enumerate(sequence):
            if not _unbounded(first):
                continue
            for second in sequence[at + 1 :]:
                if _unbounded(second) and _overlap(first, second):
                    return True
                if not _can_be_empty(second):
                    break
    return False


def _overlap(first: Any, second: Any) -> bool:
    characters = [chr(code) for code in range(32, 127)]
    one, other = (re.compile(_characters(each)) for each in (first, second))
    return any(one.fullmatch(each) and other.fullmatch(each) for each in characters)


def _characters(token: Any) -> str:
    """Return a pattern for one character of a repetition, if it repeats a set of characters."""
    [(kind, value)] = list(token[1][2])[:1]
    categories = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S"}
    match str(kind):
        case "LITERAL":
            return re.escape(chr(value))
        case "NOT_LITERAL":
            return f"[^{re.escape(chr(value))}]"
        case "ANY":
            return "."
        case "IN":
            parts = []
            for what, each in value:
                match str(what):
                    case "NEGATE":
                        parts.append("^")
                    case "LITERAL":
                        parts.append(re.escape(chr(each)))
                    case "RANGE":
                        parts.append("-".join(re.escape(chr(end)) for end in each))
                    case "CATEGORY":
                        parts.append(categories[str(each)])
            return f"[{''.join(parts)}]"
        case _:
            return r"(?!)"  # a group: its own sequence is checked


def test_no_pattern_backtracks_quadratically() -> None:
    """Fails if a long invalid number takes time that grows with the square of its length."""
    assert has_adjacent_repetitions(r"\d+\.?\d*")
    assert not has_adjacent_repetitions(r"\d+(?:\.\d*)?")
    found = dict(patterns())
    assert len(found) > 20
    assert [place for place, pattern in found.items() if has_adjacent_repetitions(pattern)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"ports": [{"port": 70000}]},
        {"ports": [{"port": -1}]},
        {"ports": [{"name": f"p{at}"} for at in range(101)]},
        {"endpoints": [{"addresses": ["a_b"]}], "addressType": "FQDN"},
    ],
    ids=["large", "negative", "many", "no-host-name"],
)
async def test_endpoint_slice_beyond_the_limits_is_refused(live: Any, change: Any) -> None:
    """Fails without the check: one object would end the network of all Services, or block each DNS query."""
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [], **change}
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    assert (await live.call("POST", path, body)).status == 422


@pytest.mark.parametrize(
    ("address", "is_valid"),
    [
        *((each, False) for each in ("127.0.0.1", "127.255.0.1", "169.254.169.254", "0.0.0.0")),
        *((each, False) for each in ("224.0.0.1", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "x")),
        *((each, True) for each in ("127.64.0.9", "192.0.2.1", "2001:db8::1")),
    ],
)
async def test_endpoint_with_a_special_address_is_refused(
    live: Any, address: str, is_valid: bool
) -> None:
    """Fails without the check: pods and the API server would connect to services of the machine alone."""
    kind = "IPv6" if ":" in address else "IPv4"
    part = {"addressType": kind, "endpoints": [{"addresses": [address]}], "ports": []}
    whole = {"subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]}
    namespace = "namespaces/default"
    for path, body, field in (
        (
            f"/apis/discovery.k8s.io/v1/{namespace}/endpointslices",
            part,
            "endpoints[0].addresses[0]",
        ),
        (f"/api/v1/{namespace}/endpoints", whole, "subsets[0].addresses[0].ip"),
    ):
        done = await live.call("POST", path, {"metadata": {"name": "s"}, **body})
        assert done.status == (201 if is_valid else 422), done.text
        if not is_valid:
            assert {each["field"] for each in done.body["details"]["causes"]} == {field}


async def test_service_with_an_address_that_is_not_one_is_refused(live: Any) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "odd", "ports": [{"port": 80}]}}
    done = await live.call("POST", "/api/v1/namespaces/default/services", body)
    assert [each["field"] for each in done.body["details"]["causes"]] == ["spec.clusterIPs[0]"]

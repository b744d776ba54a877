"""Limits against small patches that expand to gigabytes, and against long numbers."""

import json
from typing import Any

import pytest

from kubeling import int64
from kubeling.apiserver.patch import json_patch
from kubeling.apiserver.status import StatusError

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DIGITS = "9" * 5000


def doubling(times: int) -> list[dict[str, Any]]:
    first = {"op": "add", "path": "/data/a", "value": "x" * 1000}
    copies = [{"op": "copy", "from": "/data", "path": f"/data/k{at}"} for at in range(times)]
    return [first, *copies]


async def test_patch_of_copies_above_the_limit_is_refused(live: Any) -> None:
    """Hangs without the total limit: each copy doubles the object."""
    await live.call("POST", MAPS, {"metadata": {"name": "m"}, "data": {"b": "c"}})
    kind = "application/json-patch+json"
    answer = await live.call("PATCH", f"{MAPS}/m", doubling(40), content_type=kind)
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")
    assert (await live.call("GET", f"{MAPS}/m")).body["data"] == {"b": "c"}


def test_copied_bytes_are_counted_over_the_whole_patch() -> None:
    assert json_patch.json_patch({"data": {}}, doubling(8))
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch({"data": {}}, doubling(14))
    assert caught.value.status == 413


def test_too_deeply_nested_copy_is_refused() -> None:
    operations = [{"op": "copy", "from": "", "path": "/a" * (1 << at)} for at in range(12)]
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch({}, operations)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("kind", "query", "change"),
    [
        ("application/json-patch+json", "", [{"op": "add", "path": "/data/b", "value": "LARGE"}]),
        ("application/merge-patch+json", "", {"data": {"b": "LARGE"}}),
        ("application/strategic-merge-patch+json", "", {"data": {"b": "LARGE"}}),
        (
            "application/apply-patch+yaml",
            "?fieldManager=x",
            {"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "LARGE"}},
        ),
    ],
)
async def test_patched_object_above_the_body_limit_is_refused(
    live: Any, kind: str, query: str, change: Any
) -> None:
    made = await live.call("POST", MAPS, {"metadata": {"name": "m"}, "data": {}})
    assert made.status == 201
    # Validation keeps a ConfigMap far below the limit, so this object is stored without validation.
    store = live.cluster.store
    entry = store.get(_config_map(), "default", "m")
    entry["data"] = {"a": "x" * (5 << 19)}
    store.update(_config_map(), entry, int(entry["metadata"]["resourceVersion"]))
    body = json.dumps(change).replace("LARGE", "x" * 900_000)
    answer = await live.call("PATCH", f"{MAPS}/m{query}", body, content_type=kind)
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


def _config_map() -> Any:
    from kubeling.apiserver.kinds import kind_by_name

    return kind_by_name("ConfigMap")


@pytest.mark.parametrize(
    "path",
    [
        f"{MAPS}?resourceVersion={DIGITS}",
        f"{MAPS}?limit={DIGITS}",
        f"{MAPS}?watch=1&resourceVersion={DIGITS}",
        f"{MAPS}?watch=1&timeoutSeconds={DIGITS}",
        f"{MAPS}/m?resourceVersion={DIGITS}",
        f"{PODS}/p/log?tailLines={DIGITS}",
        f"{PODS}/p/log?limitBytes={DIGITS}",
        f"{PODS}/p/log?sinceSeconds={DIGITS}",
        f"{PODS}/p/log?sinceSeconds=%C2%B2",
    ],
)
async def test_too_long_number_is_a_bad_request(live: Any, path: str) -> None:
    """Fails if `int` parses it: Python raises a different error for so many digits."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await live.call("POST", PODS, pod)
    answer = await live.call("GET", path)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert len(answer.text) < 500


async def test_deletion_with_a_huge_grace_period_is_accepted(live: Any) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}
    await live.call("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    too_long = await live.call("DELETE", f"{PODS}/p?gracePeriodSeconds={DIGITS}")
    assert too_long.status == 400
    gone = await live.call("DELETE", f"{PODS}/p?gracePeriodSeconds={(1 << 63) - 1}")
    assert gone.status == 200, gone.text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-1", -1),
        ("9223372036854775807", (1 << 63) - 1),
        *((text, None) for text in ("9223372036854775808", "1_0", "+1", " 1", "1\n", "", "²", "٣")),
        (DIGITS, None),
    ],
)
def test_only_decimal_64_bit_integers_are_parsed(text: str, number: int | None) -> None:
    assert int64.parse(text) == number

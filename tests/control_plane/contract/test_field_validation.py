"""Unknown and repeated fields of a body: their order, their paths, and the status of each kind of write."""

import json
from typing import Any

import pytest

from tests.control_plane.contract.api import JSON, MERGE, STRATEGIC, Api, check_refused, config_map
from tests.kubeling.cluster import Reply

STRICT, IGNORE = "?dryRun=All&fieldValidation=Strict", "?dryRun=All&fieldValidation=Ignore"
WARN = "?dryRun=All&fieldValidation=Warn"
YAML = "application/yaml"

DEPLOYMENT = """{"metadata": {"name": "d", "labels": {"a": "1", "b": "2", "a": "3"}, "later": 1},
 "spec": {"unknown": "x", "replicas": 2, "replicas": 3, "replicas": 4, "unknown": {"y": 1, "y": 2},
  "selector": {"matchLabels": {"app": "d"}},
  "template": {"metadata": {"labels": {"app": "d"}},
   "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "e", "image": "i", "image": "j"}]}}}}"""
IN_DEPLOYMENT = [
    'duplicate field "metadata.labels.a"',
    'unknown field "metadata.later"',
    'unknown field "spec.unknown"',
    'duplicate field "spec.replicas"',
    'duplicate field "spec.template.spec.containers[1].image"',
]
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: m
  %s: {}
data:
  a: x
  b: y
  a: |
    z
  b: "1"
"""
IN_CONFIG_MAP = ['line 9: key "a" already set in map', 'line 11: key "b" already set in map']


def warnings(reply: Reply) -> list[str]:
    return [json.loads(each.removeprefix("299 - ")) for each in reply.warnings]


async def test_problems_of_json_are_listed_in_the_order_of_the_document(api: Api) -> None:
    path = api.path("deployments")
    refused = await api.call("POST", path + STRICT, DEPLOYMENT)
    check_refused(refused, 400, "BadRequest")
    assert "strict decoding error: " + ", ".join(IN_DEPLOYMENT) in refused.body["message"]
    warned = await api.call("POST", path + WARN, DEPLOYMENT)
    assert (warned.status, warnings(warned)) == (201, IN_DEPLOYMENT)
    assert warned.body["spec"]["replicas"] == 4
    ignored = await api.call("POST", path + IGNORE, DEPLOYMENT)
    assert (ignored.status, ignored.warnings) == (201, [])


async def test_repeated_keys_of_yaml_are_listed_with_their_lines(api: Api) -> None:
    path, text = api.path("configmaps"), CONFIG_MAP % "nope"
    refused = await api.call("POST", path + STRICT, text, content_type=YAML)
    check_refused(refused, 400, "BadRequest")
    lines = "".join(f"\n  {each}" for each in IN_CONFIG_MAP)
    wanted = f'yaml: unmarshal errors:{lines}, unknown field "metadata.nope"'
    assert f"strict decoding error: {wanted}" in refused.body["message"]
    warned = await api.call("POST", path + WARN, text, content_type=YAML)
    assert warnings(warned) == [*IN_CONFIG_MAP, 'unknown field "metadata.nope"']


async def test_apply_reports_repeated_keys_and_refuses_unknown_fields(api: Api) -> None:
    path, text = api.path("configmaps", "m"), CONFIG_MAP % "annotations"
    refused = await api.apply(path, text, "me", "&fieldValidation=Strict")
    check_refused(refused, 400, "BadRequest")
    assert all(each in refused.body["message"] for each in IN_CONFIG_MAP)
    warned = await api.apply(path, text, "me")
    assert (warned.status, warnings(warned)) == (201, IN_CONFIG_MAP)
    for validation in ("Strict", "Warn", "Ignore"):
        unknown = config_map() | {"apiVersion": "v1", "kind": "ConfigMap", "extra": 1}
        refused = await api.apply(path, unknown, "me", f"&fieldValidation={validation}")
        assert refused.status == 500
        assert ".extra: field not declared in schema" in refused.body["message"]


MERGE_PATCH = '{"z": 1, "b": 2, "data": {"k": "1", "k": "2"}}'
IN_MERGE_PATCH = ['duplicate field "data.k"']
JSON_PATCH = """[{"op": "add", "path": "/z", "value": 1, "value": 2, "nope": 3},
 {"op": "add", "path": "/b", "value": {"k": 1, "k": 3}}]"""
IN_JSON_PATCH = [
    'json patch duplicate field "[0].value"',
    'json patch unknown field "[0].nope"',
    'json patch duplicate field "[1].value.k"',
]


@pytest.mark.parametrize(
    ("media_type", "patch", "in_patch"),
    [
        (MERGE, MERGE_PATCH, IN_MERGE_PATCH),
        (STRATEGIC, MERGE_PATCH, IN_MERGE_PATCH),
        (JSON, JSON_PATCH, IN_JSON_PATCH),
    ],
    ids=["merge", "strategic", "json"],
)
async def test_problems_of_a_patch_are_listed_before_those_of_the_patched_object(
    api: Api, media_type: str, patch: str, in_patch: list[str]
) -> None:
    await api.create("configmaps", config_map(a="1"))
    path, wanted = (
        api.path("configmaps", "m"),
        [*in_patch, 'unknown field "b"', 'unknown field "z"'],
    )
    refused = await api.patch(path + STRICT, patch, media_type)
    check_refused(refused, 422, "Invalid", "patch")
    assert "strict decoding error: " + ", ".join(wanted) in refused.body["message"]
    warned = await api.patch(path + WARN, patch, media_type)
    assert (warned.status, warnings(warned)) == (200, wanted)


@pytest.mark.parametrize(
    ("media_type", "patch"),
    [
        (MERGE, {"data": {"k": 1}}),
        (STRATEGIC, {"data": {"k": 1}}),
        (JSON, [{"op": "add", "path": "/data/k", "value": 1}]),
    ],
    ids=["merge", "strategic", "json"],
)
async def test_patch_to_a_wrong_type_is_invalid(api: Api, media_type: str, patch: Any) -> None:
    await api.create("configmaps", config_map(a="1"))
    refused = await api.patch(api.path("configmaps", "m"), patch, media_type)
    check_refused(refused, 422, "Invalid", "patch")

"""Limits of one request that both servers have, with their statuses and messages."""

import gzip

import pytest

from tests.control_plane.contract.api import JSON, MERGE, Api, check_refused, config_map

MAX_BYTES = 3 * 1024 * 1024


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_body_over_the_limit_is_refused_with_413(api: Api, method: str) -> None:
    body = b'{"metadata":{"name":"m"}}'
    path, kind = api.path("configmaps"), "application/json"
    reply = await api.call("POST", path, body.ljust(MAX_BYTES), content_type=kind)
    assert reply.status == 201
    if method == "PATCH":
        path, kind = api.path("configmaps", "m"), MERGE
    reply = await api.call(method, path, body.ljust(MAX_BYTES + 1), content_type=kind)
    refused = check_refused(reply, 413, "RequestEntityTooLarge")
    assert refused["message"] == f"Request entity too large: limit is {MAX_BYTES}"


async def test_json_patch_has_at_most_ten_thousand_operations(api: Api) -> None:
    await api.create("configmaps", config_map())
    path = api.path("configmaps", "m")
    test = {"op": "test", "path": "/metadata/name", "value": "m"}
    assert (await api.patch(path, [test] * 10_000, JSON)).status == 200
    refused = check_refused(
        await api.patch(path, [test] * 10_001, JSON), 413, "RequestEntityTooLarge"
    )
    assert refused["message"] == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )


async def test_body_nested_ten_thousand_times_is_refused(api: Api) -> None:
    """The real server reads 10,000 levels, the embedded one 250: both answer, and stay up."""
    body = '{"metadata":{"name":"m"},"x":' + '{"a":' * 10_001 + "1" + "}" * 10_002
    reply = await api.call("POST", api.path("configmaps"), body)
    assert reply.status in (400, 413)
    assert (await api.call("GET", "/readyz")).status == 200


async def test_compressed_body_is_not_decoded(api: Api) -> None:
    body = gzip.compress(b'{"metadata":{"name":"m"}}')
    reply = await api.call("POST", api.path("configmaps"), body, content_encoding="gzip")
    check_refused(reply, 400, "BadRequest")

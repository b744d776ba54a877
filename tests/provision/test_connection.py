"""Requests: which are repeated, how long the client waits, and what an unreachable service looks like."""

from pathlib import Path

import pytest

from podpass.provision.connection import AzureConnection, RequestLimits, parse_retry_after
from podpass.provision.errors import ApiError
from tests.ports import free_port
from tests.provision.api_server import ScriptedResponse, in_order, scripted_api

OK = ScriptedResponse(body={"x": 1})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("status", [429, 503])
async def test_throttled_request_is_repeated_after_the_requested_time(
    tmp_path: Path, method: str, status: int
) -> None:
    throttled = ScriptedResponse(status=status, headers={"Retry-After": "7"})
    async with scripted_api(tmp_path, in_order(throttled, throttled, OK)) as api:
        response = await api.connection.send(method, f"{api.origin}/x")
    assert response.status == 200
    assert api.pauses == [7.0, 7.0]
    assert api.reports == [f"localhost returned status {status}; trying again in 7 seconds"] * 2


@pytest.mark.parametrize(
    ("method", "requests"), [("GET", 6), ("PUT", 6), ("DELETE", 6), ("POST", 1), ("PATCH", 1)]
)
async def test_server_error_is_repeated_for_idempotent_methods_only(
    tmp_path: Path, method: str, requests: int
) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=500))) as api:
        response = await api.connection.send(method, f"{api.origin}/x")
    assert response.status == 500
    assert len(api.requests) == requests


@pytest.mark.parametrize(("method", "requests"), [("GET", 6), ("POST", 1)])
async def test_lost_connection_is_repeated_for_idempotent_methods_only(
    tmp_path: Path, method: str, requests: int
) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(is_closed=True))) as api:
        with pytest.raises(ApiError, match="localhost sent no usable response"):
            await api.connection.send(method, f"{api.origin}/x")
    assert len(api.requests) == requests


async def test_configured_attempt_limit_of_a_connection_is_applied(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=503), OK)) as api:
        api.connection.limits = RequestLimits(attempts=1, seconds=20.0)
        assert (await api.connection.send("GET", f"{api.origin}/x")).status == 503
    assert api.pauses == []


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "http://b:2"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, "http://a:1"),
        ({}, ""),
    ],
)
def test_proxy_of_the_environment_is_used(environ: dict[str, str], proxy: str) -> None:
    made = AzureConnection.from_environ({**environ, "NO_PROXY": "x"})
    assert (made.https_proxy, made.no_proxy) == (proxy, "x")


async def test_long_throttling_is_an_error_that_names_the_time(tmp_path: Path) -> None:
    throttled = ScriptedResponse(status=429, headers={"Retry-After": "900"})
    async with scripted_api(tmp_path, in_order(throttled)) as api:
        with pytest.raises(ApiError, match="accepts no request for the next 900 seconds"):
            await api.connection.send("GET", f"{api.origin}/x")
    assert api.pauses == []


async def test_redirect_is_not_followed(tmp_path: Path) -> None:
    moved = ScriptedResponse(status=302, headers={"Location": "https://localhost/elsewhere"})
    async with scripted_api(tmp_path, in_order(moved)) as api:
        response = await api.connection.send("GET", f"{api.origin}/x")
    assert response.status == 302
    assert len(api.requests) == 1


async def test_certificate_of_another_ca_is_refused(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, in_order(OK), trusted=False) as api:
        with pytest.raises(ApiError, match="its certificate is not trusted"):
            await api.connection.send("POST", f"{api.origin}/x")
    assert api.requests == []


async def test_unreachable_service_and_proxy_are_named() -> None:
    port = free_port()
    with pytest.raises(ApiError, match="localhost cannot be reached: ConnectionRefusedError"):
        await AzureConnection().send("POST", f"https://localhost:{port}/")
    proxied = AzureConnection(https_proxy=f"http://127.0.0.1:{port}")
    with pytest.raises(ApiError, match=r"the proxy 127\.0\.0\.1 cannot be reached"):
        await proxied.send("POST", "https://management.azure.com/")


async def test_plain_http_is_refused() -> None:
    with pytest.raises(ApiError, match="not an https URL"):
        await AzureConnection().send("POST", "http://localhost/")


def test_password_of_the_proxy_is_not_in_the_representation() -> None:
    assert "hunter2" not in repr(AzureConnection(https_proxy="http://u:hunter2@proxy:8080"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("", 9.0), ("-1", 9.0), ("inf", 9.0), ("nan", 9.0), ("Wed, 1", 9.0)],
)
def test_retry_after_is_parsed_or_replaced(text: str, seconds: float) -> None:
    assert parse_retry_after(text, 9.0) == seconds

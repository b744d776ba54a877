"""The application of the kubelet: logs, and errors with a message."""

import asyncio
from typing import Any

import pytest

from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.server import parse_log_options
from tests.kubelet.cluster import KubeletCluster, shell


async def request(cluster: KubeletCluster, path: str, method: str = "GET") -> tuple[int, str]:
    """Call the application as an API server in the same process does."""
    assert cluster.kubelet is not None
    path, _, query = path.partition("?")
    scope = {"type": "http", "method": method, "raw_path": path.encode(), "headers": []}
    status, body = 0, b""

    async def send(message: Any) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    received: Any = asyncio.Event().wait
    await cluster.kubelet.app({**scope, "query_string": query.encode()}, received, send)
    return status, body.decode()


async def test_missing_pod_container_or_path_is_refused_with_a_message(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("here", shell("true"))
    await cluster.phase("here", "Succeeded")
    assert (await request(cluster, "/containerLogs/default/gone/app"))[0] == 404
    status, text = await request(cluster, "/containerLogs/default/here/other")
    assert (status, text) == (404, 'container "other" not found in pod "here"\n')
    status, text = await request(cluster, "/containerLogs/default/here/app?previous=true")
    assert (status, text) == (
        400,
        'previous terminated container "app" in pod "here" not found\n',
    )
    assert (await request(cluster, "/other"))[0] == 404
    assert (await request(cluster, "/healthz", "POST"))[0] == 405


async def test_log_options_limit_the_response(cluster: KubeletCluster) -> None:
    await cluster.run("lines", shell("for i in 1 2 3 4 5; do echo line $i; done; echo err >&2"))
    await cluster.phase("lines", "Succeeded")
    path = "/containerLogs/default/lines/app"
    assert await request(cluster, f"{path}?stream=Stdout&limitBytes=8") == (
        200,
        "line 1\nl",
    )
    assert (await request(cluster, f"{path}?stream=Stderr"))[1] == "err\n"
    assert (await request(cluster, f"{path}?tailLines=0"))[1] == ""
    assert len((await request(cluster, f"{path}?tailLines=2"))[1].splitlines()) == 2
    stamped = (await request(cluster, f"{path}?timestamps=true&stream=Stdout"))[1].splitlines()
    assert stamped[0].endswith("Z line 1")
    assert (await request(cluster, f"{path}?sinceTime=2999-01-01T00:00:00Z"))[1] == ""
    assert (await request(cluster, f"{path}?tailLines=x"))[0] == 400


def test_all_log_options_are_parsed() -> None:
    query = parse_log_options(
        {
            "follow": ["true"],
            "timestamps": ["1"],
            "sinceSeconds": ["60"],
            "tailLines": ["5"],
            "limitBytes": ["10"],
            "stream": ["Stderr"],
        },
        now=1000.0,
    )
    assert (query.follow, query.timestamps, query.since) == (True, True, 940.0)
    assert (query.tail, query.limit, query.stream) == (5, 10, "stderr")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tailLines", "-1"),
        ("limitBytes", "1.5"),
        ("sinceSeconds", "²"),
        ("sinceTime", "now"),
        ("limitBytes", "9" * 5000),
    ],
)
def test_invalid_log_option_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(KubeletError) as caught:
        parse_log_options({name: [value]}, now=0)
    assert caught.value.status == 400
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [("sinceSeconds", str((1 << 63) - 1)), ("sinceTime", "0001-01-01T00:00:00+14:00")],
)
def test_time_before_year_one_counts_as_the_epoch(name: str, value: str) -> None:
    """Fails if the time is used unchanged: it cannot be formatted as a date."""
    assert parse_log_options({name: [value]}, now=0).since == 0

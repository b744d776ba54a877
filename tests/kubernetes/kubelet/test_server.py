"""The HTTPS endpoint of the kubelet: it serves the API server and refuses every other client."""

import aiohttp
import pytest
import trustme

from podpass.kubernetes.kubelet.errors import KubeletError
from podpass.kubernetes.kubelet.server import API_SERVER_CLIENT, parse_log_options
from tests.kubernetes.kubelet.cluster import KubeletCluster, client_context, shell


async def request(
    cluster: KubeletCluster, path: str, client: str | None, method: str = "GET"
) -> tuple[int, str]:
    context = client_context(cluster.folder, cluster.ca, client)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"https://127.0.0.1:{cluster.port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_only_the_client_certificate_of_the_api_server_is_accepted(
    cluster: KubeletCluster,
) -> None:
    """Fails without the check of the common name: any certificate of the CA could read logs."""
    await cluster.run("secretive", shell("echo hush"))
    await cluster.phase("secretive", "Succeeded")
    for path in ("/healthz", "/containerLogs/default/secretive/app", "/nothing"):
        assert (await request(cluster, path, None))[0] == 401
        status, text = await request(cluster, path, "podpass-webhook")
        assert status == 403
        assert "hush" not in text
    assert await request(cluster, "/containerLogs/default/secretive/app", API_SERVER_CLIENT) == (
        200,
        "hush\n",
    )
    assert await request(cluster, "/healthz", API_SERVER_CLIENT) == (200, "ok")


@pytest.mark.parametrize(
    "name", ["Kube-apiserver-kubelet-client", f"{API_SERVER_CLIENT}.evil", f" {API_SERVER_CLIENT}"]
)
async def test_certificate_with_a_similar_common_name_is_refused(
    cluster: KubeletCluster, name: str
) -> None:
    assert (await request(cluster, "/healthz", name))[0] == 403


async def test_certificate_of_another_ca_is_refused(cluster: KubeletCluster) -> None:
    context = client_context(cluster.folder, trustme.CA(), API_SERVER_CLIENT)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with session.get(f"https://127.0.0.1:{cluster.port}/healthz") as response:
                await response.read()


async def test_missing_pod_container_or_path_is_refused_with_a_message(
    cluster: KubeletCluster,
) -> None:
    await cluster.run("here", shell("true"))
    await cluster.phase("here", "Succeeded")
    assert (await request(cluster, "/containerLogs/default/gone/app", API_SERVER_CLIENT))[0] == 404
    status, text = await request(cluster, "/containerLogs/default/here/other", API_SERVER_CLIENT)
    assert (status, text) == (404, 'container "other" not found in pod "here"\n')
    status, text = await request(
        cluster, "/containerLogs/default/here/app?previous=true", API_SERVER_CLIENT
    )
    assert (status, text) == (
        400,
        'previous terminated container "app" in pod "here" not found\n',
    )
    assert (await request(cluster, "/other", API_SERVER_CLIENT))[0] == 404
    assert (await request(cluster, "/healthz", API_SERVER_CLIENT, "POST"))[0] == 405


async def test_log_options_limit_the_response(cluster: KubeletCluster) -> None:
    await cluster.run("lines", shell("for i in 1 2 3 4 5; do echo line $i; done; echo err >&2"))
    await cluster.phase("lines", "Succeeded")
    path = "/containerLogs/default/lines/app"
    assert await request(cluster, f"{path}?stream=Stdout&limitBytes=8", API_SERVER_CLIENT) == (
        200,
        "line 1\nl",
    )
    assert (await request(cluster, f"{path}?stream=Stderr", API_SERVER_CLIENT))[1] == "err\n"
    assert (await request(cluster, f"{path}?tailLines=0", API_SERVER_CLIENT))[1] == ""
    assert (
        len((await request(cluster, f"{path}?tailLines=2", API_SERVER_CLIENT))[1].splitlines()) == 2
    )
    stamped = (await request(cluster, f"{path}?timestamps=true&stream=Stdout", API_SERVER_CLIENT))[
        1
    ].splitlines()
    assert stamped[0].endswith("Z line 1")
    assert (await request(cluster, f"{path}?sinceTime=2999-01-01T00:00:00Z", API_SERVER_CLIENT))[
        1
    ] == ""
    assert (await request(cluster, f"{path}?tailLines=x", API_SERVER_CLIENT))[0] == 400


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

"""The runtime's HTTPS side: the API server is answered, everybody else is refused."""

import aiohttp
import pytest
import trustme

from podpass.kubernetes.kubelet.server import API_SERVER_CLIENT, KubeletError, parse_log_options
from tests.kubernetes.kubelet.cluster import Lab, client_context, shell


async def ask(lab: Lab, path: str, client: str | None, method: str = "GET") -> tuple[int, str]:
    context = client_context(lab.folder, lab.ca, client)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"https://127.0.0.1:{lab.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_only_the_client_certificate_of_the_api_server_is_accepted(lab: Lab) -> None:
    """Fails without the check of the common name: any certificate of the authority would read logs."""
    await lab.run("secretive", shell("echo hush"))
    await lab.phase("secretive", "Succeeded")
    for path in ("/healthz", "/containerLogs/default/secretive/app", "/nothing"):
        assert (await ask(lab, path, None))[0] == 401
        status, text = await ask(lab, path, "podpass-webhook")
        assert status == 403
        assert "hush" not in text
    assert await ask(lab, "/containerLogs/default/secretive/app", API_SERVER_CLIENT) == (200, "hush\n")
    assert await ask(lab, "/healthz", API_SERVER_CLIENT) == (200, "ok")


@pytest.mark.parametrize("name", ["Kube-apiserver-kubelet-client", f"{API_SERVER_CLIENT}.evil", f" {API_SERVER_CLIENT}"])
async def test_certificate_with_a_similar_common_name_is_refused(lab: Lab, name: str) -> None:
    assert (await ask(lab, "/healthz", name))[0] == 403


async def test_certificate_of_another_ca_is_refused(lab: Lab) -> None:
    context = client_context(lab.folder, trustme.CA(), API_SERVER_CLIENT)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with session.get(f"https://127.0.0.1:{lab.port}/healthz") as answer:
                await answer.read()


async def test_missing_pod_container_or_path_is_refused_with_a_message(lab: Lab) -> None:
    await lab.run("here", shell("true"))
    await lab.phase("here", "Succeeded")
    assert (await ask(lab, "/containerLogs/default/gone/app", API_SERVER_CLIENT))[0] == 404
    status, text = await ask(lab, "/containerLogs/default/here/other", API_SERVER_CLIENT)
    assert (status, text) == (404, 'container "other" not found in pod "here"\n')
    status, text = await ask(lab, "/containerLogs/default/here/app?previous=true", API_SERVER_CLIENT)
    assert (status, text) == (
        400,
        'previous terminated container "app" in pod "here" not found\n',
    )
    assert (await ask(lab, "/other", API_SERVER_CLIENT))[0] == 404
    assert (await ask(lab, "/healthz", API_SERVER_CLIENT, "POST"))[0] == 405


async def test_log_options_limit_the_response(lab: Lab) -> None:
    await lab.run("lines", shell("for i in 1 2 3 4 5; do echo line $i; done; echo err >&2"))
    await lab.phase("lines", "Succeeded")
    path = "/containerLogs/default/lines/app"
    assert await ask(lab, f"{path}?stream=Stdout&limitBytes=8", API_SERVER_CLIENT) == (200, "line 1\nl")
    assert (await ask(lab, f"{path}?stream=Stderr", API_SERVER_CLIENT))[1] == "err\n"
    assert (await ask(lab, f"{path}?tailLines=0", API_SERVER_CLIENT))[1] == ""
    assert len((await ask(lab, f"{path}?tailLines=2", API_SERVER_CLIENT))[1].splitlines()) == 2
    stamped = (await ask(lab, f"{path}?timestamps=true&stream=Stdout", API_SERVER_CLIENT))[1].splitlines()
    assert stamped[0].endswith("Z line 1")
    assert (await ask(lab, f"{path}?sinceTime=2999-01-01T00:00:00Z", API_SERVER_CLIENT))[1] == ""
    assert (await ask(lab, f"{path}?tailLines=x", API_SERVER_CLIENT))[0] == 400


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
    """Fails if it is kept as it is: no date could be written of it."""
    assert parse_log_options({name: [value]}, now=0).since == 0

"""A program in a pod that ignores proxy variables: aiohttp does so by default."""

import pytest

from tests.journey.instance import Instance

pytestmark = pytest.mark.processes

READ = """
import asyncio, os, sys, aiohttp

async def main():
    form = {
        "client_id": os.environ["AZURE_CLIENT_ID"],
        "grant_type": "client_credentials",
        "scope": "https://vault.azure.net/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read(),
    }
    login = f"https://login.microsoftonline.com/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    secret = "https://journey-vault.vault.azure.net/secrets/greeting?api-version=7.4"
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(login, data=form) as answer:
                token = (await answer.json())["access_token"]
        except aiohttp.ClientConnectorError as error:
            sys.exit(f"refused: {error.os_error.strerror} {error.host}")
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(secret, headers=headers) as answer:
            print((await answer.json())["value"])

asyncio.run(main())
"""


SERVE = """
import socket
server = socket.create_server(("0.0.0.0", 443))
client = socket.create_connection(("127.0.0.1", 443), 20)
server.accept()[0].sendall(b"its own server")
print(client.recv(100).decode())
"""


def test_pod_serves_https_on_all_addresses_and_reaches_azure_without_the_proxy(
    instance: Instance,
) -> None:
    """Fails if the socket for Azure's names is in the network of the pod: the address is in use."""
    if instance.status["pod_network"] != "pod-networks":
        pytest.skip("pods share the network of this machine, which may use port 443")
    if instance.status["without_proxy"] != "served":
        pytest.skip("the instance may not listen on port 443")
    phase, printed = instance.run_command("own-443", "web", ["python", "-c", SERVE + READ])
    assert phase == "Succeeded", printed
    assert printed.splitlines() == ["its own server", "hello"]


def test_program_that_ignores_the_proxy_cannot_reach_the_real_azure(instance: Instance) -> None:
    """Fails if the program would reach the real Azure."""
    expected = {"served": ("Succeeded", "hello\n"), "refused": ("Failed", "refused: ")}
    if instance.status["without_proxy"] not in expected:
        pytest.skip("pods need bubblewrap for a hosts file of their own")
    wanted_phase, wanted_text = expected[instance.status["without_proxy"]]
    phase, printed = instance.run_command("no-proxy", "web", ["python", "-c", READ])
    assert phase == wanted_phase, printed
    assert wanted_text in printed

"""Python SDKs, the oldest the documentation allows and the newest, as pods and on the host."""

import itertools
import subprocess

import pytest

from clients.installed import PROGRAMS, python_with
from journey.instance import CLIENT, Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

SETS = {
    "oldest": ("azure-identity==1.13.0", "azure-keyvault-secrets==4.7.0", "aiohttp"),
    "newest": ("azure-identity", "azure-keyvault-secrets", "aiohttp"),
}
STYLES = ("default", "chained", "workload")
MODES = ("sync", "async")
READ = str(PROGRAMS / "read.py")


@pytest.mark.parametrize("age", SETS)
@pytest.mark.parametrize(("style", "mode"), [*itertools.product(STYLES, MODES)])
def test_azure_identity_in_a_pod_reads_the_secret(
    instance: Instance, age: str, style: str, mode: str
) -> None:
    command = [*python_with(*SETS[age]), READ, style, mode]
    name = f"python-{age}-{style}-{mode}"
    phase, printed = instance.run_command(name, "web", command)
    # The SDK's own warnings stand in the log before it.
    assert (phase, printed.splitlines()[-1]) == ("Succeeded", "hello"), printed


@pytest.mark.parametrize("age", SETS)
@pytest.mark.parametrize("mode", MODES)
def test_azure_identity_on_the_host_reads_the_secret(
    instance: Instance, age: str, mode: str
) -> None:
    command = [*python_with(*SETS[age]), READ, "default", mode]
    assert instance.run_on_host("web", command) == "hello\n"


@pytest.mark.parametrize("package", ["msal==1.22.0", "msal"])
@pytest.mark.parametrize("how", ["string", "callback"])
def test_msal_gets_a_token_with_the_assertion(instance: Instance, package: str, how: str) -> None:
    command = [*python_with(package), str(PROGRAMS / "ask.py"), how]
    name = f"msal-{'old' if '=' in package else 'new'}-{how}"
    audience = "https://vault.azure.net\n"
    assert instance.run_command(name, "web", command) == ("Succeeded", audience)
    assert instance.run_on_host("web", command) == audience


@pytest.mark.parametrize("age", SETS)
@pytest.mark.parametrize("mode", MODES)
def test_azure_identity_gets_a_token_from_the_authority_itself(
    instance: Instance, age: str, mode: str
) -> None:
    """Direct mode: no gateway, only AZURE_AUTHORITY_HOST and the CA."""
    token_file = instance.data_dir.parent / "direct-token"
    token_file.write_text(instance.token("web"))
    environment = {
        "AZURE_TENANT_ID": instance.status["tenant_id"],
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        "AZURE_AUTHORITY_HOST": instance.status["authority"],
        "REQUESTS_CA_BUNDLE": instance.status["ca_file"],
        "SSL_CERT_FILE": instance.status["ca_file"],
    }
    done = subprocess.run(
        [*python_with(*SETS[age]), str(PROGRAMS / "direct.py"), mode],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "https://vault.azure.net\n", done.stderr

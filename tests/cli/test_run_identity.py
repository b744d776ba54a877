"""`podpass run --as`: which identity a program on the host has, with the real azure-identity."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.instance.instances import CLIENT, SEED, Podpass

pytestmark = pytest.mark.processes

READ = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
client = SecretClient("https://tools-vault.vault.azure.net", DefaultAzureCredential())
print(client.get_secret("greeting").value)
"""
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
OTHER = {
    "AZURE_CLIENT_ID": "33333333-aaaa-4bbb-8ccc-000000000001",
    "AZURE_TENANT_ID": "33333333-aaaa-4bbb-8ccc-000000000002",
    "AZURE_CLIENT_SECRET": "of another tenant",
    "AZURE_USERNAME": "user@example.com",
}


@pytest.fixture(scope="module")
def host(make_podpass: Callable[[], Podpass]) -> Podpass:
    """An instance with an annotated ServiceAccount `web`, `plain` without annotation, and a wrong one."""
    podpass = make_podpass()
    seed = podpass.data_dir.parent / "seed.yaml"
    seed.write_text(SEED)
    podpass.up("--seed", str(seed))
    for line in (
        "create serviceaccount web",
        f"annotate serviceaccount web azure.workload.identity/client-id={CLIENT}",
        "create namespace team",
        "create serviceaccount plain -n team",
        "create serviceaccount damaged",
        "annotate serviceaccount damaged azure.workload.identity/service-account-token-expiration=12",
    ):
        done = podpass("run", "-q", "--", "kubectl", *line.split())
        assert done.returncode == 0, done.stderr
    return podpass


def environment(host: Podpass, *arguments: str, **env: str) -> tuple[dict[str, str], str]:
    done = host("run", *arguments, "--", sys.executable, "-c", SHOW, env=env)
    assert done.returncode == 0, done.stderr
    values: dict[str, str] = json.loads(done.stdout)
    return values, done.stderr


@pytest.mark.parametrize("name", ["web", "system:serviceaccount:default:web"])
def test_program_reads_a_secret_with_the_identity_of_the_service_account(
    host: Podpass, name: str
) -> None:
    """Also with the credentials of another identity in the environment of the user."""
    done = host("run", "--as", name, "--", sys.executable, "-c", READ, env=OTHER)
    assert done.stdout == "hello\n", done.stderr
    assert f"identity of the command: ServiceAccount default/web, client id {CLIENT}" in done.stderr


def test_program_has_the_variables_of_a_pod(host: Podpass) -> None:
    values, _ = environment(host, "--as", "web", **OTHER)
    azure = {name: values[name] for name in values if name.startswith("AZURE_")}
    folder = Path(azure.pop("AZURE_CONFIG_DIR"))
    token_file = Path(azure.pop("AZURE_FEDERATED_TOKEN_FILE"))
    assert azure == {
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_TENANT_ID": host.status()["tenant_id"],
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    }
    assert folder.is_relative_to(host.data_dir / "run")
    assert token_file.is_relative_to(host.data_dir / "run")


def test_token_file_is_private_and_its_token_is_that_of_a_pod(host: Podpass) -> None:
    show = 'stat -c %a "$AZURE_FEDERATED_TOKEN_FILE"; cat "$AZURE_FEDERATED_TOKEN_FILE"'
    done = host("run", "--as", "web", "--", "sh", "-c", show)
    mode, token = done.stdout.splitlines()
    assert mode == "600"
    claims = json.loads(host("token", "inspect", token, "-o", "json").stdout)["claims"]
    assert claims["sub"] == "system:serviceaccount:default:web"
    assert claims["aud"] == ["api://AzureADTokenExchange"]
    assert token not in done.stderr


def test_service_account_without_annotation_has_no_client_id(host: Podpass) -> None:
    values, said = environment(host, "--as", "plain", "-n", "team", **OTHER)
    assert not values.get("AZURE_CLIENT_ID")
    assert "ServiceAccount team/plain, no annotation azure.workload.identity/client-id" in said
    failing = f"try:\n  exec({READ!r})\nexcept Exception as exc: print(type(exc).__name__)"
    done = host("run", "--as", "plain", "-n", "team", "--", sys.executable, "-c", failing)
    assert done.stdout == "ValueError\n"  # azure-identity requires a client id, as in a pod


@pytest.mark.parametrize("name", ["team/plain", "system:serviceaccount:team:plain"])
def test_name_with_its_namespace_selects_a_service_account(host: Podpass, name: str) -> None:
    _, said = environment(host, "--as", name)
    assert "ServiceAccount team/plain" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--as", "missing"), 1, "kubectl create serviceaccount missing -n default"),
        (("--as", "missing", "-n", "none"), 1, "kubectl create namespace none"),
        (("--as", "web", "-n", "missing"), 1, "another namespace: -n default"),
        (("--as", "plain"), 1, "the ServiceAccount default/plain does not exist"),
        (("--as", "plain"), 1, "another namespace: -n team"),
        (("--as", "damaged"), 1, "kubectl edit serviceaccount damaged -n default"),
        (("--as", ""), 2, "is not a ServiceAccount"),
        (("--as", "system:serviceaccount:web"), 2, "is not a ServiceAccount"),
        (("--as", "team/"), 2, "is not a ServiceAccount"),
        (("--as", "team/web/more"), 2, "is not a ServiceAccount"),
        (("-n", "team"), 2, "--as SERVICEACCOUNT"),
        (("--as", "admin", "-n", "team"), 2, "only for a ServiceAccount"),
    ],
)
def test_identity_that_does_not_exist_is_refused_with_a_hint(
    host: Podpass, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = host("run", *arguments, "--", "echo", "started")
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_program_without_an_identity_does_not_get_the_administrators_sign_in(host: Podpass) -> None:
    """Fails when `DefaultAzureCredential` finds the sign-in of az: a missing identity looks like success."""
    values, said = environment(host)
    folder = Path(values["AZURE_CONFIG_DIR"])
    assert folder != host.data_dir / "azure"
    assert [path.name for path in folder.iterdir()] == ["config"]
    assert "identity of the command: none; pass --as SERVICEACCOUNT" in said


def test_administrator_identity_must_be_requested_and_is_printed(host: Podpass) -> None:
    values, said = environment(host, "--as", "admin", **OTHER)
    assert values["AZURE_CONFIG_DIR"] == str(host.data_dir / "azure")
    assert "AZURE_CLIENT_SECRET" not in values
    assert "identity of the command: admin@podpass.onmicrosoft.com, the sign-in of az" in said


def test_az_started_by_podpass_run_uses_the_sign_in_of_the_instance(
    host: Podpass, tmp_path: Path
) -> None:
    program = tmp_path / "az"
    program.write_text('#!/bin/sh\necho "$AZURE_CONFIG_DIR"\n')
    program.chmod(0o700)
    for words in ([str(program)], [sys.executable, "-m", "azure.cli", "account", "show"]):
        done = host("run", "--", *words)
        assert "admin@podpass.onmicrosoft.com, the sign-in of az" in done.stderr
    assert host("run", "--", str(program)).stdout == f"{host.data_dir / 'azure'}\n"


def test_identity_from_user_variables_is_used_and_printed(host: Podpass) -> None:
    values, said = environment(host, **OTHER)
    assert values["AZURE_CLIENT_SECRET"] == "of another tenant"
    assert f"{OTHER['AZURE_CLIENT_ID']}, with AZURE_CLIENT_SECRET of your environment" in said
    assert "another tenant" not in said
    assert environment(host, "--quiet", **OTHER)[1] == ""


def test_shell_with_another_instance_is_reported(host: Podpass, tmp_path: Path) -> None:
    done = host("run", "--", "true", env={"PODPASS_ENV": str(tmp_path)})
    assert f"this shell uses the instance in {tmp_path}" in done.stderr


def test_folders_of_ended_programs_are_deleted(host: Podpass) -> None:
    folder = Path(environment(host)[0]["AZURE_CONFIG_DIR"]).parent
    assert folder.is_dir()
    environment(host)
    assert not folder.exists()

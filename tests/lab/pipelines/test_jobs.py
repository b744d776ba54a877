"""Commands that run as jobs of pipelines, with the real Azure SDK, on a running instance."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podpass.lab.pipelines.platforms import parse_job
from podpass.pytest.tokens import decode
from tests.guides import DOCS, GuideShell, read_listings
from tests.lab.instance.instances import Podpass

pytestmark = pytest.mark.processes

CLIENT = "22222222-aaaa-4bbb-8ccc-000000000001"
DEVOPS = "azure-devops:contoso/project/connection"
CONNECTED = "22222222-aaaa-4bbb-8ccc-000000000002"
CONNECTION = f"azure-devops:{CLIENT}/{CONNECTED}"
SEED = f"""
identities:
  - name: deploy
    kind: application
    client_id: {CLIENT}
    federated_credentials:
      - name: main
        issuer: https://token.actions.githubusercontent.com
        subject: repo:contoso/app:ref:refs/heads/main
      - name: every-branch
        issuer: https://token.actions.githubusercontent.com
        expression: claims['sub'] matches 'repo:contoso@1/app@2:*' and claims['repository_id'] eq '2'
      - {{name: devops, issuer: "{parse_job(DEVOPS).issuer}", subject: "{parse_job(DEVOPS).subject}"}}
      - {{name: gitlab, issuer: "https://gitlab.com", subject: "project_id:7:ref_type:branch:ref:main"}}
      - name: plans
        issuer: https://app.terraform.io
        expression: claims['sub'] matches 'organization:contoso:*:run_phase:plan'
vaults:
  - name: jobs-vault
    secrets: {{greeting: hello}}
    access: [{{identity: deploy, role: Key Vault Secrets User}}]
"""
# The program asks for its token as each platform documents it.
PROGRAM = """
import json, os, ssl, urllib.request
from azure.identity import AzurePipelinesCredential, ClientAssertionCredential
from azure.keyvault.secrets import SecretClient

env = os.environ
tenant, client = env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"]
assert "AZURE_CLIENT_SECRET" not in env

def ask_github():
    url = env["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api%3A%2F%2FAzureADTokenExchange"
    headers = {"Authorization": "Bearer " + env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}
    tls = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
    request = urllib.request.Request(url, headers=headers)
    return json.load(urllib.request.urlopen(request, context=tls))["value"]

if "SYSTEM_OIDCREQUESTURI" in env:
    credential = AzurePipelinesCredential(
        tenant_id=tenant,
        client_id=client,
        service_connection_id=env["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"],
        system_access_token=env["SYSTEM_ACCESSTOKEN"],
    )
elif "ACTIONS_ID_TOKEN_REQUEST_URL" in env:
    credential = ClientAssertionCredential(tenant, client, ask_github)
else:
    name = "GITLAB_OIDC_TOKEN" if "GITLAB_CI" in env else "TFC_WORKLOAD_IDENTITY_TOKEN"
    credential = ClientAssertionCredential(tenant, client, lambda: env[name])
vault = SecretClient("https://jobs-vault.vault.azure.net/", credential)
try:
    print(vault.get_secret("greeting").value)
except Exception as exc:
    print(str(exc))
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podpass]:
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "seed.yaml").write_text(SEED)
    (folder / "program.py").write_text(PROGRAM)
    podpass = Podpass(folder / "data")
    podpass.up(
        *("--seed", str(folder / "seed.yaml")),
        *("--pipelines", "github,gitlab,terraform,azure-devops"),
    )
    # Entra's own tokens have the tenant in issuer and subject.
    job = parse_job(CONNECTION).of_tenant(podpass.status()["tenant_id"])
    (folder / "entra.yaml").write_text(f"""
identities:
  - name: connected
    client_id: {CONNECTED}
    federated_credentials: [{{name: devops, issuer: "{job.issuer}", subject: "{job.subject}"}}]
vaults: [{{name: jobs-vault, access: [{{identity: connected, role: Key Vault Secrets User}}]}}]
""")
    applied = podpass("apply", "-f", str(folder / "entra.yaml"))
    assert applied.returncode == 0, applied.stderr
    yield podpass
    podpass("down")


def read_secret(running: Podpass, job: str, client: str = CLIENT) -> str:
    program: Path = running.data_dir.parent / "program.py"
    own = {
        "AZURE_TENANT_ID": running.status()["tenant_id"],
        "AZURE_CLIENT_ID": client,
        "AZURE_CLIENT_SECRET": "of the user",
    }
    return running("run", "--as", job, "--", sys.executable, str(program), env=own).stdout.strip()


@pytest.mark.parametrize(
    "job",
    [
        "github:contoso/app:ref:refs/heads/main",
        "github:contoso@1/app@2:environment:prod",
        DEVOPS,
        "gitlab:7:ref_type:branch:ref:main",
        "terraform:contoso/net/prod:run_phase:plan",
    ],
)
def test_job_reads_the_secret_by_the_credential_of_its_platform(running: Podpass, job: str) -> None:
    assert read_secret(running, job) == "hello"


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ("github:contoso/app:ref:refs/heads/other", "AADSTS7002131"),
        ("github:contoso@1/app@3:environment:prod", "AADSTS7002131"),
        ("gitlab:8:ref_type:branch:ref:main", "AADSTS700213"),
        ("terraform:contoso/net/prod:run_phase:apply", "AADSTS7002131"),
        ("azure-devops:other/project/connection", "AADSTS700211"),
    ],
)
def test_other_job_of_the_platform_is_refused(running: Podpass, job: str, code: str) -> None:
    assert f"{code}:" in read_secret(running, job)


def test_connection_with_entra_as_issuer_reads_the_secret_as_a_managed_identity(
    running: Podpass,
) -> None:
    assert read_secret(running, CONNECTION, CONNECTED) == "hello"
    other = f"azure-devops:{CLIENT}/{CLIENT}"
    assert "AADSTS700213:" in read_secret(running, other, CONNECTED)


def test_unknown_job_is_refused_with_an_example(running: Podpass) -> None:
    refused = running("run", "--as", "github:app", "--", "true")
    assert refused.returncode == 2
    assert "github:contoso/app:ref:refs/heads/main" in refused.stderr


def test_shorter_lifetime_is_for_jobs_and_reaches_the_token(running: Podpass) -> None:
    job = "gitlab:7:ref_type:branch:ref:main"
    words = ("run", "--as", job, "--token-seconds", "30", "--", "printenv", "GITLAB_OIDC_TOKEN")
    claims = decode(running(*words).stdout.strip())
    assert claims["exp"] - claims["iat"] == 30
    refused = running("run", "--as", job, "--token-seconds", "301", "--", "true")
    assert (refused.returncode, "1 to 300" in refused.stderr) == (2, True)
    refused = running("run", "--token-seconds", "30", "--", "true")
    assert (refused.returncode, "only for a job" in refused.stderr) == (2, True)


def test_job_has_no_sign_in_of_az(running: Podpass) -> None:
    shown = running("run", "--as", DEVOPS, "--", "env").stdout
    variables = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert variables["TF_BUILD"] == "True"
    profile = Path(variables["AZURE_CONFIG_DIR"]) / "azureProfile.json"
    assert not profile.exists() or json.loads(profile.read_text())["subscriptions"] == []


def test_commands_of_the_guide_sign_in_as_both_jobs(tmp_path: Path) -> None:
    guide = DOCS / "develop/pipelines.md"
    for name, language in (("seed.yaml", "yaml"), ("deploy.py", "python")):
        (tmp_path / name).write_text(read_listings(guide, language)[0])
    podpass = Podpass(tmp_path / "data")
    shell = GuideShell(podpass.environ, tmp_path)
    commands = read_listings(guide, "sh")[0]
    try:
        done = shell(commands.replace("podpass up", "podpass up --port-base 0"))
    finally:
        podpass("down")
    assert done.splitlines().count("signed in") == 2

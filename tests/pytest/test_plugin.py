"""Test sessions of another project: workers, a shared instance, sessions that end in any way."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from podpass.lab.data.lock import lock_holder
from tests.run_program import run_text

pytestmark = pytest.mark.processes

TESTS = """
import json, os, pathlib, time
import pytest

@pytest.fixture(autouse=True)
def note(podpass, request):
    file = pathlib.Path(os.environ["NOTES"]) / f"{request.node.name}.json"
    file.write_text(json.dumps({"data_dir": str(podpass.data_dir), "pid": os.getpid()}))

@pytest.mark.parametrize("number", range(6))
def test_names_are_free(podpass, podpass_namespace, number):
    if not podpass.is_shared:
        podpass.create_identity("web", accounts=["default/web"])
        with pytest.raises(LookupError):
            podpass.identity("other")
    podpass.kubernetes.create_account(f"{podpass_namespace}/web")
"""
UNUSED = """
import sys

def test_nothing_of_podpass_is_imported():
    loaded = sorted(name for name in sys.modules if name.startswith("podpass"))
    assert loaded == ["podpass", "podpass.pytest", "podpass.pytest.plugin"]
"""
CREATED_ON_IMPORT = """
import aiohttp, httpx2, pytest
from azure.identity import DefaultAzureCredential, aio
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsynchronousSecretClient

URL = "https://demo-vault.vault.azure.net"
client = SecretClient(URL, DefaultAzureCredential(), retry_total=0)
asynchronous_client = AsynchronousSecretClient(URL, aio.DefaultAzureCredential(), retry_total=0)
http, asynchronous_http = httpx2.Client(), httpx2.AsyncClient()

@pytest.fixture(scope="session")
def podpass_seed():
    trust = {"name": "web", "issuer": "cluster", "subject": "system:serviceaccount:shop:web"}
    access = {"identity": "web", "role": "Key Vault Secrets User"}
    vault = {"name": "demo-vault", "secrets": {"greeting": "hello"}, "access": [access]}
    return {"identities": [{"name": "web", "federated_credentials": [trust]}], "vaults": [vault]}

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("greeting", ["hello", "good evening", "hello"])
async def test_clients(podpass, greeting):
    if greeting != "hello":  # the next test has the first secret again
        podpass.create_vault("demo-vault", {"greeting": greeting})
    assert client.get_secret("greeting").value == greeting
    assert (await asynchronous_client.get_secret("greeting")).value == greeting
    assert http.get(f"{URL}/secrets").status_code == 401
    assert (await asynchronous_http.get(f"{URL}/secrets")).status_code == 401

def test_another_identity(podpass, podpass_env):
    podpass_env.sign_in(podpass.create_identity("other", accounts=["default/other"]))
    with pytest.raises(Exception, match="ForbiddenByRbac"):
        SecretClient(URL, DefaultAzureCredential(), retry_total=0).get_secret("greeting")
    assert client.get_secret("greeting").value == "hello"
"""
NOT_SIGNED_IN = """
import pytest
from azure.identity import DefaultAzureCredential

def request_token():
    return DefaultAzureCredential().get_token("https://vault.azure.net/.default")

@pytest.fixture
def application(podpass_env):
    return request_token

def test_without_identity(application):
    application()

@pytest.fixture
def token(podpass_env):
    return request_token()

def test_fixture_without_identity(token):
    pass

def test_other_failure(podpass, podpass_env):
    podpass_env.sign_in(podpass.create_identity("web", accounts=["default/web"]))
    assert not request_token()

def test_own_variables(podpass_env, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_ID", "web")
    assert not "variables of the test"

def test_without_environment(podpass):
    assert not podpass

def test_success(podpass_env):
    pass

@pytest.fixture
def cleanup(podpass_env):
    yield
    assert not "the teardown"

def test_failed_teardown(cleanup):
    pass
"""
JOBS = """
import pytest, requests
from podpass.pytest.tokens import ExchangeRefused

SUBJECT = "repo:contoso/app:pull_request"

@pytest.fixture(scope="session")
def podpass_seed():
    trust = {"name": "pull", "issuer": "https://token.actions.githubusercontent.com", "subject": SUBJECT}
    identity = {"name": "deploy", "federated_credentials": [trust]}
    return {"pipelines": ["github"], "identities": [identity]}

def start_job(podpass):
    path = "/pipelines/jobs?job=github:contoso/app:pull_request"
    job = podpass._control.request("POST", path, {})
    return job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]

def request_token(podpass, job):
    url, bearer = job
    return requests.get(
        url + "&audience=api://AzureADTokenExchange",
        headers={"Authorization": "Bearer " + bearer},
        verify=str(podpass.ca_file),
        timeout=30,
    )

def sign_in(podpass, assertion):
    return podpass.tokens.access_token(podpass.identity("deploy"), assertion=assertion)

def test_reset(podpass):
    job = start_job(podpass)
    assertion = request_token(podpass, job).json()["value"]
    assert sign_in(podpass, assertion)
    podpass.reset()
    assert request_token(podpass, job).status_code == 401
    with pytest.raises(ExchangeRefused, match="AADSTS7000272"):
        sign_in(podpass, assertion)
    assert sign_in(podpass, request_token(podpass, start_job(podpass)).json()["value"])
"""
WAITING = """
import os, pathlib, signal

def test_waits(podpass):
    (pathlib.Path(os.environ["NOTES"]) / "waiting.json").write_text(str(podpass.data_dir))
    signal.pause()
"""


def command(*arguments: str) -> list[str]:
    # The name is that of the entry point, which an older installation does not have.
    chosen = ["-p", "podpass.pytest.plugin", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-q", *chosen, *arguments]


def run_tests(
    folder: Path, text: str, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    (folder / "test_project.py").write_text(text)
    return run_text(
        command(f"--basetemp={folder / 'base'}", *arguments),
        cwd=folder,
        env={**os.environ, "NOTES": str(folder), "PYTEST_ADDOPTS": "", **(environ or {})},
        timeout=110,
    )


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(each.read_text()) for each in sorted(folder.glob("test_*.json"))]


def is_running(data_dir: str) -> bool:
    return lock_holder(Path(data_dir) / "lock") is not None


def wait_for_stop(data_dir: str) -> None:
    """Wait until no process holds the lock of an instance."""
    deadline = time.monotonic() + 60
    while is_running(data_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(data_dir)


def test_session_without_its_fixtures_imports_and_starts_nothing(tmp_path: Path) -> None:
    done = run_tests(tmp_path, UNUSED)
    assert done.returncode == 0, done.stdout
    assert not list((tmp_path / "base").glob("podpass*"))


def test_each_worker_has_an_instance_of_its_own(tmp_path: Path) -> None:
    done = run_tests(tmp_path, TESTS, "-n", "2")
    assert done.returncode == 0, done.stdout
    pairs = {(each["pid"], each["data_dir"]) for each in notes(tmp_path)}
    assert len(pairs) == 2
    assert len({data_dir for _, data_dir in pairs}) == 2
    assert not any(is_running(data_dir) for _, data_dir in pairs)


def test_workers_share_an_instance_that_stops_after_the_last_one(tmp_path: Path) -> None:
    done = run_tests(tmp_path, TESTS, "-n", "2", "--podpass-shared")
    assert done.returncode == 0, done.stdout
    found = notes(tmp_path)
    assert len({each["pid"] for each in found}) == 2
    (data_dir,) = {each["data_dir"] for each in found}
    wait_for_stop(data_dir)


def test_reset_ends_the_jobs_of_pipelines_and_a_new_job_signs_in_at_once(tmp_path: Path) -> None:
    done = run_tests(tmp_path, JOBS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["session", "worker"])
def test_clients_that_are_created_on_import_use_the_instance(
    tmp_path: Path, workers: list[str]
) -> None:
    option = ["-o", "podpass_sign_in=shop/web"]
    temporary = {"TMPDIR": str(tmp_path)}
    done = run_tests(tmp_path, CREATED_ON_IMPORT, *option, *workers, environ=temporary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert not list(tmp_path.glob("podpass-*")), "the instance is stopped and its folder is deleted"


def test_failed_test_without_identity_gets_the_line_that_signs_one_in(tmp_path: Path) -> None:
    """Fails if a test that forgets `sign_in` shows only the list of credentials of azure-identity."""
    done = run_tests(tmp_path, NOT_SIGNED_IN, "-rP")  # reports of passed tests, too
    assert "4 failed, 2 passed, 2 errors" in done.stdout, done.stdout
    header = re.compile(r"^_+ (?:ERROR at \w+ of )?(test_\w+) _+$", re.MULTILINE)
    _, *parts = header.split(done.stdout.partition("= short test summary")[0])
    line = 'podpass_env.sign_in(podpass.create_identity("web", accounts=["default/web"]))\nor'
    found = {name for name, text in zip(parts[::2], parts[1::2], strict=True) if line in text}
    assert found == {"test_without_identity", "test_fixture_without_identity"}


def test_shared_instance_is_refused_with_clients_that_are_created_on_import(tmp_path: Path) -> None:
    done = run_tests(tmp_path, UNUSED, "-o", "podpass_sign_in=default/web", "--podpass-shared")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "podpass_sign_in needs an instance in each test process" in done.stderr


def test_instance_stops_after_its_test_process_was_killed(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(WAITING)
    session = subprocess.Popen(
        command(f"--basetemp={tmp_path / 'base'}"),
        cwd=tmp_path,
        env={**os.environ, "NOTES": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    descriptor = os.pidfd_open(session.pid)
    deadline = time.monotonic() + 60
    note = tmp_path / "waiting.json"
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        ended, _, _ = select.select([descriptor], [], [], 0.05)
        assert not ended
    os.close(descriptor)
    assert is_running(note.read_text())
    session.send_signal(signal.SIGKILL)
    session.wait()
    wait_for_stop(note.read_text())

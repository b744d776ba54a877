"""`podpass cloud env`, `run`, `demo` and `status POD` on the node: real az, the real SDK, replaced pods.

The programs run on the host's side of the node's network, as on the laptop of a developer. They reach the
cluster by its API server alone.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podpass.errors import Error
from podpass.lab.cluster.samples.prepare import RegistryUnreachable
from podpass.lab.tutorial import azure_cli
from tests.browser import programs
from tests.node.cloud_installation import WEB_SEED, Installation, cloud
from tests.node.objects import container, deployment, pod
from tests.run_program import Done, run_text

__all__ = ["cloud"]

# The program contains nothing of podpass, and reads the secret once for each line of its input.
_READ = """
import sys
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
for _ in sys.stdin:
    vault = SecretClient("https://demo-vault.vault.azure.net/", DefaultAzureCredential())
    print(vault.get_secret("greeting").value, flush=True)
"""
_FEDERATED_LOGIN = """
set -e
export AZURE_CONFIG_DIR="$(mktemp -d)"
az() { "$AZ" -m azure.cli "$@"; }
az login --service-principal --allow-no-subscriptions -o none -u "$AZURE_CLIENT_ID" \
    -t "$AZURE_TENANT_ID" --federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")"
az keyvault secret show --vault-name demo-vault -n greeting --query value -o tsv
"""
_DRIVER = Path(__file__).with_name("browser_driver.py")
_READY = ("-n", "podpass-cloud", "deployment/podpass-cloud")


class Host:
    """A developer with a state folder of their own."""

    def __init__(self, installed: Installation) -> None:
        self.installed, self.node = installed, installed.node
        self.home = self.node.sandbox.folder / "developer"
        self.home.mkdir(exist_ok=True)

    def command(self, *words: str) -> list[str]:
        """Return the command line of `podpass cloud` on the host's side."""
        variables = {
            "HOME": str(self.home),
            "KUBECONFIG": str(self.node.pki.kubeconfig("admin")),
            "XDG_STATE_HOME": str(self.home / "state"),
        }
        given = [f"{name}={value}" for name, value in variables.items()]
        podpass = [sys.executable, "-m", "podpass.cli", "cloud", *words]
        return self.node.sandbox.enter(["env", *given, *podpass])

    def cloud(self, *words: str, check: bool = True) -> Done:
        done = run_text(self.command(*words), timeout=280)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def replace_pod(self) -> None:
        """Replace the cloud's pod; the next one knows nothing of what `cloud apply` wrote."""
        self.node.kubectl("delete", "pod", "-n", "podpass-cloud", "--all", "--wait=true")
        self.node.wait_for("rollout", "status", *_READY)
        self.installed.podpass("apply", "-f", "-", given=WEB_SEED)


@pytest.fixture(scope="module")
def host(cloud: Installation) -> Iterator[Host]:
    found = Host(cloud)
    yield found
    found.cloud("env", "--stop")


@pytest.fixture(scope="module")
def az() -> str:
    """Return the Python that has the newest released az."""
    try:
        return str(azure_cli.install(azure_cli.NEWEST, os.environ, datetime.now(UTC), print))
    except RegistryUnreachable as exc:
        pytest.skip(f"az is not installed: {exc}")
    except Error as exc:
        pytest.fail(f"az cannot be installed: {exc}")


def test_sdk_of_the_host_reads_a_secret_as_a_service_account_while_the_pod_is_replaced(
    host: Host,
) -> None:
    words = ("run", "--as", "web.shop", "--", sys.executable, "-c", _READ)
    process = subprocess.Popen(
        host.command(*words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "hello from the vault\n"
        host.replace_pod()
        output, messages = process.communicate("\n", timeout=120)
    assert (process.returncode, output) == (0, "hello from the vault\n"), messages


def test_connection_waits_for_the_pod_that_is_being_replaced(host: Host) -> None:
    values = json.loads(host.cloud("env", "-o", "json").stdout)
    curl = ["curl", "-sS", "--max-time", "120", "-w", "%{http_code}", "-o", "/dev/null"]
    curl += ["-x", values["HTTPS_PROXY"], "--cacert", values["CURL_CA_BUNDLE"]]
    url = "https://demo-vault.vault.azure.net/secrets/greeting?api-version=7.4"
    assert host.node.sandbox.run(*curl, url).stdout == "401"
    host.node.kubectl("delete", "pod", "-n", "podpass-cloud", "--all", "--wait=false")
    assert host.node.sandbox.run(*curl, url).stdout == "401"
    host.node.wait_for("rollout", "status", *_READY)
    host.installed.podpass("apply", "-f", "-", given=WEB_SEED)
    assert "has stopped" in host.cloud("env", "--stop").stderr


def test_az_manages_the_cloud_as_its_administrator(host: Host, az: str) -> None:
    words = ("run", "--", az, "-m", "azure.cli")
    listed = host.cloud(*words, "keyvault", "list", "--query", "[].name", "-o", "tsv").stdout
    assert listed.split() == ["demo-vault"]
    host.cloud("reset")
    host.installed.podpass("apply", "-f", "-", given=WEB_SEED)
    # A reset makes earlier tokens invalid; the next command signs in again.
    again = host.cloud(*words, "identity", "list", "--query", "[].name", "-o", "tsv")
    assert again.stdout.split() == ["web"]


def test_az_signs_in_with_the_token_of_a_service_account(host: Host, az: str) -> None:
    words = ("run", "--as", "shop/web", "--", "env", f"AZ={az}", "bash", "-c", _FEDERATED_LOGIN)
    assert host.cloud(*words).stdout == "hello from the vault\n"
    other = ("run", "--as", "shop/other", *words[3:])
    refused = host.cloud(*other, check=False)
    assert refused.returncode != 0
    assert "AADSTS700213" in refused.stderr


_BROWSER_LOGIN = """
set -e
export AZURE_CONFIG_DIR="$HOME/azure-of-a-browser"
"$AZ" -m azure.cli login -o json
"""


def test_az_signs_in_with_a_browser_of_the_host(host: Host, az: str) -> None:
    """The page under Azure's own name has a form; its response leads back to az on localhost."""
    if problem := programs.missing() or programs.missing_certutil():
        pytest.skip(problem)
    chromium = host.home / "chromium"
    # The sandbox of Chromium needs a user namespace that root in a container often cannot create.
    options = "--headless --no-sandbox --remote-debugging-port=0"
    chromium.write_text(f'#!/bin/sh\nexec {programs.PROGRAM} {options} "$@"\n')
    chromium.chmod(0o755)
    browser = f"{sys.executable} -m podpass.cli cloud browser --program {chromium} %s"
    given = [f"AZ={az}", f"BROWSER={browser}", "DISPLAY=:9"]
    words = ("run", "-q", "--", "env", *given, "bash", "-c", _BROWSER_LOGIN)
    name, password = (
        host.node.kubectl("exec", *_READY, "--", "podpass", "get", each).strip()
        for each in ("admin", "password")
    )
    values = json.loads(host.cloud("env", "-o", "json").stdout)
    profile = Path(values["PODPASS_ENV"], "browser", "profile")
    with subprocess.Popen(
        host.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        driven = host.node.sandbox.run(
            sys.executable, _DRIVER, profile, name, given=f"{password}\n"
        )
        output, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    [subscription] = json.loads(output)
    assert subscription["user"] == {"name": name, "type": "user"}
    page = json.loads(driven.stdout)
    assert page["origin"] == "https://login.microsoftonline.com"
    assert "logged into Microsoft Azure" in page["text"]
    # The browser of the user is another one: nothing was written into the home folder.
    assert not (host.home / ".pki").exists()


def _objects_of_demos(host: Host) -> str:
    namespaces = host.node.kubectl("get", "namespaces", "-o", "name")
    found = host.node.kubectl("exec", *_READY, "--", "podpass", "vault", "list")
    found += host.node.kubectl("exec", *_READY, "--", "podpass", "identity", "list")
    return "".join(
        f"{line}\n" for line in (namespaces + found).splitlines() if "podpass-demo" in line
    )


def test_demo_shows_each_step_and_removes_everything(host: Host) -> None:
    output = host.cloud("demo").stdout
    for text in (
        "AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE, AZURE_AUTHORITY_HOST",
        "audience api://AzureADTokenExchange",
        f"login.microsoftonline.com is {host.installed.status()['address']}",
        "the secret is: hello from the vault",
        "token for https://vault.azure.net",
        "get secret greeting in vault podpass-demo-",
        "removed    namespace, identity and vault podpass-demo-",
    ):
        assert text in output
    # A line with a URL may be longer, because a URL cannot be wrapped.
    assert max(len(each) for each in output.splitlines() if "https://" not in each) <= 100
    assert _objects_of_demos(host) == ""


def test_interrupted_demo_removes_everything(host: Host) -> None:
    # The image never starts, so the demo waits until it is interrupted.
    image = "docker.io/library/absent:1"
    with subprocess.Popen(
        host.command("demo", "--image", image), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("pod ") for line in lines)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]) if children else process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "removed    namespace, identity and vault" in rest
    assert _objects_of_demos(host) == ""


def test_status_of_a_healthy_pod_passes_every_check(host: Host) -> None:
    host.node.apply(pod("complete", "shop", container(["sleep", "600"])))
    done = host.cloud("status", "complete", "-n", "shop", "-o", "json")
    found = json.loads(done.stdout)
    assert found["ok"] is True
    states = {each["name"]: each["state"] for each in found["checks"]}
    passed = ("namespace", "label", "variables", "token", "trust", "CA", "names")
    assert states == {**dict.fromkeys(passed, "ok"), "clients": "limit"}


def test_status_of_a_pod_names_the_first_wrong_thing_and_its_fix(host: Host) -> None:
    plain = pod("plain", "shop", container(["sleep", "600"]))
    del plain["metadata"]["labels"]
    host.node.apply(plain)
    done = host.cloud("status", "plain", "-n", "shop", check=False)
    assert done.returncode == 1
    assert "podpass: pod shop/plain: azure.workload.identity/use is missing" in done.stderr
    assert 'add azure.workload.identity/use: "true" to the pod template' in done.stderr


def test_pod_created_before_its_namespace_was_selected_has_no_trust(host: Host) -> None:
    about = {"name": "early", "labels": {"app": "early"}}
    host.node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    account = {"name": "web", "namespace": "early"}
    host.node.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    on_host = pod("on-host", "early", container(["sleep", "600"]), hostNetwork=True)
    host.node.apply(on_host)
    first = host.cloud("status", "on-host", "-n", "early", "-o", "json", check=False)
    assert json.loads(first.stdout)["first_wrong"]["name"] == "namespace"
    host.node.kubectl("label", "namespace", "early", "podpass.dev/cloud=enabled")
    second = host.cloud("status", "on-host", "-n", "early", "-o", "json", check=False)
    wrong = {each["name"] for each in json.loads(second.stdout)["checks"] if each["fix"]}
    assert wrong >= {"trust", "names"}
    host.node.kubectl("delete", "namespace", "early", "--wait=false")


def test_status_of_a_deployment_reports_a_missing_pod(host: Host) -> None:
    host.node.apply(deployment("empty", "shop"))
    done = host.cloud("status", "empty", "-n", "shop", check=False)
    assert done.returncode == 1
    assert "pod shop/empty does not exist" in done.stderr

"""`podpass cloud env` and `run`: programs of the host use a cloud in a pod, through the API server.

The cluster is that of an instance, whose kubelet runs the pod. `tests/node/test_cloud_host.py` has a node.
"""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from podpass.lab.data.process import has_exited
from podpass.pytest.tokens import decode
from tests.lab.instance.instances import CLIENT, SEED, Podpass

pytestmark = pytest.mark.processes

_NAMESPACE = "podpass-cloud"
_VAULT = "https://tools-vault.vault.azure.net/secrets/greeting?api-version=7.4"
# It asks once for each line of its input, on a new connection.
_ASK = """
import sys, urllib.error, urllib.request
for line in sys.stdin:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=60)
    except urllib.error.HTTPError as exc:
        print(exc.code, flush=True)
"""
# It requests the token of its job as GitHub documents it, and exchanges it.
_JOB = """
import json, os, sys, urllib.parse, urllib.request
url = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api%3A%2F%2FAzureADTokenExchange"
bearer = {"Authorization": "Bearer " + os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}
token = json.load(urllib.request.urlopen(urllib.request.Request(url, headers=bearer)))["value"]
form = {
    "grant_type": "client_credentials",
    "client_id": sys.argv[1],
    "scope": "https://vault.azure.net/.default",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": token,
}
login = "https://login.microsoftonline.com/podpass.onmicrosoft.com/oauth2/v2.0/token"
with urllib.request.urlopen(login, urllib.parse.urlencode(form).encode()) as answer:
    print(json.load(answer)["token_type"], token)
"""
_PIPELINE_SEED = f"""
pipelines: [github]
identities:
  - name: deploy
    client_id: {CLIENT[:-1]}9
    federated_credentials:
      - name: main
        issuer: https://token.actions.githubusercontent.com
        subject: repo:contoso/app:ref:refs/heads/main
"""
_SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@dataclass
class CloudHost:
    """A user of the cluster, with a state folder of their own, and the cloud's pod."""

    podpass: Podpass
    folder: Path
    pods: int = field(default=0)

    @property
    def environ(self) -> dict[str, str]:
        kubeconfig = str(self.podpass.data_dir / "kubeconfig")
        return {"KUBECONFIG": kubeconfig, "XDG_STATE_HOME": str(self.folder / "state")}

    def cloud(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.podpass("cloud", *arguments, env={**self.environ, **env})

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a program with `podpass cloud run`."""
        return subprocess.Popen(
            self.podpass.command("cloud", "run", *words),
            env={**self.podpass.environ, **self.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kubectl(self, *arguments: str, given: str = "") -> str:
        done = self.podpass("run", "-q", "--", "kubectl", *arguments, input=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply_seed(self) -> None:
        """Create the vault, and an identity."""
        seed = self.folder / "seed.yaml"
        seed.write_text(SEED.replace("cluster,", "'https://issuer.example',"))
        done = self.cloud("apply", "-f", str(seed))
        assert done.returncode == 0, done.stderr

    def replace_pod(self, azurite: str = "") -> None:
        """End the cloud's pod, if there is one, and start the next with the same data.

        With the address of an Azurite, it serves storage accounts.
        """
        if self.pods:
            self.kubectl("delete", "pod", f"cloud-{self.pods}", "-n", _NAMESPACE)
        self.pods += 1
        data = str(self.folder / "cloud")
        command = ["podpass", "cloud", "serve", "--data-dir", data, "--health-listen=127.0.0.1:0"]
        address = {"fieldRef": {"fieldPath": "status.podIP"}}
        container = {
            "name": "cloud",
            "image": "podpass:test",
            "command": [*command, "--listen", "$(POD_IP):8443"],
            "env": [
                {"name": "PODPASS_DATA_DIR", "value": data},
                {"name": "PODPASS_AZURITE", "value": azurite},
                {"name": "POD_IP", "valueFrom": address},
            ],
            "readinessProbe": {
                "exec": {"command": ["podpass", "cloud", "control", "info"]},
                "periodSeconds": 1,
                "timeoutSeconds": 30,
            },
        }
        name = f"cloud-{self.pods}"
        labels = {"app.kubernetes.io/name": "podpass-cloud"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": _NAMESPACE, "labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        }
        self.kubectl("apply", "-f", "-", given=json.dumps(pod))
        wanted = ("--for=condition=Ready", "--timeout=80s")
        self.kubectl("wait", *wanted, f"pod/{name}", "-n", _NAMESPACE)


@pytest.fixture(scope="module")
def host(make_podpass: Callable[[], Podpass]) -> Iterator[CloudHost]:
    """Start an instance, and the cloud in a pod of it, with an identity that trusts `default/web`."""
    podpass = make_podpass()
    podpass.up()
    # A pod may have a /tmp of its own.
    folder = Path(tempfile.mkdtemp(prefix="podpass-cloud-host-", dir="/var/tmp"))
    found = CloudHost(podpass, folder)
    try:
        found.kubectl("create", "namespace", _NAMESPACE)
        found.replace_pod()
        found.apply_seed()
        found.kubectl("create", "serviceaccount", "web")
        client_id = f"azure.workload.identity/client-id={CLIENT}"
        found.kubectl("annotate", "serviceaccount", "web", client_id)
        yield found
    finally:
        found.cloud("env", "--stop")
        podpass("down")
        shutil.rmtree(folder)


def fetch(values: Mapping[str, str], url: str, data: bytes | None = None) -> tuple[int, Any]:
    """Send a request, or a form, with exported variables; return its status and its JSON."""
    proxies = {"https": values["HTTPS_PROXY"]}
    context = ssl.create_default_context(cafile=values["SSL_CERT_FILE"])
    handlers = (urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, data, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def exported(host: CloudHost) -> dict[str, str]:
    done = host.cloud("env", "-o", "json")
    assert done.returncode == 0, done.stderr
    values: dict[str, str] = json.loads(done.stdout)
    return values


def test_exported_environment_reaches_the_cloud_also_after_its_pod_is_replaced(
    host: CloudHost,
) -> None:
    values = exported(host)
    assert fetch(values, _VAULT)[0] == 401
    assert "KUBECONFIG" not in values
    assert exported(host) == values
    host.replace_pod()
    assert fetch(values, _VAULT)[0] == 401


def test_background_process_is_one_and_ends_with_stop(host: CloudHost) -> None:
    first, second = host.cloud("env").stderr, host.cloud("env").stderr
    assert first == second
    pid = int(first.split()[1])
    assert not has_exited(pid)
    assert "has stopped" in host.cloud("env", "--stop").stderr
    assert has_exited(pid)
    again = host.cloud("env", "--stop")
    assert (again.returncode, again.stdout) == (0, "")
    assert "does not run" in again.stderr


def test_stopped_background_process_comes_back_on_its_port(host: CloudHost) -> None:
    before = exported(host)
    host.cloud("env", "--stop")
    assert exported(host) == before


def test_background_process_that_hangs_is_reported_and_a_killed_one_is_replaced(
    host: CloudHost,
) -> None:
    before = exported(host)
    pid = int(host.cloud("env").stderr.split()[1])
    os.kill(pid, signal.SIGSTOP)
    done = host.cloud("env")
    assert done.returncode == 1
    assert f"process {pid}, which forwards, does not respond on port" in done.stderr
    assert f"kill -KILL {pid}" in done.stderr
    os.kill(pid, signal.SIGKILL)
    while not has_exited(pid):
        time.sleep(0.01)
    assert exported(host) == before
    assert fetch(before, _VAULT)[0] == 401


def test_background_process_ends_when_the_context_is_removed(host: CloudHost) -> None:
    """`kind delete cluster` removes the context. With a new context of that name, the port is the same."""
    path = host.folder / "kind.kubeconfig"
    config = host.kubectl("config", "view", "--raw", "--flatten", "-o", "json")
    path.write_text(config)
    environ = {"KUBECONFIG": str(path), "XDG_STATE_HOME": str(host.folder / "state-of-kind")}
    before = host.cloud("env", "-o", "json", **environ)
    assert before.returncode == 0, before.stderr
    pid = int(before.stderr.split()[1])
    path.write_text("{}")
    while not has_exited(pid):
        time.sleep(0.01)
    path.write_text(config)
    after = host.cloud("env", "-o", "json", **environ)
    assert after.stdout == before.stdout
    assert "has stopped" in host.cloud("env", "--stop", **environ).stderr


@pytest.mark.skipif(
    shutil.which("certutil") is None,
    reason="certutil is not on this machine: apt-get install libnss3-tools",
)
def test_browser_uses_the_background_process_and_a_profile_of_its_own(host: CloudHost) -> None:
    values, shown = exported(host), host.folder / "shown"
    program = host.folder / "browser"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$HOME" "$@" > {shown}\n')
    program.chmod(0o755)
    url = "https://login.microsoftonline.com/"
    done = host.cloud("browser", "--program", str(program), url)
    assert done.returncode == 0, done.stderr
    home, *arguments = shown.read_text().splitlines()
    assert Path(home).parent == Path(values["PODPASS_ENV"])
    assert f"--proxy-server={values['HTTPS_PROXY']}" in arguments
    assert arguments[-1] == url


def test_failed_environment_makes_eval_fail(host: CloudHost) -> None:
    done = host.cloud("env", "--namespace", "empty")
    assert done.returncode == 1
    assert "namespace empty has no cloud that is ready" in done.stderr
    assert done.stdout.splitlines()[-1] == "false"
    assert "KUBECONFIG" not in done.stdout
    # az of this shell must not reach the subscription of the user.
    assert f"AZURE_CONFIG_DIR={host.folder / 'state' / 'podpass-cloud' / 'none'}" in done.stdout
    ended = subprocess.run(["sh", "-c", 'eval "$0"', done.stdout], check=False)
    assert ended.returncode == 1


def test_az_is_signed_in_as_the_administrator(host: CloudHost) -> None:
    folder = Path(exported(host)["AZURE_CONFIG_DIR"])
    [subscription] = json.loads((folder / "azureProfile.json").read_text())["subscriptions"]
    assert subscription["user"]["name"] == "admin@podpass.onmicrosoft.com"
    [token] = json.loads((folder / "msal_token_cache.json").read_text())["RefreshToken"].values()
    assert folder.stat().st_mode & 0o077 == 0
    assert token["secret"] not in host.cloud("env").stderr


def test_az_is_signed_in_again_after_a_reset(host: CloudHost) -> None:
    """A reset hashes the password of the administrator again, which makes earlier tokens invalid."""
    assert host.cloud("reset").returncode == 0
    values = exported(host)
    host.apply_seed()
    folder = Path(values["AZURE_CONFIG_DIR"])
    [token] = json.loads((folder / "msal_token_cache.json").read_text())["RefreshToken"].values()
    form = {
        "grant_type": "refresh_token",
        "client_id": token["client_id"],
        "refresh_token": token["secret"],
        "scope": "https://management.azure.com/.default",
    }
    url = "https://login.microsoftonline.com/organizations/oauth2/v2.0/token"
    status, answer = fetch(values, url, urllib.parse.urlencode(form).encode())
    assert status == 200, answer


def test_service_accounts_of_the_cluster_are_completed(host: CloudHost) -> None:
    words = {"COMP_WORDS": "podpass cloud run --as default/w", "COMP_CWORD": "4"}
    done = host.podpass(env={**host.environ, **words, "_PODPASS_COMPLETE": "bash_complete"})
    assert done.stdout.split(",")[1:] == ["default/web\n"]


def test_program_reaches_the_cloud_also_after_its_pod_is_replaced(host: CloudHost) -> None:
    process = host.start("--as", "web", "--", sys.executable, "-c", _ASK, _VAULT)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "401\n"
        host.replace_pod()
        output, messages = process.communicate("\n", timeout=90)
    assert (process.returncode, output) == (0, "401\n"), messages
    assert f"ServiceAccount default/web, client id {CLIENT}" in messages


@pytest.mark.parametrize("name", ["web", "web.default", "default/web"])
def test_program_has_the_variables_of_pods(host: CloudHost, name: str) -> None:
    own = {"AZURE_CLIENT_SECRET": "of the user", "AZURE_TENANT_ID": "of the user"}
    done = host.cloud("run", "--as", name, "--", sys.executable, "-c", _SHOW, **own)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert "of the user" not in values.values()
    assert values["AZURE_CLIENT_ID"] == CLIENT
    assert values["AZURE_AUTHORITY_HOST"] == "https://login.microsoftonline.com/"
    # The sign-in of az is hidden: a missing identity would look like success.
    assert not (Path(values["AZURE_CONFIG_DIR"]) / "azureProfile.json").exists()


def test_program_is_a_job_of_a_pipeline(host: CloudHost) -> None:
    job = "github:contoso/app:ref:refs/heads/main"
    refused = host.cloud("run", "--as", job, "--", "true")
    assert refused.returncode == 1
    assert "apply a seed with pipelines: [github]" in refused.stderr
    seed = host.folder / "pipelines.yaml"
    seed.write_text(_PIPELINE_SEED)
    assert host.cloud("apply", "-f", str(seed)).returncode == 0
    words = (sys.executable, "-c", _JOB, f"{CLIENT[:-1]}9")
    done = host.cloud("run", "--as", job, "--token-seconds", "30", "--", *words)
    assert done.returncode == 0, done.stderr
    assert f"the pipeline job {job}" in done.stderr
    kind, token = done.stdout.split()
    claims = decode(token)
    assert (kind, claims["exp"] - claims["iat"]) == ("Bearer", 30)
    refused = host.cloud("run", "--token-seconds", "30", "--", "true")
    assert (refused.returncode, "only for a job" in refused.stderr) == (2, True)


def test_signals_and_exit_code_are_those_of_the_command(host: CloudHost) -> None:
    process = host.start("-q", "--", "sh", "-c", "trap 'exit 7' TERM; echo up; while :; do :; done")
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (7, "")


def test_forwarding_ends_with_the_command(host: CloudHost) -> None:
    done = host.cloud("run", "-q", "--", "sh", "-c", "echo $$ $HTTPS_PROXY")
    pid, proxy = done.stdout.split()
    [context] = (host.folder / "state" / "podpass-cloud").iterdir()
    # The background process deletes the folder as its last action.
    while (context / "run" / pid).exists():
        host.cloud("env", "--stop")
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch({"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(context / "ca" / "bundle.pem")}, _VAULT)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("run", "--as", "missing", "--", "true"),
            1,
            "ServiceAccount default/missing does not exist",
        ),
        (("run", "--as", "/", "--", "true"), 2, "--as '/' is not a ServiceAccount"),
        (("run", "--as", "a/b/c", "--", "true"), 2, "--as 'a/b/c' is not a ServiceAccount"),
        (("run", "--", "no-such-program"), 127, "no-such-program: command not found"),
        (("run", "-n", "empty", "--", "true"), 1, "namespace empty has no cloud that is ready"),
        (("browser", "--program", "absent"), 1, "the browser absent is not a program"),
        (("browser", "file:///etc/passwd"), 2, "is not the address of a page"),
    ],
    ids=["account", "name", "more-than-a-name", "command", "namespace", "browser", "page"],
)
def test_wrong_call_says_what_is_wrong(
    host: CloudHost, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = host.cloud(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_missing_rights_are_named(host: CloudHost) -> None:
    rules = "create role reader --verb=list --resource=pods"
    host.kubectl(*rules.split(), "-n", _NAMESPACE)
    binding = f"create rolebinding reader --role=reader --serviceaccount={_NAMESPACE}:default"
    host.kubectl(*binding.split(), "-n", _NAMESPACE)
    token = host.kubectl("create", "token", "default", "-n", _NAMESPACE).strip()
    shown = json.loads(host.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    shown["users"] = [{"name": "reader", "user": {"token": token}}]
    shown["contexts"][0]["context"]["user"] = "reader"
    kubeconfig = host.folder / "reader.kubeconfig"
    kubeconfig.write_text(json.dumps(shown))
    done = host.cloud("env", "--kubeconfig", str(kubeconfig))
    assert done.returncode == 1
    assert "your account lacks these rights:\n" in done.stderr
    assert f"in namespace {_NAMESPACE}, create/get: pods/exec, pods/portforward\n" in done.stderr
    assert f"--clusterrole=admin --user=USER -n {_NAMESPACE}\n" in done.stderr


def test_names_of_storage_lead_to_the_cloud_when_it_serves_them(host: CloudHost) -> None:
    """The earlier background process is replaced by a new one on the same port."""
    first = host.cloud("env", "-o", "json")
    # Nothing listens there: podpass refuses the request before it asks Azurite.
    host.replace_pod(azurite="http://127.0.0.1:1")
    second = host.cloud("env", "-o", "json")
    assert json.loads(second.stdout) == json.loads(first.stdout)
    assert second.stderr.split()[1] != first.stderr.split()[1]
    values = json.loads(second.stdout)
    status, answer = fetch(values, "https://orders.table.core.windows.net/Tables")
    assert (status, answer["odata.error"]["code"]) == (404, "ResourceNotFound")
    assert (
        "This instance has no storage account orders" in answer["odata.error"]["message"]["value"]
    )

"""`podpass env` and `podpass run`: programs get the environment and reach the instance."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.instances import Podpass

WANTED = {
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "KUBECONFIG",
    "AZURE_CONFIG_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "JAVA_TOOL_OPTIONS",
}


def test_env_output_can_be_evaluated_by_a_shell(running: Podpass) -> None:
    done = running("env")
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    evaluated = subprocess.run(
        ["sh", "-c", 'eval "$PRINTED"; env'],
        env={"PRINTED": done.stdout, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    values = dict(line.split("=", 1) for line in evaluated.stdout.splitlines() if "=" in line)
    assert set(values) >= WANTED
    assert values["HTTPS_PROXY"] == running.status()["gateway"]
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "KUBECONFIG"):
        assert Path(values[name]).is_file()
    assert Path(values["SSL_CERT_DIR"]).is_dir()


def test_env_is_printed_as_json_and_for_other_shells(running: Podpass) -> None:
    values = json.loads(running("env", "-o", "json").stdout)
    assert set(values) >= WANTED
    assert running("env", "--shell", "fish").stdout.startswith("set -gx HTTPS_PROXY ")
    assert running("env", "--shell", "powershell").stdout.startswith("$Env:HTTPS_PROXY = ")


def test_run_sets_the_environment_for_one_command(running: Podpass) -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    done = running("run", "--", sys.executable, "-c", program, env={"MINE": "kept"})
    seen = json.loads(done.stdout)
    printed = json.loads(running("env", "-o", "json").stdout)
    assert {name: seen[name] for name in printed} == printed
    assert seen["MINE"] == "kept"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_run_returns_the_exit_code_of_the_command(running: Podpass, code: int) -> None:
    assert running("run", "--", "sh", "-c", f"exit {code}").returncode == code


def test_run_passes_arguments_and_streams_to_the_command(running: Podpass) -> None:
    done = running(
        "run",
        "--",
        "sh",
        "-c",
        'cat; echo "$@" >&2',
        "sh",
        "-o",
        "--data-dir",
        "--",
        "x y",
        input="in",
    )
    assert (done.stdout, done.stderr) == ("in", "-o --data-dir -- x y\n")


def test_signals_reach_the_command_itself(running: Podpass) -> None:
    process = subprocess.Popen(
        running.command(
            "run", "--", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"
        ),
        env=running.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 9


def test_missing_command_is_named_in_the_error(running: Podpass) -> None:
    done = running("run", "--", "no-such-program")
    assert done.returncode == 1
    assert "cannot run no-such-program" in done.stderr


def test_curl_reaches_azure_names_through_the_environment_alone(running: Podpass) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    curl = ["run", "--", "curl", "--silent", "--show-error", "--max-time", "20"]
    tenant = running.status()["tenant_id"]
    url = f"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration"
    document = json.loads(running(*curl, url).stdout)
    assert document["issuer"] == f"https://login.microsoftonline.com/{tenant}/v2.0"
    issuer = running.status()["kubernetes"]["issuer"]
    published = json.loads(running(*curl, issuer + ".well-known/openid-configuration").stdout)
    assert published["issuer"] == issuer
    answer = running(*curl, "--include", "https://tools-vault.vault.azure.net/secrets/greeting")
    assert "401" in answer.stdout.splitlines()[2]
    assert "https://vault.azure.net" in answer.stdout


_JAVA = """
import java.net.*; import java.util.*;
public class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpURLConnection c = (HttpURLConnection) new URL(arguments[0]).openConnection();
        c.setConnectTimeout(20000);
        System.out.println(new Scanner(c.getInputStream()).useDelimiter("\\\\A").next());
    }
}
"""


def test_java_reaches_azure_names_through_the_environment_alone(
    running: Podpass, tmp_path: Path
) -> None:
    if shutil.which("javac") is None:
        pytest.skip("no Java compiler is on this machine")
    program = tmp_path / "Ask.java"
    program.write_text(_JAVA)
    issuer = running.status()["kubernetes"]["issuer"]
    url = issuer + ".well-known/openid-configuration"
    done = running("run", "--", "java", str(program), url)
    assert json.loads(done.stdout)["issuer"] == issuer


def test_services_respond_on_localhost_without_the_gateway(running: Podpass) -> None:
    """Direct mode, for clients that are configured with the address of the authority."""
    status = running.status()
    program = (
        "import sys, urllib.request, urllib.error\n"
        "try: print(urllib.request.urlopen(sys.argv[1]).read().decode())\n"
        "except urllib.error.HTTPError as e: print(e.code, e.headers['www-authenticate'])"
    )
    ask = ["run", "--", sys.executable, "-c", program]
    url = f"{status['authority']}/{status['tenant_id']}/v2.0/.well-known/openid-configuration"
    document = json.loads(running(*ask, url).stdout)
    assert document["token_endpoint"].startswith(status["authority"] + "/")
    challenge = running(*ask, f"{status['vault']}/secrets/greeting?api-version=7.4").stdout
    assert challenge.startswith("401 ")
    assert f'"{status["authority"]}/' in challenge
    direct = status["vault"].replace("//localhost:", "//vault.localhost:")
    assert f'resource="{direct}"' in challenge


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (
            "https://management.azure.com/subscriptions?api-version=2022-12-01",
            "AuthenticationFailed",
        ),
        ("https://graph.microsoft.com/v1.0/me", "InvalidAuthenticationToken"),
    ],
)
def test_each_azure_api_is_served_under_its_host_name_and_requires_a_token(
    running: Podpass, url: str, code: str
) -> None:
    program = (
        "import sys, urllib.request, urllib.error\n"
        "try: urllib.request.urlopen(sys.argv[1])\n"
        "except urllib.error.HTTPError as e: print(e.code, e.read().decode())"
    )
    done = running("run", "--", sys.executable, "-c", program, url)
    status, _, body = done.stdout.partition(" ")
    assert (status, json.loads(body)["error"]["code"]) == ("401", code)


def test_kubectl_works_through_the_environment_alone(running: Podpass) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on this machine")
    done = running("run", "--", "kubectl", "get", "namespaces", "-o", "name")
    assert "namespace/default" in done.stdout.split()
    hook = "azure-wi-webhook-mutating-webhook-configuration"
    shown = running(
        "run", "--", "kubectl", "get", "mutatingwebhookconfiguration", hook, "-o", "json"
    )
    webhook, *_ = json.loads(shown.stdout)["webhooks"]
    assert webhook["clientConfig"]["url"] == running.status()["kubernetes"]["webhook"]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["sideEffects"] == "NoneOnDryRun"
    assert webhook["objectSelector"] == {"matchLabels": {"azure.workload.identity/use": "true"}}

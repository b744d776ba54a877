"""`podpass env` and `podpass run`: programs get the environment and reach the instance."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.lab.instance.instances import Podpass
from tests.run_program import run_text

WANTED = {
    *("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "KUBECONFIG", "AZURE_CONFIG_DIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "JAVA_TOOL_OPTIONS", "PODPASS_ENV"),
}


def test_env_output_can_be_evaluated_by_a_shell(running: Podpass) -> None:
    done = running("env")
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    evaluated = run_text(
        ["sh", "-c", 'eval "$PRINTED"; env'],
        env={"PRINTED": done.stdout, "PATH": os.environ["PATH"]},
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


_SHELLS = ("sh", "bash", "zsh", "dash")


@pytest.mark.parametrize(
    ("shell", "arguments"), [*((shell, ()) for shell in _SHELLS), ("sh", ("--no-such-option",))]
)
def test_eval_of_env_fails_without_an_instance(
    podpass: Podpass, shell: str, arguments: tuple[str, ...]
) -> None:
    """Fails when `set -e; eval "$(podpass env)"` continues with the cluster of the user."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    env = {**podpass.environ, "PODPASS_ENV": "stale", "KUBECONFIG": "mine", "AZURE_CONFIG_DIR": ""}
    line = f'eval "$({shlex.join(podpass.command("env", *arguments))})"'
    strict = run_text([shell, "-c", f"set -e; {line}; echo continued"], env=env)
    assert (strict.returncode, strict.stdout) == (1, "")
    # A script that ignores the failure reaches neither the cluster nor the subscription of the user.
    careless = run_text(
        [shell, "-c", f'{line}; echo "${{PODPASS_ENV-unset}}:$KUBECONFIG:$AZURE_CONFIG_DIR"'],
        env=env,
    )
    data = podpass.data_dir
    assert careless.stdout == f"unset:{data}/kubeconfig:{data}/azure\n"


def test_failed_env_prints_no_json_and_the_syntax_of_the_shell(podpass: Podpass) -> None:
    assert podpass("env", "-o", "json").stdout == ""
    fish, powershell = (podpass("env", "--shell", name) for name in ("fish", "powershell"))
    assert fish.returncode == powershell.returncode == 1
    assert fish.stdout.endswith("set -e PODPASS_ENV\nfalse\n")
    assert powershell.stdout.splitlines()[-1].startswith("throw ")


@pytest.mark.processes
def test_eval_of_env_fails_after_the_instance_was_killed(podpass: Podpass) -> None:
    status = podpass.up()
    processes.kill(status["pids"]["podpass"])
    line = f'set -e; eval "$({shlex.join(podpass.command("env"))})"; echo continued'
    done = run_text(["sh", "-c", line], env=podpass.environ)
    assert (done.returncode, done.stdout) == (1, "")


def test_tutorial_script_does_not_run_without_the_environment_of_an_instance() -> None:
    script = Path(__file__).parents[2] / "examples" / "tutorial" / "tutorial.sh"
    environ = {name: value for name, value in os.environ.items() if name != "PODPASS_ENV"}
    done = run_text(["bash", str(script)], env={**environ, "PATH": "/usr/bin:/bin"})
    assert done.returncode != 0
    assert "PODPASS_ENV: run this script" in done.stderr


def test_run_sets_the_environment_for_one_command(running: Podpass) -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    done = running("run", "--", sys.executable, "-c", program, env={"MINE": "kept"})
    seen = json.loads(done.stdout)
    printed = json.loads(running("env", "-o", "json").stdout)
    for values in (printed, seen):
        values.pop("AZURE_CONFIG_DIR")  # see tests/cli/test_run_identity.py
    assert {name: seen[name] for name in printed} == printed
    assert seen["MINE"] == "kept"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_run_returns_the_exit_code_of_the_command(running: Podpass, code: int) -> None:
    assert running("run", "--", "sh", "-c", f"exit {code}").returncode == code


def test_run_passes_arguments_and_streams_to_the_command(running: Podpass) -> None:
    done = running(
        *("run", "--", "sh", "-c", 'cat; echo "$@" >&2', "sh", "-o", "--data-dir", "--", "x y"),
        input="in",
    )
    said, printed = done.stderr.splitlines()
    assert (done.stdout, printed) == ("in", "-o --data-dir -- x y")
    assert "identity of the command: none" in said


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


@pytest.mark.parametrize(
    ("content", "mode", "code", "words"),
    [
        (None, 0, 127, "command not found"),
        ("#!/bin/sh\n", 0o600, 126, "chmod +x"),
        ("#!/no/such/interpreter\n", 0o700, 126, "interpreter"),
        ("exit 3\n", 0o700, 126, "#!/bin/sh"),
        ("#!/bin/sh\nexit 3\n", 0o700, 3, ""),
    ],
)
def test_command_that_cannot_run_exits_with_the_code_of_a_shell(
    running: Podpass, tmp_path: Path, content: str | None, mode: int, code: int, words: str
) -> None:
    program = tmp_path / "program"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    for name, env in ((str(program), {}), ("program", {"PATH": str(tmp_path)})):
        done = running("run", "--", name, env=env)
        assert done.returncode == code, done.stderr
        assert words in done.stderr


def test_shell_shows_128_and_the_number_of_the_signal_that_ended_the_command(
    running: Podpass,
) -> None:
    line = shlex.join(running.command("run", "--", "sh", "-c", "kill -9 $$"))
    done = subprocess.run(["sh", "-c", f"{line}; exit $?"], env=running.environ, check=False)
    assert done.returncode == 128 + 9


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

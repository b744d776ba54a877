"""`podpass explain`: codes, pasted errors, stdin; the same texts as the error page and the documentation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from podpass.cli.commands import cli
from podpass.exchange.errors import explanations
from podpass.lab.data.datadir import locate
from podpass.names import USE_LABEL
from tests.lab.instance.instances import CLIENT, Podpass

ERROR = (
    "(invalid_client) AADSTS7002138: It matches without case only. AADSTS70021: x Trace ID: "
    "11111111-1111-4111-8111-111111111111 Correlation ID: 22222222-1111-4111-8111-111111111111 "
    "Timestamp: 2024-01-14 20:29:53Z"
)


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["explain", *args], input=stdin)


@pytest.mark.parametrize("code", ["700213", "AADSTS700213", "aadsts700213"])
def test_code_is_explained_in_every_notation(code: str) -> None:
    found = explanations.find_explanation(700213)
    assert found is not None
    done = run(code)
    assert done.exit_code == 0
    says = found.says.replace("{subject}", "SUBJECT")
    for words in (found.name, says, found.cause, found.resolution, "HTTP 401"):
        assert words in done.stdout


@pytest.mark.parametrize("args", [(ERROR,), tuple(ERROR.split()), ("-",), ()])
def test_full_error_text_is_read_from_arguments_or_stdin(args: tuple[str, ...]) -> None:
    done = run(*args, "-o", "json", stdin=None if args and args != ("-",) else ERROR)
    output = json.loads(done.stdout)
    assert [each["code"] for each in output["codes"]] == [7002138, 70021]
    assert output["unknown"] == []
    assert output["trace_id"] == "11111111-1111-4111-8111-111111111111"
    assert output["correlation_id"] == "22222222-1111-4111-8111-111111111111"
    assert output["timestamp"] == "2024-01-14 20:29:53Z"
    assert done.exit_code == 0


def test_unknown_code_is_reported_together_with_known_ones() -> None:
    done = run("700213", "7002139")
    assert done.exit_code == 1
    assert "AADSTS7002139 is unknown; similar codes: AADSTS700213" in done.stdout
    assert "https://login.microsoftonline.com/error?code=7002139" in done.stderr
    output = json.loads(run("7002139", "-o", "json").stdout)
    assert output["unknown"][0]["code"] == 7002139
    assert 7002138 in output["unknown"][0]["nearest"]


def test_text_without_a_code_is_refused_with_a_hint() -> None:
    done = run(stdin="no idea")
    assert done.exit_code == 1
    assert "AADSTS" in str(done.exception)


def test_name_of_a_file_gets_the_command_that_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "my app.log"
    file.write_text(ERROR)
    done = run(str(file))
    assert done.exit_code == 1
    assert f"podpass explain < '{file}'" in str(getattr(done.exception, "hint", ""))


def test_error_of_an_sdk_without_variables_names_the_command_that_finds_the_reason() -> None:
    text = (
        "WorkloadIdentityCredential authentication unavailable. The workload options are not fully"
    )
    done = run(stdin=text)
    assert done.exit_code == 0
    assert "podpass doctor POD -n NAMESPACE" in " ".join(done.stdout.split())


def test_text_of_a_code_is_that_of_the_error_without_braces() -> None:
    said = "Application with identifier 'b1' was not found in the directory 'Contoso'."
    done = run(f"AADSTS700016: {said} Trace ID: 1")
    assert said in " ".join(done.stdout.split())
    for number in explanations.known_numbers():
        assert "{" not in run(str(number)).stdout


def test_reason_of_an_issuer_selects_its_resolution() -> None:
    done = run(
        stdin="AADSTS501661: The request failed: it took more than 3 seconds (timeout); check"
    )
    assert "resolution     Check the issuer and the network to it." in done.stdout


CALLER = (
    "(Forbidden) Caller is not authorized to perform action on resource.\n"
    f"Caller: appid={CLIENT};oid={CLIENT[:-1]}9;iss=https://sts.windows.net/x/\n"
    "Resource: '/subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/v/secrets/a'\n"
)


def test_command_has_the_ids_that_the_error_names() -> None:
    shown = " ".join(run(stdin=CALLER).stdout.split()).replace(" ", "")
    assert f"--assignee-object-id{CLIENT[:-1]}9" in shown
    # It can be copied: no full stop follows.
    assert shown.endswith(
        "--scope/subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/v"
    )


FORBIDDEN = '(Forbidden) Caller is not authorized.\nInner error: {"code": "ForbiddenByRbac"}'


def test_error_without_a_code_is_explained_as_text_and_json() -> None:
    done = run("-", stdin=FORBIDDEN)
    assert done.exit_code == 0
    assert done.stdout.startswith("resource")
    for words in ("ForbiddenByRbac", "has no role at the vault", "az role assignment create"):
        assert words in done.stdout
    (found,) = json.loads(run("-o", "json", stdin=FORBIDDEN).stdout)["recognized"]
    assert (found["id"], found["stage"]) == ("vault_forbidden_by_rbac", "resource")
    assert "az role assignment create" in found["run"]


@pytest.mark.processes
def test_error_at_the_end_of_a_large_log_is_explained() -> None:
    """Sixteen megabytes of lines, with the error in the last one."""
    text = "2026-01-02T03:04:05Z info request served\n" * 400_000
    output = json.loads(run("-o", "json", stdin=f"{text}{FORBIDDEN}").stdout)
    assert [each["id"] for each in output["recognized"]] == ["vault_forbidden_by_rbac"]


def test_token_in_a_log_is_not_printed() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
    done = run(stdin=f"sent client_assertion={token} and got {FORBIDDEN} for {token}")
    assert "eyJ" not in done.output
    assert "eyJ" not in run("-o", "json", stdin=f"{token} {FORBIDDEN} {token}").stdout


def test_request_facts_are_read_from_the_log_of_the_instance(tmp_path: Path) -> None:
    """Only facts of this request, and only facts without secrets."""
    common = {"hop": True, "stage": "exchange", "asked": "token", "took_ms": 1.0}
    ours, other = "22222222-1111-4111-8111-111111111111", "3" * 8
    records = [
        {**common, "checked": ["wire"], "correlation_id": other, "sub": "other"},
        {**common, "stage": "resource", "checked": [], "correlation_id": ours, "sub": "vault"},
        {
            **common,
            "checked": ["wire", "tenant"],
            "correlation_id": ours,
            "outcome": "AADSTS7002138",
            "sub": "system:serviceaccount:default:Web",
            "aud": ["api://AzureADTokenExchange"],
            "token_sha256": "abc",
        },
    ]
    log = locate(tmp_path, {}).log_file
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
    where = ("--data-dir", str(tmp_path))
    assert json.loads(run(ERROR, *where, "-o", "json").stdout)["request"] == {
        "passed": ["wire", "tenant"],
        "sub": "system:serviceaccount:default:Web",
        "aud": ["api://AzureADTokenExchange"],
    }
    shown = run(ERROR, *where).stdout
    assert "system:serviceaccount:default:Web" in shown
    assert "wire, tenant" in shown
    assert "abc" not in shown
    assert json.loads(run("700213", *where, "-o", "json").stdout)["request"] is None


class RefusedWorkload:
    """A ServiceAccount whose token an identity does not trust; `explain` its error."""

    def __init__(self, instance: Podpass, client_id: str) -> None:
        self.instance = instance
        name = f"refused-{client_id[:8]}"
        kubectl = ["run", "-q", "--", "kubectl"]
        instance(*kubectl, "create", "serviceaccount", name)
        annotation = f"azure.workload.identity/client-id={client_id}"
        instance(*kubectl, "annotate", "--overwrite", "serviceaccount", name, annotation)
        done = instance("run", "-q", "--as", name, "--", sys.executable, "-c", _REQUEST)
        self.name, self.error = name, done.stdout
        assert "AADSTS" in self.error, done.stderr

    def explain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.instance("explain", *arguments, input=self.error)


_REQUEST = """
from azure.identity import WorkloadIdentityCredential
try:
    WorkloadIdentityCredential().get_token("https://vault.azure.net/.default")
except Exception as exc:
    print(exc)
"""


@pytest.mark.processes
def test_credentials_are_shown_next_to_the_assertion(running: Podpass) -> None:
    refused = RefusedWorkload(running, CLIENT)
    subject = f"system:serviceaccount:default:{refused.name}"
    lines = refused.explain().stdout.splitlines()
    at = lines.index(f"            assertion:  {subject}")
    assert lines[at - 1] == "  subject   credential: system:serviceaccount:default:web"
    begins = lines[at].index(refused.name)
    assert lines[at + 1].startswith(" " * begins)
    assert lines[at + 1].strip().startswith("^")
    (found,) = json.loads(refused.explain("-o", "json").stdout)["credentials"]
    assert (found["identity"], found["credential"], found["differs"]) == ("web", "web", ["subject"])
    assert found["presented"]["subject"] == subject


@pytest.mark.processes
def test_principal_id_used_as_client_id_is_recognized(running: Podpass) -> None:
    (web,) = [
        row
        for row in json.loads(running("identity", "list", "-o", "json").stdout)
        if row["name"] == "web"
    ]
    refused = RefusedWorkload(running, web["principal_id"])
    about = "the object id of the service principal of web; its client id is"
    said = f"{web['principal_id']} is not a client id but {about} {web['client_id']}"
    assert said in " ".join(refused.explain().stdout.split())
    assert json.loads(refused.explain("-o", "json").stdout)["client"] == said
    # Also from the text alone, such as the log of a pod that was deleted.
    text = f"AADSTS700016: Application with identifier '{web['principal_id']}' was not found"
    assert said in " ".join(running("explain", text).stdout.split())


@pytest.mark.processes
def test_last_error_in_the_log_of_a_pod_is_explained(running: Podpass) -> None:
    text = "AADSTS700016: x Correlation ID: 22222222-1111-4111-8111-111111111111"
    container = {"name": "c", "image": "none", "command": ["echo", f"AADSTS50011\n{text}\nend"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "refused"},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }
    kubectl = ["run", "-q", "--", "kubectl"]
    running(*kubectl, "apply", "-f", "-", input=json.dumps(pod))
    condition = "--for=jsonpath={.status.phase}=Succeeded"
    assert running(*kubectl, "wait", condition, "pod/refused", "--timeout=60s").returncode == 0
    done = running("explain", "--pod", "refused", "-o", "json")
    output = json.loads(done.stdout)
    assert [each["code"] for each in output["codes"]] == [700016]
    assert output["correlation_id"] == "22222222-1111-4111-8111-111111111111"
    missing = running("explain", "--pod", "no-such-pod")
    assert missing.returncode == 1
    assert "no pod no-such-pod is in the namespace default" in missing.stderr
    assert "kubectl get pods -A" in missing.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("plain", {}, "has no label azure.workload.identity/use"),
        ("upper", {USE_LABEL: "True"}, "has the value 'True' of the label"),
        ("waiting", {USE_LABEL: "true"}, "podpass doctor waiting -n default"),
    ],
)
def test_pod_without_an_error_gets_the_reason(
    running: Podpass, name: str, labels: dict[str, str], said: str
) -> None:
    """Two containers, of which neither can start: their log is not required to find the label."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": each, "image": "no-such-image"} for each in ("a", "b")]},
    }
    created = running("run", "-q", "--", "kubectl", "create", "-f", "-", input=json.dumps(pod))
    assert created.returncode == 0, created.stderr
    done = running("explain", "--pod", name)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.processes
def test_error_of_any_container_is_explained(running: Podpass) -> None:
    commands = {"first": ["echo", "AADSTS700016"], "second": ["echo", "started"]}
    containers = [{"name": k, "image": "none", "command": v} for k, v in commands.items()]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "two"},
        "spec": {"containers": containers, "restartPolicy": "Never"},
    }
    kubectl = ["run", "-q", "--", "kubectl"]
    running(*kubectl, "apply", "-f", "-", input=json.dumps(pod))
    condition = "--for=jsonpath={.status.phase}=Succeeded"
    assert running(*kubectl, "wait", condition, "pod/two", "--timeout=60s").returncode == 0
    assert "AADSTS700016" in running("explain", "--pod", "two").stdout


@pytest.mark.processes
def test_commands_have_the_values_of_the_pod(running: Podpass) -> None:
    said = "no client ID specified. Check pod configuration SecretNotFound"
    command = ["echo", said, "https://tools-vault.vault.azure.net/secrets/a"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filled", "labels": {USE_LABEL: "true"}},
        "spec": {
            "containers": [{"name": "app", "image": "none", "command": command}],
            "restartPolicy": "Never",
        },
    }
    kubectl = ["run", "-q", "--", "kubectl"]
    running(*kubectl, "apply", "-f", "-", input=json.dumps(pod))
    condition = "--for=jsonpath={.status.phase}=Succeeded"
    assert running(*kubectl, "wait", condition, "pod/filled", "--timeout=60s").returncode == 0
    found = json.loads(running("explain", "--pod", "filled", "-o", "json").stdout)["recognized"]
    commands = {each["id"]: each["run"] for each in found}
    assert commands["sdk_not_injected"].startswith("podpass doctor filled -n default names")
    assert commands["vault_secret_not_found"] == "az keyvault secret list --vault-name tools-vault"


def test_the_shell_completes_codes() -> None:
    for start, wanted in (
        ("AADSTS70021", "AADSTS700213"),
        ("70021", "700213"),
        ("aad", "AADSTS50027"),
    ):
        shell = ShellComplete(cli, {}, "podpass", "_PODPASS_COMPLETE")
        found = shell.get_completions(["explain"], start)
        assert wanted in [each.value for each in found]
        assert all(each.help for each in found)

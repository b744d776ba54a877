"""`podpass trace`: hops by pod, refusals with cause and fix, JSON, live output, and no token."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from podpass.cli import client
from podpass.cli import trace as trace_command
from podpass.cli.commands import cli
from podpass.cli.main import run as run_command
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir
from podpass.names import CLIENT_ID, USE_LABEL
from tests.diagnose.trace.test_hop import line
from tests.lab.instance.instances import CLIENT, Podpass

GOOD = {"namespace": "default", "pod": "good", "account": "web", "uid": "u-good"}
WRONG = {"namespace": "default", "pod": "wrong", "account": "other", "uid": "u-wrong"}
SUBJECT = "system:serviceaccount:default:"
SIGNED: dict[str, Any] = {"stage": "assertion", "outcome": "signed"}
EXCHANGE = "api://AzureADTokenExchange"
REFUSED = {"outcome": "AADSTS700213", "cause": "No record matches 'other'."}
HOPS: list[dict[str, Any]] = [
    {"stage": "admission", "outcome": "mutated", **GOOD},
    {**SIGNED, "audience": "https://kubernetes.default.svc", "token_sha256": "k", **GOOD},
    {**SIGNED, "audience": EXCHANGE, "token_sha256": "a", **GOOD},
    {**SIGNED, "audience": EXCHANGE, "token_sha256": "b", **WRONG},
    {"stage": "resource", "outcome": "challenge"},
    {"outcome": "granted", "token_sha256": "a", "uti": "t", "sub": f"{SUBJECT}web"},
    {**REFUSED, "token_sha256": "b", "sub": f"{SUBJECT}other"},
    {"stage": "resource", "outcome": "ok", "uti": "t"},
]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write(tmp_path, *HOPS)
    return tmp_path


def write(folder: Path, *hops: dict[str, Any], minute: int = 0) -> None:
    with (folder / "podpass.log").open("ab") as log:
        for number, values in enumerate(hops):
            time = f"2026-01-02T03:{minute:02}:{number:02}.000Z"
            log.write(line(**{"time": time, **values}) + b"\n")


def trace(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli, ["trace", "--data-dir", str(data_dir), *arguments], env={"COLUMNS": "80"}
    )


def stages(data_dir: Path, *arguments: str) -> list[str]:
    return [each["stage"] for each in json.loads(trace(data_dir, *arguments, "-o", "json").stdout)]


def test_hops_of_a_pod_are_shown_from_admission_to_resource(data_dir: Path) -> None:
    assert stages(data_dir, "good") == ["admission", "assertion", "exchange", "resource"]
    assert trace(data_dir, "good").stdout.startswith("pod default/good, ServiceAccount default/web")


@pytest.mark.parametrize("name", ["other", "sa/other", "serviceaccount/other", "pod/wrong"])
def test_refusal_has_cause_and_fix(data_dir: Path, name: str) -> None:
    shown = trace(data_dir, name).stdout
    assert "exchange   AADSTS700213" in shown
    assert "cause    No record matches 'other'." in shown
    assert "fix      Set the subject to system:serviceaccount:NAMESPACE:NAME" in shown
    assert max(map(len, shown.splitlines())) <= 80
    last = json.loads(trace(data_dir, name, "-o", "json").stdout)[-1]
    assert (last["result"], last["code"], last["pod"]) == ("refused", "AADSTS700213", "wrong")
    assert "subject" in last["fix"]


def test_second_federated_hop_has_both_fixes(tmp_path: Path) -> None:
    refused = {"outcome": "AADSTS700231", "token_sha256": "b", "sub": f"{SUBJECT}other"}
    write(tmp_path, *HOPS[:4], refused)
    fix = json.loads(trace(tmp_path, "other", "-o", "json").stdout)[-1]["fix"]
    for words in ("to the application itself", "from the managed identity endpoint"):
        assert words in fix
        assert words in CliRunner().invoke(cli, ["explain", "700231", "-o", "json"]).stdout


def test_refusal_of_an_expression_shows_each_clause_that_did_not_match(tmp_path: Path) -> None:
    clauses = ["envs: claims['sub'] does not match", "teams: claims['sub'] does not match"]
    refused = {**REFUSED, "outcome": "AADSTS7002131", "clauses": clauses}
    write(tmp_path, *HOPS[:4], {**refused, "token_sha256": "b", "sub": f"{SUBJECT}other"})
    shown = trace(tmp_path, "other").stdout
    assert [each for each in clauses if f"clause   {each}" in shown] == clauses


def test_refused_token_that_was_not_issued_here_is_shown_for_the_pods_of_its_account(
    data_dir: Path,
) -> None:
    """As a token of a Secret, or an expired one whose issue is no longer in the log."""
    expired = {"outcome": "AADSTS700024", "token_sha256": "z", "sub": f"{SUBJECT}web"}
    write(data_dir, expired, minute=5)
    shown = trace(data_dir, "good").stdout
    assert "ServiceAccount default/web\n" in shown
    assert "exchange   AADSTS700024" in shown
    assert "the log has no issue of this token" in " ".join(shown.split())
    assert "AADSTS700024" not in trace(data_dir, "wrong").stdout


def test_warning_of_admission_has_its_fix(data_dir: Path) -> None:
    warning = "container 'app' sets AZURE_AUTHORITY_HOST, so its exchange does not go to https://a/"
    write(data_dir, {"stage": "admission", "outcome": "mutated", "warnings": [warning], **GOOD})
    shown = " ".join(trace(data_dir, "good").stdout.split())
    assert f"warning {warning}" in shown
    assert "fix remove AZURE_AUTHORITY_HOST from the container" in shown


OTHER_HOST = "login.microsoftonline.us"
ADMITTED = {
    "stage": "admission",
    "outcome": "mutated",
    **GOOD,
    "authorities": [{"container": "app", "given": "https://a/", "asked": f"https://{OTHER_HOST}/"}],
}
ASKED = {
    "event": "authority_not_served",
    "outcome": "authority_not_served",
    "host": OTHER_HOST,
    "source": "127.0.0.9",
    "is_authority": True,
    "cause": f"given a, asked {OTHER_HOST}: no route",
    "fix": "change the setting",
}


def test_exchange_of_a_container_with_another_authority_is_the_failing_hop(data_dir: Path) -> None:
    write(data_dir, ADMITTED, minute=5)
    last = json.loads(trace(data_dir, "good", "-o", "json").stdout)[-1]
    assert (last["stage"], last["result"], last["code"]) == (
        "exchange",
        "refused",
        "other_authority",
    )
    assert f"given https://a/, asked https://{OTHER_HOST}/" in last["cause"]
    assert "remove AZURE_AUTHORITY_HOST from container app" in last["fix"]
    assert "exchange   other_authority" in trace(data_dir, "good").stdout


def test_host_that_the_gateway_did_not_reach_is_shown_for_the_pod_that_has_it(
    data_dir: Path,
) -> None:
    write(data_dir, ADMITTED, ASKED, minute=5)
    shown = " ".join(trace(data_dir, "good").stdout.split())
    assert "source the gateway, for a client at 127.0.0.9" in shown
    assert f"given a, asked {OTHER_HOST}: no route" in shown
    assert "fix change the setting" in shown


def test_authority_of_another_cloud_is_shown_without_a_pod_and_other_hosts_are_not(
    data_dir: Path,
) -> None:
    write(data_dir, ASKED, {**ASKED, "host": "example.org", "is_authority": False}, minute=5)
    shown = trace(data_dir).stdout
    assert shown.count("authority_not_served") == 1
    assert "no known pod" in shown
    assert OTHER_HOST not in trace(data_dir, "good").stdout


def test_target_of_another_kind_or_namespace_is_refused_with_a_hint(data_dir: Path) -> None:
    for arguments in (("pod/other",), ("sa/good",), ("good", "-n", "team")):
        error = trace(data_dir, *arguments).exception
        assert isinstance(error, Error)
        assert "podpass explain --pod" in error.hint or "explain --pod" in error.hint


def test_exchange_of_doctor_is_marked(data_dir: Path) -> None:
    assert "podpass doctor" not in trace(data_dir, "other").stdout
    write(
        data_dir,
        {**SIGNED, "audience": EXCHANGE, "token_sha256": "c", "namespace": "default"}
        | {"account": "other"},
        {**REFUSED, "token_sha256": "c", "sub": f"{SUBJECT}other", "by_doctor": True},
        minute=1,
    )
    assert trace(data_dir, "other").stdout.count("source   `podpass doctor`") == 1


def test_namespace_alone_selects_its_pods(data_dir: Path) -> None:
    write(data_dir, {"stage": "admission", "outcome": "mutated", **GOOD, "namespace": "team"})
    assert stages(data_dir, "-n", "team") == ["admission"]
    assert len(stages(data_dir, "-n", "default")) == len(HOPS) - 2
    assert len(stages(data_dir)) == len(HOPS) - 1


def test_all_shows_challenges_and_tokens_for_the_api_server(data_dir: Path) -> None:
    assert len(stages(data_dir)) == len(HOPS) - 2
    assert len(stages(data_dir, "--all")) == len(HOPS)
    shown = trace(data_dir).stdout
    assert shown.index("pod default/wrong") < shown.index("pod default/good")  # the newest is last


def test_option_since_hides_older_hops_and_still_assigns_newer_ones_to_their_pod(
    data_dir: Path,
) -> None:
    later = {"time": "2999-01-01T00:00:00.000Z", "outcome": "granted", "token_sha256": "a"}
    write(data_dir, later)
    (found,) = json.loads(trace(data_dir, "good", "--since", "10m", "-o", "json").stdout)
    assert found["pod"] == "good"
    assert "since" in str(trace(data_dir, "wrong", "--since", "10m").exception)


def test_hops_of_the_sidecar_are_those_of_its_pod(data_dir: Path) -> None:
    logs = data_dir / "pods" / "u-good" / "logs" / "azwi-proxy"
    logs.mkdir(parents=True)
    failed = line(
        stage="imds", outcome="failed", code="AADSTS700016", time="2026-01-02T03:00:05.500Z"
    )
    (logs / "0.log").write_bytes(b"2026-01-02T03:00:05.5Z stderr F " + failed + b"\n")
    assert stages(data_dir, "good") == ["admission", "assertion", "exchange", "imds", "resource"]


def _write_sidecar(data_dir: Path, uid: str, **values: Any) -> None:
    logs = data_dir / "pods" / uid / "logs" / "azwi-proxy"
    logs.mkdir(parents=True)
    entry = line(stage="imds", time="2026-01-02T03:00:59.500Z", **values)
    (logs / "0.log").write_bytes(b"2026-01-02T03:00:59.5Z stderr F " + entry + b"\n")


@pytest.mark.parametrize(
    ("uid", "request_id", "outcome", "is_claimed"),
    [
        ("u-good", "r-1", "acquired", False),
        ("u-good", "r-1", "cached", False),
        ("u-good", "r-1", "failed", True),
        ("u-good", "r-2", "acquired", True),
        ("u-good", "", "acquired", True),
        ("u-wrong", "r-1", "acquired", True),
    ],
    ids=["same-exchange", "cached", "other-result", "no-exchange", "no-id", "other-pod"],
)
def test_sidecar_hop_that_matches_no_exchange_is_marked_as_claimed(
    data_dir: Path, uid: str, request_id: str, outcome: str, is_claimed: bool
) -> None:
    granted = {"outcome": "granted", "token_sha256": "a", "sub": f"{SUBJECT}web"}
    write(data_dir, {**granted, "correlation_id": "r-1", "time": "2026-01-02T03:00:58.000Z"})
    values = {"outcome": outcome, "correlation_id": request_id, "confirmed": True}
    _write_sidecar(data_dir, uid, **values)
    name = uid.removeprefix("u-")
    found = json.loads(trace(data_dir, name, "-o", "json").stdout)[-1]
    assert found["stage"] == "imds"
    assert found["facts"]["confirmed"] is not is_claimed
    shown = " ".join(trace(data_dir, name).stdout.split())
    assert ("claimed by the pod's own log" in shown) is is_claimed


def test_admission_hop_of_a_dry_run_is_shown_only_with_all(data_dir: Path) -> None:
    dry = {**GOOD, "pod": "podpass-doctor- (prefix)", "uid": "", "dry_run": True}
    write(data_dir, {"stage": "admission", "outcome": "mutated", **dry}, minute=5)
    assert "podpass-doctor" not in trace(data_dir).stdout
    assert "podpass-doctor" in trace(data_dir, "--all").stdout


@pytest.mark.parametrize("char", ["\x7f", "\x85", "\x9b", "\u202e"])
def test_json_has_no_control_character_of_a_log(data_dir: Path, char: str) -> None:
    write(data_dir, {"stage": "admission", "outcome": f"a{char}b", **GOOD})
    printed = trace(data_dir, "good", "-o", "json").stdout
    assert printed.replace("\n", "").isprintable()
    assert json.loads(printed)[-1]["outcome"] == f"a{char}b"


@pytest.mark.parametrize("stage", ["account", "admission", "assertion", "exchange", "resource"])
def test_pod_cannot_forge_hops_of_other_stages(data_dir: Path, stage: str) -> None:
    """Its log is read because of a name, which any container can have."""
    before = stages(data_dir)
    logs = data_dir / "pods" / "u-wrong" / "logs" / "azwi-proxy"
    logs.mkdir(parents=True)
    forged = line(stage=stage, outcome="granted", time="2026-01-02T03:00:05.500Z", uti="t", **GOOD)
    (logs / "0.log").write_bytes(b"2026-01-02T03:00:05.5Z stderr F " + forged + b"\n")
    assert stages(data_dir) == before


def test_control_characters_of_a_log_are_escaped(data_dir: Path) -> None:
    write(data_dir, {"stage": "admission", "outcome": "\x1b[2Jx", **GOOD, "pod": "\x1b]0;x\x07"})
    write(data_dir, {"stage": "imds", "time": "2026-01-02T\x1b[2J\x9b3J", "uid": "u-good"})
    shown = trace(data_dir).stdout
    assert "\x1b" not in shown
    assert "\\u001b" in shown


@pytest.mark.parametrize(
    ("arguments", "code"), [(("deploy/x",), 2), (("--since", "x"), 2), (("nothing",), 1)]
)
def test_wrong_argument_is_refused(data_dir: Path, arguments: tuple[str, ...], code: int) -> None:
    assert run_command(["trace", "--data-dir", str(data_dir), *arguments]) == code


def test_missing_instance_is_reported_with_the_command(tmp_path: Path) -> None:
    error = trace(tmp_path / "none").exception
    assert isinstance(error, Error)
    assert "up --detach" in error.hint


def test_data_dir_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "version").mkdir()
    error = trace(tmp_path).exception
    assert isinstance(error, Error)
    assert "as a data directory" in error.message


class LiveTrace:
    """`podpass trace -f -o json` in the background."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "podpass.cli", "trace", "-f", "-o", "json", *arguments]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PODPASS_DATA_DIR": str(data_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for each in self.process.stdout:
            self.lines.put(each)

    def next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lines.get(timeout=60))
        return found

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@pytest.fixture
def live(data_dir: Path) -> Iterator[LiveTrace]:
    started = LiveTrace(data_dir, "sa/web")
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.mark.processes
def test_follow_shows_new_hops_after_a_log_rotation_and_in_a_new_log(
    data_dir: Path, live: LiveTrace
) -> None:
    log = data_dir / "podpass.log"
    assert [live.next()["stage"] for _ in range(4)] == [
        *("admission", "assertion", "exchange", "resource")
    ]
    granted = {"outcome": "granted", "token_sha256": "a"}
    write(data_dir, {**granted, "number": 1}, minute=1)
    assert live.next()["facts"]["number"] == 1
    log.replace(log.with_name("podpass.log.1"))
    write(data_dir, {**granted, "number": 2}, minute=2)
    assert live.next()["facts"]["number"] == 2
    log.unlink()
    log.with_name("podpass.log.1").unlink()
    write(data_dir, {**granted, "number": 3}, minute=3)
    assert live.next()["facts"]["number"] == 3
    assert live.end() == (0, f"no instance is running in {data_dir}; waiting for one\n")


def test_follow_reports_when_the_instance_stops_and_when_it_responds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trace_command, "_CHECK_SECONDS", 0.0)
    answers: list[dict[str, Any] | Error | None] = [
        *({"pids": {"podpass": 1}}, Error("it does not respond"), Error("it does not respond")),
        *(None, {"pids": {"podpass": 1}}),
    ]

    def read_status(_: DataDir) -> dict[str, Any] | None:
        answer = answers.pop(0)
        if isinstance(answer, Error):
            raise answer
        return answer

    monkeypatch.setattr(client, "read_status", read_status)
    monkeypatch.setattr(client, "check_health", lambda *_: None)
    watch = trace_command.InstanceWatch(DataDir(tmp_path))
    while answers:
        watch.check()
    assert capsys.readouterr().err.splitlines() == [
        "it does not respond",
        f"no instance is running in {tmp_path}; waiting for one",
        "the instance responds again",
    ]


@pytest.mark.processes
def test_follow_waits_without_a_busy_loop(data_dir: Path, live: LiveTrace) -> None:
    for _ in range(4):
        live.next()

    def cpu_ticks() -> int:
        fields = Path(f"/proc/{live.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    write(data_dir, {"outcome": "granted", "token_sha256": "a"})
    live.next()
    with pytest.raises(queue.Empty):
        live.lines.get(timeout=5)
    # Of 500 ticks in five seconds.
    assert cpu_ticks() - before < 100
    assert live.end()[0] == 0


READ = """
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
vault = SecretClient("https://tools-vault.vault.azure.net", WorkloadIdentityCredential())
try:
    print(vault.get_secret("greeting").value)
except Exception as exc:
    print(exc)
"""


def run_pod(running: Podpass, name: str, account: str) -> None:
    kubectl = ["run", "-q", "--", "kubectl"]
    running(*kubectl, "create", "serviceaccount", account)
    running(*kubectl, "annotate", "serviceaccount", account, f"{CLIENT_ID}={CLIENT}", "--overwrite")
    container = {"name": "c", "image": "none", "command": [sys.executable, "-c", READ]}
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "containers": [container]}
    meta = {"name": name, "labels": {USE_LABEL: "true"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    assert running(*kubectl, "create", "-f", "-", input=json.dumps(pod)).returncode == 0
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    assert running(*kubectl, "wait", ended, f"pod/{name}", "--timeout=60s").returncode == 0


@pytest.mark.processes
def test_hops_of_real_pods_are_separated_and_contain_no_token(
    running: Podpass, make_podpass: Callable[[], Podpass]
) -> None:
    del make_podpass
    run_pod(running, "traced", "web")
    run_pod(running, "traced-wrong", "traced-other")
    output = running("trace", "traced", "-o", "json").stdout
    found = json.loads(output)
    assert [each["stage"] for each in found] == [
        *("account", "admission", "assertion", "exchange", "resource")
    ]
    assert {each["pod"] for each in found} == {"traced"}
    wrong = json.loads(running("trace", "pod/traced-wrong", "-o", "json").stdout)
    assert [each["result"] for each in wrong][-1] == "refused"
    assert wrong[-1]["code"] == "AADSTS700213"
    everything = running("trace", "--all").stdout + running("trace", "--all", "-o", "json").stdout
    assert re.search(r"eyJ[\w-]{10}", everything) is None


@pytest.mark.processes
def test_real_pod_that_ignores_the_given_authority_is_reported_by_trace_and_doctor(
    running: Podpass,
) -> None:
    kubectl = ("run", "--", "kubectl")
    code = "import urllib.request as u; u.urlopen('https://login.microsoftonline.us/', timeout=20)"
    container = {"name": "c", "image": "none", "command": [sys.executable, "-c", code]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    meta = {"name": "ignores", "labels": {USE_LABEL: "true"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    assert running(*kubectl, "create", "-f", "-", input=json.dumps(pod)).returncode == 0
    ended = "--for=jsonpath={.status.phase}=Failed"
    assert running(*kubectl, "wait", ended, "pod/ignores", "--timeout=60s").returncode == 0
    shown = json.loads(running("trace", "-o", "json").stdout)
    asked = [each["facts"] for each in shown if each["code"] == "authority_not_served"]
    found = json.loads(running(*kubectl, "get", "pod", "ignores", "-o", "json").stdout)
    if running.status()["pod_network"] == "pod-networks":
        assert asked[-1]["source"] == found["status"]["podIP"]
    report = json.loads(running("doctor", "ignores", "-o", "json").stdout)["workloads"][0][
        "findings"
    ]
    (finding,) = [each for each in report if each["check"] == "authority-not-asked"]
    assert "asked login.microsoftonline.us" in finding["message"]
    assert "cert-manager" in finding["fix"]


def test_cloud_half_alone_names_where_its_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = {"kubernetes": {"kind": "external"}}
    monkeypatch.setattr(trace_command, "read_status", lambda _: status)
    monkeypatch.setattr(trace_command, "check_version", lambda _: None)
    done = CliRunner().invoke(cli, ["trace", "--data-dir", str(tmp_path)])
    assert isinstance(done.exception, Error)
    assert "logs to stderr only" in done.exception.message

"""`podpass lint` on a seed file, and on a running instance."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from podpass import names
from podpass.cli import lint
from podpass.diagnose.lint.model import LintFinding
from tests.lab.instance.instances import CLIENT, Podpass

POLICY = "policies: [{definition: 2571b7c3-3056-4a61-b00a-9bc5232234f5}]\n"
SEED = """
identities:
  - name: lint-app
    kind: application
    federated_credentials:
      - name: main
        issuer: https://token.actions.githubusercontent.com
        subject: repo:contoso/app:ref:refs/heads/main
"""


def write(folder: Path, text: str) -> str:
    (folder / "seed.yaml").write_text(text)
    return str(folder / "seed.yaml")


def test_findings_of_a_seed_name_file_line_and_fix(podpass: Podpass, tmp_path: Path) -> None:
    file = write(tmp_path, SEED)
    done = podpass("lint", file)
    assert done.returncode == 1
    assert f"{file}:6: github_by_name: identity lint-app, credential main: " in done.stdout
    assert "fix: use the prefix" in done.stdout
    assert "1 finding\n" in done.stderr


def test_seed_without_findings_and_invalid_seed(podpass: Podpass, tmp_path: Path) -> None:
    done = podpass("lint", write(tmp_path, "identities: [{name: web}]"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no findings\n")
    done = podpass("lint", write(tmp_path, "identities: [{nam: web}]"))
    assert done.returncode == 2
    assert "unknown key 'nam'" in done.stderr


@pytest.mark.processes
def test_identities_that_cannot_be_read_are_reported_with_exit_code_3(running: Podpass) -> None:
    """The caller is a workload that may read a vault and no identity."""
    annotation = f"{names.CLIENT_ID}={CLIENT}"
    for words in (("create", "serviceaccount", "web"), ("annotate", "sa", "web", annotation)):
        assert running("run", "--", "kubectl", *words).returncode == 0
    command = (*running.command("lint")[:3], "lint", "--auth-method", "default", "-o", "json")
    subscription = ("--subscription-id", running.status()["subscription_id"])
    done = running("run", "-q", "--as", "web", "--", *command, *subscription)
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["findings"] == []
    unread = {each.partition(":")[0] for each in document["unread"]}
    assert unread == {"applications", "managed identities", "policies", "policy exemptions"}
    assert "podpass: not read: applications: Microsoft Graph refused" in done.stderr


@pytest.mark.processes
def test_findings_of_a_running_instance_with_policies(running: Podpass, tmp_path: Path) -> None:
    applied = running("apply", "-f", write(tmp_path, POLICY + SEED))
    assert applied.returncode == 0, applied.stderr
    assert "the policies of the seed are not applied" in applied.stderr
    done = running("lint", "--policies", write(tmp_path, POLICY), "-o", "json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["unread"] == []
    own = running.status()["subscription_id"]
    for words in (("--instance",), ("--subscription", own)):
        same = running("lint", "--policies", str(tmp_path / "seed.yaml"), "-o", "json", *words)
        assert (same.returncode, json.loads(same.stdout)) == (1, document), same.stderr
    refused = running("lint", str(tmp_path / "seed.yaml"), "--instance")
    assert refused.returncode == 2
    assert "--instance reads the local instance: omit SEED" in refused.stderr
    found = {(each["code"], each["identity"]) for each in document["findings"]}
    # The policies are for managed identities.
    assert found == {("github_by_name", "lint-app"), ("policy_refuses_issuer", "web")}


def test_warnings_and_notes_do_not_fail(capsys: pytest.CaptureFixture[str]) -> None:
    finding = LintFinding(code="a", identity="web", credential="main", message="m", fix="f")
    warning, note = replace(finding, level="warning"), replace(finding, level="note")
    lint.print_findings([warning], "")
    lint.print_findings([finding, note], "")
    shown = capsys.readouterr()
    assert "warning: a: identity web, credential main: m\n    fix: f\n" in shown.out
    assert shown.err == "no findings, 1 warning\n1 finding, 1 note\n"
    assert lint.exit_code([warning], []) == 0
    assert lint.exit_code([note], ["x"]) == 3
    assert lint.exit_code([finding], ["x"]) == 1

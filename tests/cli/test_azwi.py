"""`podpass azwi`, and a link named `azwi`: commands, exit codes and lines of the reference."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from podpass import __version__
from podpass.cli.azure_cli_profile import find_cli_subscription
from podpass.cli.commands import cli
from tests.cli.azure_world import AzureWorld, run_here
from tests.lab.instance.instances import Podpass
from tests.run_program import run_text

LINE = re.compile(r'[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ podpass\] "[^"]+"( \w+="[^"]*")*')
SUBSCRIPTION = "22222222-aaaa-4bbb-8ccc-000000000001"


@pytest.fixture(scope="module")
def world(running: Podpass) -> AzureWorld:
    return AzureWorld.of(running)


def test_commands_and_aliases_are_those_of_the_reference() -> None:
    shown = run_here("azwi")
    assert shown.returncode == 0
    for name in ("completion", "jwks", "podidentity", "serviceaccount", "version"):
        assert re.search(rf"^  {name}\b", shown.stdout, re.MULTILINE)
    for words in (("sa",), ("pi",), ("sa", "create"), ("sa", "delete", "phase")):
        done = run_here("azwi", "help", *words)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: ")
    assert run_here("azwi", "help", "none").returncode == 1
    phases = run_here("azwi", "sa", "create", "phase")
    assert (phases.returncode, phases.stderr) == (0, "")
    assert "role-assignment" in phases.stdout


@pytest.mark.parametrize("command", ["connect", "serviceaccount", "azwi sa create phase app"])
def test_sign_in_methods_and_clouds_are_completed(command: str) -> None:
    for option, start, expected in (
        ("--auth-method", "client", ["client_secret", "client_certificate"]),
        ("--azure-env", "AzureCh", ["AzureChinaCloud"]),
        ("--client-secret", "c", []),
    ):
        shell = ShellComplete(cli, {}, "podpass", "_PODPASS_COMPLETE")
        found = shell.get_completions([*command.split(), option], start)
        assert [each.value for each in found] == expected


def test_version_has_two_lines() -> None:
    expected = f"Version: v{__version__}\nGitCommit: unknown\n"
    assert run_here("azwi", "version").stdout == expected
    assert run_here("version").stdout == expected
    info = json.loads(run_here("version", "-o", "json").stdout)
    assert info["buildVersion"] == f"v{__version__}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("sa", "create", "--skip-phases", "x"),
            "failed to compute skip phases: phase 'x' not found",
        ),
        (
            ("sa", "create", "phase", "sa"),
            "failed to run pre-run for phase service-account: --service-account-name is required",
        ),
        (
            ("sa", "create", "phase", "sa", "--service-account-token-expiration", "59m"),
            (
                "failed to run pre-run for phase service-account: --service-account-token-expiration"
                " must be greater than or equal to 1h0m0s"
            ),
        ),
        (("sa", "create", "--unknown"), "No such option"),
        (("unknown",), "No such command"),
        (("jwks",), "no public keys provided"),
        (("--debug=maybe", "version"), "--debug"),
    ],
    ids=["phase", "flag", "expiration", "unknown-flag", "unknown-command", "jwks", "debug"],
)
def test_failure_is_an_error_line_and_exit_code_1(words: tuple[str, ...], message: str) -> None:
    done = run_here("azwi", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--auth-method", ""), "--auth-method is a required parameter"),
        (("--auth-method", "x"), '--auth-method: ERROR: method unsupported. method="x"'),
        (
            ("--auth-method", "client_secret", "--client-id", "invalidID"),
            "parsing --client-id: invalid UUID length: 9",
        ),
        (
            ("--auth-method", "client_secret", "--client-id", SUBSCRIPTION),
            '--client-secret must be specified when --auth-method="client_secret"',
        ),
        (
            ("--auth-method", "client_certificate", "--client-id", SUBSCRIPTION),
            "--certificate-path and --private-key-path must be specified",
        ),
        (
            ("--client-id", "invalidID", "--client-secret", "x"),
            "parsing --client-id: invalid UUID length: 9",
        ),
        (
            ("--auth-method", "cli", "--subscription-id", "x"),
            "--subscription-id is required (and must be a valid UUID)",
        ),
        (
            ("--auth-method", "cli", "--subscription-id", SUBSCRIPTION, "--azure-env", "Moon"),
            "failed to parse --azure-env as a valid target Azure cloud environment",
        ),
    ],
    ids=["empty", "unknown", "id", "secret", "certificate", "both", "subscription", "cloud"],
)
def test_sign_in_options_are_checked_as_in_the_reference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    for name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "PODPASS_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    named = ("--aad-application-name", "x")
    done = run_here("azwi", "sa", *options, "create", "phase", "app", *named)
    assert done.returncode == 1
    assert f"Error: {message}" in done.stderr
    after = run_here("azwi", "sa", "create", "phase", "app", *named, *options)
    assert after.stderr == done.stderr


def test_subscription_is_that_of_the_azure_cli(tmp_path: Path) -> None:
    environ = {"AZURE_CONFIG_DIR": str(tmp_path)}
    profile = [
        {"id": "x", "isDefault": False, "environmentName": "AzureCloud"},
        {"id": SUBSCRIPTION, "isDefault": True, "environmentName": "AzureCloud"},
    ]
    (tmp_path / "azureProfile.json").write_text(
        json.dumps({"subscriptions": profile}), encoding="utf-8-sig"
    )
    assert find_cli_subscription(environ) == SUBSCRIPTION
    other = SUBSCRIPTION.replace("1", "2")
    (tmp_path / "config").write_text("[cloud]\nname = AzureChinaCloud\n")
    (tmp_path / "clouds.config").write_text(f"[AzureChinaCloud]\nsubscription = {other}\n")
    assert find_cli_subscription(environ) == other


@pytest.mark.processes
def test_link_named_azwi_behaves_like_the_reference_and_prints_its_log_lines(
    world: AzureWorld, tmp_path: Path
) -> None:
    link = tmp_path / "azwi"
    link.symlink_to(Path(sys.executable).with_name("podpass"))
    words = ("sa", "create", "--service-account-name", "link", "--debug=true")
    issuer = ("--service-account-issuer-url", world.issuer)
    role = ("--azure-scope", world.scope, "--azure-role", "Reader")
    environ = {**world.podpass.environ, **world.environ()}
    found = None
    for _ in range(2):
        done = run_text([str(link), *words, *issuer, *role], env=environ, timeout=90)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert all(LINE.fullmatch(line) for line in done.stderr.splitlines()), done.stderr
        assert re.search(r'"created an AAD application" logger="aad-application"', done.stderr)
        assert re.search(r'clientID="[0-9a-f-]{36}" objectID="[0-9a-f-]{36}"', done.stderr)
        found = re.search(r'roleAssignmentID="([^"]+)"', done.stderr)
        assert "GET graph.microsoft.com/v1.0/applications returned status 200" in done.stderr
    assert found is not None
    assert '"federated credential has been previously created"' in done.stderr
    assert '"Role assignment already exists"' in done.stderr
    delete = ("delete", "--service-account-name", "link", *issuer, "--role-assignment-id", found[1])
    removed = run_here(
        *("azwi", "sa", *delete, "--auth-method", "instance"),
        *("--data-dir", str(world.podpass.data_dir)),
    )
    assert removed.returncode == 0
    for text in ("deleted role assignment", "deleted service account", "deleted aad application"):
        assert f'"{text}"' in removed.stderr

"""`podpass explain`: codes, pasted errors, stdin; the same texts as the error page and the documentation."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from podpass.cli.commands import cli
from podpass.exchange.errors import explain
from podpass.local.datadir import locate

ERROR = (
    "(invalid_client) AADSTS7002138: It matches without case only. AADSTS70021: x Trace ID: "
    "11111111-1111-4111-8111-111111111111 Correlation ID: 22222222-1111-4111-8111-111111111111 "
    "Timestamp: 2024-01-14 20:29:53Z"
)


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["explain", *args], input=stdin)


@pytest.mark.parametrize("code", ["700213", "AADSTS700213", "aadsts700213"])
def test_code_is_explained_in_every_notation(code: str) -> None:
    found = explain.find_explanation(700213)
    assert found is not None
    done = run(code)
    assert done.exit_code == 0
    for words in (found.name, found.says, found.cause, found.resolution, "HTTP 401"):
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

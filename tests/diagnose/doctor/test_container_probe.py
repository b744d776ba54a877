"""What the command in a container prints, and how it is read."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podpass.diagnose.doctor.container_probe import (
    build_command,
    build_python_command,
    parse_output,
)
from podpass.diagnose.doctor.model import ConnectionResult, ContainerFacts, PodToken
from podpass.facts import Unread

_MARK = "podpass-doctor"
_SIGNATURE = "c2lnbmF0dXJlLW9mLWEtdG9rZW4"


def _token(claims: Any) -> str:
    parts = [{"alg": "RS256", "kid": "k1"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in parts]
    return ".".join([*(each.rstrip("=") for each in encoded), _SIGNATURE])


CLAIMS = {"iss": "https://i/", "sub": "s", "aud": ["a", "b"], "exp": 20, "iat": 10}


def _parse(*lines: str, now: float = 100.0) -> ContainerFacts:
    found = parse_output("app", "\n".join(f"{_MARK} {line}" for line in (*lines, "end")), now)
    assert isinstance(found, ContainerFacts)
    return found


def _run(folder: Path, *, path: str = "/usr/bin:/bin", **environ: str) -> str:
    command = build_command({"command": ["sleep", "1"]})
    command[0] = shutil.which("sh") or "/bin/sh"
    done = subprocess.run(
        command,
        env={"PATH": path, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_probe_prints_no_token_signature_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(_token(CLAIMS))
    output = _run(tmp_path, AZURE_FEDERATED_TOKEN_FILE=str(file), AZURE_CLIENT_SECRET="s3cret")
    assert _SIGNATURE not in output
    assert "s3cret" not in output
    found = parse_output("app", output, 0.0)
    assert isinstance(found, ContainerFacts)
    assert found.token == PodToken(
        issuer="https://i/",
        subject="s",
        audiences=("a", "b"),
        expires=20.0,
        issued=10.0,
        key_id="k1",
    )


def test_probe_with_python_but_no_shell_prints_the_same_facts(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(_token(CLAIMS))
    command = build_python_command({"command": [sys.executable]})
    environ = {
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_CLIENT_SECRET": "s3cret",
        "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1/",
    }
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    assert _SIGNATURE not in done.stdout
    assert "s3cret" not in done.stdout
    found = parse_output("app", done.stdout, 0.0)
    assert isinstance(found, ContainerFacts)
    assert isinstance(found.token, PodToken)
    assert found.token.subject == "s"
    assert isinstance(found.clock_offset, float)
    assert isinstance(found.authority, ConnectionResult)
    assert "refused" in found.authority.error
    assert isinstance(found.libraries, dict)
    assert "python:azure-identity" in found.libraries


def test_probe_with_a_shell_but_no_other_program_reads_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(_token(CLAIMS))
    output = _run(
        tmp_path,
        path=str(tmp_path),
        AZURE_FEDERATED_TOKEN_FILE=str(file),
        AZURE_AUTHORITY_HOST="https://127.0.0.1:1/",
    )
    found = parse_output("app", output, 0.0)
    assert isinstance(found, ContainerFacts)
    assert isinstance(found.token, PodToken)
    assert isinstance(found.clock_offset, Unread)
    assert isinstance(found.authority, Unread)
    assert isinstance(found.libraries, Unread)


def test_missing_token_file_is_reported_as_absent(tmp_path: Path) -> None:
    output = _run(tmp_path, AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "absent"))
    found = parse_output("app", output, 0.0)
    assert isinstance(found, ContainerFacts)
    assert found.token is None


@pytest.mark.parametrize(
    "text",
    ["unreadable", "", "abc", "e30.", "e30.bm90IGpzb24", "bnVsbA.bnVsbA", "W10.W10"],
    ids=["unreadable", "empty", "no parts", "no claims", "no JSON", "null", "lists"],
)
def test_malformed_token_is_reported_as_unread(text: str) -> None:
    assert isinstance(_parse(f"token {text}").token, Unread)


def test_claims_of_other_types_are_shown_as_text() -> None:
    token = _token({"iss": 5, "sub": None, "aud": "one", "exp": "never"}).rpartition(".")[0]
    found = _parse(f"token {token}").token
    assert isinstance(found, PodToken)
    assert (found.issuer, found.subject, found.audiences, found.expires) == ("5", "", ("one",), 0.0)


@pytest.mark.parametrize(
    ("audience", "shown"),
    [(5, ("5",)), (True, ("True",)), (None, ()), ([1, "b"], ("1", "b"))],
    ids=["number", "boolean", "none", "list"],
)
def test_audience_of_another_type_is_shown_as_text(
    audience: object, shown: tuple[str, ...]
) -> None:
    found = _parse(f"token {_token({'aud': audience}).rpartition('.')[0]}").token
    assert isinstance(found, PodToken)
    assert found.audiences == shown


@pytest.mark.parametrize("digits", [13, 400, 5000])
def test_clock_value_that_is_not_a_time_is_reported_as_unread(digits: int) -> None:
    """A container may print more digits than a number can be made of."""
    assert isinstance(_parse(f"clock {'9' * digits}").clock_offset, Unread)


def test_clock_is_compared_with_this_machine() -> None:
    assert _parse("clock 160", now=100.0).clock_offset == 60.0
    assert isinstance(_parse("clock ").clock_offset, Unread)


def test_connection_result_has_the_error_of_curl() -> None:
    found = _parse("net https://login/x curl: (6) Could not resolve host")
    assert found.authority == ConnectionResult(
        url="https://login/x", error="curl: (6) Could not resolve host"
    )
    assert _parse("net https://login/x ").authority == ConnectionResult(url="https://login/x")


def test_libraries_are_unread_if_the_container_has_no_interpreter() -> None:
    assert _parse("has python").libraries == {}
    assert _parse("has python", "lib python:msal 1.2").libraries == {"python:msal": "1.2"}
    assert isinstance(_parse().libraries, Unread)


def test_incomplete_probe_output_is_reported_as_unread() -> None:
    assert isinstance(parse_output("app", f"{_MARK} clock 1\n", 1.0), Unread)
    assert isinstance(parse_output("app", "", 1.0), Unread)


def test_own_interpreter_of_a_container_is_used() -> None:
    assert "/venv/bin/python3.12" in build_command({"command": ["/venv/bin/python3.12", "-m", "x"]})
    assert build_command({"command": ["pythonic; rm"]})[4] == ""
    assert build_command({})[4] == ""

"""Installation errors that skip a client's test, and those that fail it."""

import sys
from pathlib import Path

import pytest

from tests.clients.installation import (
    find_too_old,
    installation_folder,
    is_unreachable,
    python_commands,
)


@pytest.mark.parametrize(
    "said",
    [
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/msal/",
        "NameResolutionError: Failed to resolve 'index.example'",
        "npm error code ENOTFOUND\nnpm error network request failed",
        "npm error code ECONNREFUSED",
        "[ERROR] Could not transfer artifact a:b:pom:1 from/to central: Unknown host",
        "go: a@v1: Get: dial tcp: lookup proxy.example: no such host",
    ],
)
def test_unreachable_registry_skips_the_test(said: str) -> None:
    assert is_unreachable(said)


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: No matching distribution found for azure-identity==1.13.0",
        "ERROR: ResolutionImpossible: for help visit the documentation",
        "npm error code E404\nnpm error 404 Not Found",
        "npm error code ERESOLVE",
        "[ERROR] Could not find artifact a:b:pom:1 in central",
        "go: a@v1: invalid version: unknown revision v1",
        "WARNING: Retrying after 'NewConnectionError'\nERROR: no (from versions: 1.22.0, 1.23.0)",
    ],
)
def test_error_response_of_a_registry_is_a_failure(said: str) -> None:
    assert not is_unreachable(said)


def test_compiler_that_is_too_old_skips_the_test() -> None:
    said = "go: go.mod requires go >= 1.25.0 (running go 1.22.1; GOTOOLCHAIN=local)"
    assert find_too_old(said) == "requires go >= 1.25.0"
    assert find_too_old("main.go:3: package testing/synctest is not in std (/usr/lib/go)")
    assert not find_too_old("main.go:3: undefined: secret")


def test_checkouts_with_one_python_share_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(*packages: str) -> Path:
        return installation_folder("any", [], python_commands(*packages), newest=False)

    ours = folder("msal")
    monkeypatch.setattr(sys, "executable", "/another/checkout/.venv/bin/python")
    assert folder("msal") == ours
    assert folder("azure-identity") != ours
    monkeypatch.setattr(sys, "base_prefix", "/another/python")
    assert folder("msal") != ours

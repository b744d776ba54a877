"""Contract tests that are skipped on other Kubernetes releases; each row names an existing test."""

import ast
from pathlib import Path

import pytest

from tests.control_plane.contract.known_differences import KNOWN, OTHERS, skip_reason

CONTRACT = Path(__file__).parent / "contract"
RESTART = "test_container_has_a_restart_policy_and_rules_of_its_own"


def _tests() -> set[str]:
    return {
        node.name
        for path in CONTRACT.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_each_row_names_a_test_of_the_contract() -> None:
    assert {name.partition("[")[0] for name in (*KNOWN, *OTHERS)} <= _tests()


@pytest.mark.parametrize("version", ["v1.29.15", "v1.33.9+k3s1", "v1.9.0"])
def test_tests_of_newer_features_are_skipped_on_an_older_server(version: str) -> None:
    assert skip_reason(RESTART, version).startswith("a container's own restart policy")
    assert version in skip_reason(RESTART, version)


@pytest.mark.parametrize("version", ["v1.34.4", "v1.34.0-rc.1", "v1.34.4+podpass.1"])
def test_only_restart_rules_are_skipped_on_the_release_of_the_vectors(version: str) -> None:
    skipped = {
        reason.partition(":")[0] for test in OTHERS if (reason := skip_reason(test, version))
    }
    assert skipped == {"a container's own restart policy"}


def test_no_test_is_skipped_on_a_newer_server() -> None:
    assert [test for test in OTHERS if skip_reason(test, "v1.37.2")] == []


def test_other_tests_run_on_the_oldest_server() -> None:
    assert skip_reason("test_deployments_can_be_scaled", "v1.29.15") == ""

"""Which tests of the contract another Kubernetes is not asked, and that the rows name real ones."""

import ast
from pathlib import Path

import pytest

from tests.control_plane.contract.known import KNOWN, OTHERS, not_asked

CONTRACT = Path(__file__).parent / "contract"
RESTART = "test_only_a_sidecar_has_a_restart_policy_of_its_own"


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
def test_an_older_server_is_not_asked_what_newer_ones_answer(version: str) -> None:
    assert not_asked(RESTART, version).startswith("a container's own restart policy")
    assert version in not_asked(RESTART, version)


@pytest.mark.parametrize("version", ["v1.34.4", "v1.34.0-rc.1", "v1.34.4+podpass.1"])
def test_the_release_of_the_vectors_is_asked_everything(version: str) -> None:
    assert [not_asked(test, version) for test in OTHERS] == [""] * len(OTHERS)


def test_a_newer_server_is_asked_all_but_what_it_answers_otherwise() -> None:
    assert [test for test in OTHERS if not_asked(test, "v1.37.2")] == [RESTART]


def test_what_every_server_answers_is_asked_of_the_oldest() -> None:
    assert not_asked("test_deployments_can_be_scaled", "v1.29.15") == ""

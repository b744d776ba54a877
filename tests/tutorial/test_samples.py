"""The documentation's sample images: built from their registries, run as pods, stopped with SIGTERM."""

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from podpass.lab.cluster.samples.cache import SampleCache, cache_folder
from podpass.lab.cluster.samples.catalogue import SAMPLES, find_by_name
from podpass.lab.cluster.samples.model import Sample
from podpass.lab.cluster.samples.prepare import RegistryUnreachable, ToolsMissing, prepare
from tests.journey.instance import CLIENT, LABEL, Instance

pytestmark = [pytest.mark.tutorial, pytest.mark.timeout(600)]

VAULT = "https://journey-vault.vault.azure.net/"
NAMES = [sample.name for sample in SAMPLES]
LINE = '"successfully got secret" secret="hello"'


def built(name: str) -> Sample:
    """Build a sample; skip the test if its tools or its registry are not available."""
    sample = find_by_name(name)
    assert sample is not None
    cache = SampleCache(cache_folder(os.environ), os.environ["PATH"])
    try:
        prepare(sample, cache, os.environ, print)
    except (ToolsMissing, RegistryUnreachable) as exc:
        pytest.skip(f"{exc.message}: {exc.hint}")
    return sample


def pod(name: str, image: str, **variables: str) -> dict[str, Any]:
    env = [{"name": key, "value": value} for key, value in variables.items()]
    container = {"name": "oidc", "image": image, "env": env}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": LABEL},
        "spec": {"serviceAccountName": "web", "containers": [container]},
    }


def log_of(instance: Instance, name: str) -> str:
    """Wait until a pod has logged the result of its first read; return the log."""
    core = instance.core
    deadline = time.monotonic() + 60
    log = ""
    while time.monotonic() < deadline and "got secret" not in log:
        status = core.read_namespaced_pod(name, "default").status
        if status.phase != "Pending":
            log = str(core.read_namespaced_pod_log(name, "default"))
        assert status.phase != "Failed", log
        time.sleep(0.2)
    return log


@pytest.mark.parametrize("credential", ["msal", "azure-identity"])
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_image_reads_the_secret_and_keeps_running(
    instance: Instance, name: str, credential: str
) -> None:
    image = built(name).image + ":latest"
    called = f"{name}-{credential}"
    wanted = pod(called, image, KEYVAULT_URL=VAULT, SECRET_NAME="greeting", CREDENTIAL=credential)
    instance.core.create_namespaced_pod("default", wanted)
    assert LINE in log_of(instance, called).splitlines()
    status = instance.core.read_namespaced_pod(called, "default").status
    assert {each.type: each.status for each in status.conditions}["Ready"] == "True"
    assert status.container_statuses[0].restart_count == 0
    instance.core.delete_namespaced_pod(called, "default")


@pytest.mark.parametrize("name", NAMES)
def test_sample_accepts_the_vault_name_variables_of_older_manifests(
    instance: Instance, name: str
) -> None:
    called = f"{name}-by-name"
    wanted = pod(called, built(name).image, KEYVAULT_NAME="journey-vault", SECRET_NAME="greeting")
    instance.core.create_namespaced_pod("default", wanted)
    assert LINE in log_of(instance, called).splitlines()
    instance.core.delete_namespaced_pod(called, "default")


def on_host(instance: Instance, sample: Sample, **variables: str) -> "subprocess.Popen[str]":
    """Start a sample's program with `podpass run` and the variables that the webhook would inject."""
    cache = SampleCache(cache_folder(os.environ), os.environ["PATH"])
    token = instance.data_dir.parent / "sample-token"
    token.write_text(instance.token("web"))
    return subprocess.Popen(
        [*(sys.executable, "-m", "podpass.cli", "run", "--"), *cache.readiness(sample).command],
        env={
            **os.environ,
            "PODPASS_DATA_DIR": str(instance.data_dir),
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_TENANT_ID": instance.status["tenant_id"],
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
            "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
            "KEYVAULT_URL": VAULT,
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_sample_exits_with_zero_on_sigterm(instance: Instance, name: str) -> None:
    running = on_host(instance, built(name), SECRET_NAME="greeting")
    assert running.stdout is not None
    assert running.stdout.readline() == LINE + "\n"
    running.terminate()
    _, talk = running.communicate(timeout=20)
    assert running.returncode == 0, talk


@pytest.mark.parametrize("name", NAMES)
def test_sample_that_cannot_read_logs_the_error_and_fails(instance: Instance, name: str) -> None:
    running = on_host(instance, built(name), SECRET_NAME="nothing")
    out, talk = running.communicate(timeout=60)
    assert (running.returncode, out) == (1, ""), talk
    (said,) = [line for line in talk.splitlines() if line.startswith('"failed to get secret"')]
    assert "SecretNotFound" in said or "nothing" in said
    assert "eyJ" not in talk

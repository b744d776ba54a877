"""`podpass podidentity detect` on an instance, with an unmodified kubectl."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from podpass.lab.cluster.samples.examples import find_example
from tests.lab.instance.instances import CLIENT, Podpass
from tests.run_program import run_text

NEXT = "Next steps:"
OBJECTS = f"""
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {{name: web}}
spec: {{type: 0, clientID: {CLIENT}}}
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata: {{name: web}}
spec: {{azureIdentity: web, selector: web}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web, aadpodidbinding: web}}}}
    spec:
      containers:
        - name: app
          image: busybox
          command: [sleep, infinity]
          env: [{{name: A, value: "1e3"}}, {{name: B, value: "y"}}]
"""


class PodIdentityCluster:
    """An instance with the kinds of pod identity, and its kubectl."""

    def __init__(self, podpass: Podpass) -> None:
        self.podpass = podpass
        self.kubeconfig = podpass.status()["kubernetes"]["kubeconfig"]

    def kubectl(self, *words: str, text: str | None = None) -> str:
        done = run_text(
            ["kubectl", *words],
            env={**self.podpass.environ, "KUBECONFIG": self.kubeconfig},
            input=text,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def detect(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {"KUBECONFIG": self.kubeconfig}
        return self.podpass("podidentity", "detect", *words, env=environ)


@pytest.fixture(scope="module")
def cluster(running: Podpass) -> PodIdentityCluster:
    return PodIdentityCluster(running)


@pytest.fixture(scope="module")
def converted(cluster: PodIdentityCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the files of a Deployment."""
    folder = tmp_path_factory.mktemp("detect")
    missing = cluster.detect("-o", str(folder / "none"))
    assert missing.returncode == 1
    assert "does not serve AzureIdentityBindings" in missing.stderr
    definitions = find_example("migrate") / "pod-identity-crds.yaml"
    cluster.kubectl("apply", "-f", str(definitions))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    nothing = cluster.detect("-o", str(folder / "nothing"))
    assert nothing.returncode == 0
    assert nothing.stdout == ""
    assert "no pod identity is in use in the namespace default" in nothing.stderr
    assert list((folder / "nothing").iterdir()) == []
    cluster.kubectl("apply", "-f", "-", text=OBJECTS)
    deadline = time.monotonic() + 60
    while "web-" not in cluster.kubectl("get", "pods", "-o", "name"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = cluster.detect("-o", str(folder / "a" / "b"), "--tenant-id", "t", "-p", "8001")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(folder / "a" / "b" / name) for name in ("web-serviceaccount.yaml", "web.yaml")
    ]
    assert NEXT in done.stderr
    return folder / "a" / "b"


def test_all_four_kinds_of_aad_pod_identity_are_served(
    cluster: PodIdentityCluster, converted: Path
) -> None:
    assert converted.exists()
    names = cluster.kubectl("api-resources", "--api-group=aadpodidentity.k8s.io", "-o", "name")
    assert {line.partition(".")[0] for line in names.splitlines()} == {
        "azureidentities",
        "azureidentitybindings",
        "azureassignedidentities",
        "azurepodidentityexceptions",
    }


def test_applied_files_change_only_the_account_label_and_sidecar_of_a_workload(
    cluster: PodIdentityCluster, converted: Path
) -> None:
    before = json.loads(cluster.kubectl("get", "deployment", "web", "-o", "json"))
    cluster.kubectl("apply", "-f", str(converted))
    after = json.loads(cluster.kubectl("get", "deployment", "web", "-o", "json"))
    account = json.loads(cluster.kubectl("get", "serviceaccount", "web", "-o", "json"))
    assert account["metadata"]["annotations"]["azure.workload.identity/client-id"] == CLIENT
    old, new = (each["spec"]["template"]["spec"] for each in (before, after))
    assert new["containers"][0] == old["containers"][0]
    assert [each["name"] for each in new["containers"]] == ["app", "azwi-proxy"]
    assert new["serviceAccountName"] == "web"
    labels = after["spec"]["template"]["metadata"]["labels"]
    assert labels["azure.workload.identity/use"] == "true"
    assert labels["aadpodidbinding"] == "web"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing option"),
        (
            ["-o", "x", "--service-account-token-expiration", "59m"],
            "greater than or equal to 1h0m0s",
        ),
        (["-o", "x", "--service-account-token-expiration=24h1s"], "less than or equal to 24h0m0s"),
        (["-o", "x", "--service-account-token-expiration", "1"], "invalid duration"),
        (["-o", "x", "--service-account-token-expiration", "-1h"], "invalid duration"),
        (["-o", "x", "--proxy-port", "0"], "proxy-port"),
        (["-o", "x", "--namespace", "../x"], "not a valid namespace"),
    ],
    ids=range(7),
)
def test_wrong_option_is_refused_with_usage(
    podpass: Podpass, words: list[str], message: str, tmp_path: Path
) -> None:
    done = podpass("podidentity", "detect", *words, env={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("given", "seconds"), [("90m", 5400), ("1h0m0.6s", 3601), ("86400s", 86400)]
)
def test_durations_have_the_syntax_of_go(
    cluster: PodIdentityCluster, converted: Path, tmp_path: Path, given: str, seconds: int
) -> None:
    assert converted.exists()
    done = cluster.detect("-o", str(tmp_path), "--service-account-token-expiration", given)
    assert done.returncode == 0, done.stderr
    account = yaml.safe_load((tmp_path / "web-serviceaccount.yaml").read_text())
    key = "azure.workload.identity/service-account-token-expiration"
    assert account["metadata"]["annotations"][key] == str(seconds)


def test_short_name_of_the_reference_works(podpass: Podpass) -> None:
    done = podpass("pi", "detect", "--help")
    assert done.returncode == 0
    assert "--output-dir" in done.stdout


@pytest.mark.parametrize(
    ("kubeconfig", "message"),
    [("", "there is no kubeconfig"), ("one:two", "several files"), ("gone", "cannot read")],
)
def test_missing_or_ambiguous_kubeconfig_is_reported(
    podpass: Podpass, tmp_path: Path, kubeconfig: str, message: str
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("{}")
    done = podpass(
        *("podidentity", "detect", "-o", "out"),
        env={"KUBECONFIG": kubeconfig, "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.returncode in (1, 2)
    assert message in done.stderr

"""On a real API server the reference's release is upgraded to ours and rolled back without a loss."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts import reference
from tests.charts.rendering import CHART, NAMESPACE, RELEASE, SETS, TENANT, Helm, Object
from tests.control_plane.plane import PlaneThread
from tests.lab.instance.kubectl import Kubectl, binaries
from tests.run_program import run_text

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

DEPLOYMENT = "azure-wi-webhook-controller-manager"
REGISTRATION = "azure-wi-webhook-mutating-webhook-configuration"
SECRET = "azure-wi-webhook-server-cert"
BUNDLE = base64.b64encode(b"a bundle").decode()
# Fields that every write changes.
VOLATILE = ("annotations", "generation", "managedFields", "resourceVersion")


@pytest.fixture(scope="module")
def kubectl(control_plane: PlaneThread, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    binary = next((path for path in binaries().values() if path), "")
    if not binary:
        pytest.skip("there is no kubectl on this machine")
    home = tmp_path_factory.mktemp("home")
    return Kubectl(binary=binary, kubeconfig=control_plane.kubeconfig, home=home)


@pytest.fixture(scope="module")
def reference_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a chart with the name of the reference's chart and its rendered objects."""
    chart = tmp_path_factory.mktemp("reference") / "workload-identity-webhook"
    (chart / "templates").mkdir(parents=True)
    meta = "apiVersion: v2\nname: workload-identity-webhook\nversion: 1.6.0\n"
    (chart / "Chart.yaml").write_text(meta)
    image = {"repository": "mcr.microsoft.com/oss/azure/workload-identity/webhook"}
    (chart / "values.yaml").write_text(json.dumps({"image": image, "logLevel": "info"}))
    for number, one in enumerate(reference.OBJECTS):
        (chart / "templates" / f"{number}.yaml").write_text(json.dumps(one))
    return chart


class HelmRelease:
    """The Helm and kubectl commands of a user."""

    def __init__(self, helm: Helm, kubectl: Kubectl, home: Path) -> None:
        self._helm, self.kubectl, self._home = helm.binary, kubectl, home

    def __call__(self, *arguments: str) -> Any:
        return run_text(
            [self._helm, *arguments, "--namespace", NAMESPACE],
            timeout=120,
            env={"HOME": str(self._home), "KUBECONFIG": str(self.kubectl.kubeconfig)},
        )

    def run_checked(self, *arguments: str) -> None:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr

    def get(self, kind: str, name: str) -> Object:
        found = self.kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json")
        return dict(json.loads(found))

    def all(self) -> dict[str, Object]:
        """Return all objects of the release without the fields that every write changes."""
        kinds = {one["kind"].lower() for one in reference.OBJECTS} | {"networkpolicy"}
        label = f"release={RELEASE}"
        listed = self.kubectl(
            "-n", NAMESPACE, "get", ",".join(sorted(kinds)), "-l", label, "-o", "json"
        )
        found = {}
        for one in json.loads(listed)["items"]:
            for member in VOLATILE:
                one["metadata"].pop(member, None)
            one.pop("status", None)
            found[f"{one['kind']}/{one['metadata']['name']}"] = one
        return found


@pytest.fixture
def release(
    helm: Helm, kubectl: Kubectl, reference_chart: Path, tmp_path: Path
) -> Iterator[HelmRelease]:
    """Install the reference, with a certificate as its rotator writes it."""
    found = HelmRelease(helm, kubectl, tmp_path)
    found.run_checked(
        *("install", RELEASE, str(reference_chart), "--create-namespace"),
        *("--set", f"azureTenantID={TENANT}"),
    )
    data = {"data": {"tls.crt": BUNDLE, "ca.key": BUNDLE}}
    kubectl("-n", NAMESPACE, "patch", "secret", SECRET, "-p", json.dumps(data))
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": BUNDLE}]
    kubectl(
        *("patch", "mutatingwebhookconfiguration", REGISTRATION, "--type=json"),
        *("-p", json.dumps(bundle)),
    )
    yield found
    found.run_checked("uninstall", RELEASE, "--wait")


OURS = (str(CHART), "--reset-then-reuse-values", "--set", "image.repository=r.example.com/podpass")


def test_release_of_the_reference_is_upgraded_and_rolled_back(
    release: HelmRelease, reference_chart: Path
) -> None:
    before = release.all()
    release.run_checked("upgrade", RELEASE, *OURS)
    ours = release.all()

    assert set(ours) - set(before) == {f"NetworkPolicy/{DEPLOYMENT}"}
    for name, one in before.items():  # the same objects, none recreated
        assert ours[name]["metadata"]["uid"] == one["metadata"]["uid"], name
    assert ours[f"Secret/{SECRET}"]["data"] == before[f"Secret/{SECRET}"]["data"]
    (entry,) = ours[f"MutatingWebhookConfiguration/{REGISTRATION}"]["webhooks"]
    assert entry["clientConfig"]["caBundle"] == BUNDLE
    (container,) = ours[f"Deployment/{DEPLOYMENT}"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("r.example.com/podpass:")
    assert container["command"] == ["podpass", "webhook"]
    assert ours["ConfigMap/azure-wi-webhook-config"]["data"]["AZURE_TENANT_ID"] == TENANT

    release.run_checked("upgrade", RELEASE, str(reference_chart), "--reset-then-reuse-values")
    assert release.all() == before

    release.run_checked("rollback", RELEASE, "2")
    again = release.all()
    for one in (again, ours):  # deleted by the rollback, so only this object is new
        for member in ("uid", "creationTimestamp"):
            del one[f"NetworkPolicy/{DEPLOYMENT}"]["metadata"][member]
    assert again == ours


def test_reused_values_are_refused_and_no_object_changes(release: HelmRelease) -> None:
    before = release.all()
    done = release("upgrade", RELEASE, str(CHART), "--reuse-values")
    assert done.returncode == 1
    assert "--reset-then-reuse-values" in done.stderr
    assert release.all() == before


def test_api_server_accepts_every_set_of_values(release: HelmRelease, tmp_path: Path) -> None:
    """The API server checks defaults, validation and immutable fields, which a schema does not contain."""
    taken = 0
    for number, values in enumerate(SETS.values()):
        # Not for kinds that this server lacks, nor for values that cannot be changed in a release.
        if {"certManager", "nameOverride"} & values.keys():
            continue
        given = {
            **values,
            "serviceMonitor": {"enabled": False},
            "prometheusRule": {"enabled": False},
            "azureTenantID": TENANT,
            "image": {"repository": "podpass", **values.get("image", {})},
        }
        file = tmp_path / f"{number}.yaml"
        file.write_text(json.dumps(given))
        release.run_checked("upgrade", RELEASE, str(CHART), "--reset-values", "--values", str(file))
        taken += 1
    assert taken >= 5


def test_account_has_exactly_the_required_permissions(release: HelmRelease) -> None:
    release.run_checked("upgrade", RELEASE, *OURS)
    account = f"system:serviceaccount:{NAMESPACE}:azure-wi-webhook-admin"

    def can_i(*arguments: str) -> bool:
        done = run_text(
            [release.kubectl.binary, "auth", "can-i", *arguments, f"--as={account}"],
            env=release.kubectl.environ,
        )
        return done.stdout.strip() == "yes"

    own = f"secret/{SECRET}"
    for verb in ("get", "watch", "update"):
        assert can_i(verb, own, "-n", NAMESPACE)
        assert can_i(verb, f"mutatingwebhookconfiguration/{REGISTRATION}")
        assert not can_i(verb, "secret/another", "-n", NAMESPACE)
        assert not can_i(verb, "mutatingwebhookconfiguration/another")
    for verb in ("get", "list", "watch"):
        assert can_i(verb, "serviceaccounts", "--all-namespaces")
    assert can_i("create", "events", "-n", "default")
    # For a deleted Secret of the certificate. RBAC cannot restrict `create` to a name.
    assert can_i("create", "secrets", "-n", NAMESPACE)
    assert not can_i("create", "secrets", "-n", "default")
    for verb, what in (
        ("list", "secrets"),
        ("delete", own),
        ("get", "pods"),
        ("update", "serviceaccounts"),
        ("create", "serviceaccounts/token"),
        ("delete", f"mutatingwebhookconfiguration/{REGISTRATION}"),
        ("get", "configmaps"),
    ):
        assert not can_i(verb, what, "-n", NAMESPACE), (verb, what)

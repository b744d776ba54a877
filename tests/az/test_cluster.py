"""`az aks` with the only cluster: the instance's own."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.az.az_cli import AzCli, names
from tests.journey.instance import Instance

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_CREATE = "aks create -n cluster -g {group} --enable-oidc-issuer --enable-workload-identity"


@pytest.fixture
def clustered(az: AzCli) -> Iterator[str]:
    """Create the cluster in a group; it is deleted after the test, so that the next test can create it."""
    group = f"clusters-{az.version}"
    az(f"group create -n {group} -l westeurope")
    az((_CREATE + " --generate-ssh-keys").format(group=group))
    yield group
    az(f"group delete -n {group} --yes")


def test_cluster_is_shown_and_updated_and_its_credentials_work(
    az: AzCli, instance: Instance, clustered: str, tmp_path: Path
) -> None:
    where = f"-n cluster -g {clustered}"
    shown, listed = az.each(f"aks show {where}", "aks list")
    assert shown["oidcIssuerProfile"] == {
        "enabled": True,
        "issuerUrl": instance.status["kubernetes"]["issuer"],
    }
    assert shown["securityProfile"]["workloadIdentity"] == {"enabled": True}
    assert (shown["provisioningState"], shown["powerState"]["code"]) == ("Succeeded", "Running")
    assert names(listed) == {"cluster"}
    off = az(f"aks update {where} --disable-workload-identity")
    assert not off["securityProfile"]["workloadIdentity"]["enabled"]
    on = az(f"aks update {where} --enable-oidc-issuer --enable-workload-identity")
    assert on["securityProfile"]["workloadIdentity"]["enabled"] is True
    for more in ("", " --admin"):
        file = tmp_path / f"kubeconfig{more.strip()}"
        az(f"aks get-credentials {where} --file {file}{more}")
        done = subprocess.run(
            ["kubectl", "get", "namespaces", "-o", "name", "--kubeconfig", str(file)],
            env=dict(az.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "namespace/default" in done.stdout, done.stderr


def test_a_second_cluster_is_refused(newest: AzCli, group: str) -> None:
    newest(f"group create -n {group} -l westeurope")
    newest((_CREATE + " --no-ssh-key").format(group=group))
    said = newest.refused(f"aks create -n another -g {group} --no-ssh-key")
    assert "podpass has only one cluster" in said
    assert names(newest("aks list")) == {"cluster"}
    assert newest(f"aks delete -n cluster -g {group} --yes") is None
    assert newest("aks list") == []
    assert "(ResourceNotFound)" in newest.refused(f"aks show -n cluster -g {group}")


def test_versions_are_listed(newest: AzCli) -> None:
    found = newest("aks get-versions -l westeurope")
    assert found["values"]

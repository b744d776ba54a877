"""`az aks` with the only cluster: the instance's own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from podpass.crypto import jose
from tests.az.az_cli import AzCli, names, wait_for_result
from tests.journey.instance import Instance
from tests.run_program import run_text

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]

_AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
_USERNAME = "jsonpath={.status.userInfo.username}"
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
        done = run_text(
            ["kubectl", "get", "namespaces", "-o", "name", "--kubeconfig", str(file)],
            env=dict(az.environ),
        )
        assert "namespace/default" in done.stdout, done.stderr


def test_entra_integration_needs_kubelogin_and_rights_in_the_cluster(
    az: AzCli, instance: Instance, clustered: str, tmp_path: Path
) -> None:
    """Use the token of az itself, which kubelogin requests as `--login azurecli`."""
    where, file = f"-n cluster -g {clustered}", tmp_path / "kubeconfig"
    az(f"aks update {where} --enable-aad")
    az(f"aks get-credentials {where} --file {file}")
    [user] = yaml.safe_load(file.read_text())["users"]
    plugin = user["user"]["exec"]
    assert (user["name"], plugin["command"]) == (f"clusterUser_{clustered}_cluster", "kubelogin")
    assert {_AKS_SERVER, instance.status["tenant_id"]} < set(plugin["args"])
    az(f"aks get-credentials {where} --file {file} --admin")
    token = az(f"account get-access-token --resource {_AKS_SERVER}")["accessToken"]
    _kubectl(az, file, "config", "set-credentials", "entra", f"--token={token}")
    admin = instance.status["admin"]["username"]
    assert _kubectl(az, file, "--user=entra", "auth", "whoami", "-o", _USERNAME) == admin
    assert _kubectl(az, file, "--user=entra", "auth", "can-i", "list", "pods") == "no"
    role, name = "--clusterrole=view", f"entra-{az.version}"
    _kubectl(az, file, "create", "clusterrolebinding", name, role, f"--user={admin}")
    assert _kubectl(az, file, "--user=entra", "auth", "can-i", "list", "pods") == "yes"
    _kubectl(az, file, "delete", "clusterrolebinding", name)
    done = az(
        f"aks command invoke {where} -o json --command", f"kubectl auth whoami -o {_USERNAME}"
    )
    assert (done["logs"], done["exitCode"]) == (admin, 0)
    done = az(f"aks command invoke {where} -o json --command 'kubectl get namespaces'")
    assert "is forbidden" in done["logs"]


def _kubectl(az: AzCli, kubeconfig: Path, *words: str) -> str:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *words]
    environ = dict(az.environ)
    done = run_text(command, env=environ)
    return (done.stdout or done.stderr).strip()


def _can_list(az: AzCli, kubeconfig: Path) -> bool:
    done = run_text(
        ["kubectl", "get", "namespaces", "-o", "name", "--kubeconfig", str(kubeconfig)],
        env=dict(az.environ),
    )
    return "namespace/default" in done.stdout


def test_rotated_signing_keys_are_valid_together(
    az: AzCli, instance: Instance, clustered: str
) -> None:
    """Rotate, and rotate again: the first key is withdrawn by the second rotation."""
    where = f"-n cluster -g {clustered}"
    first = instance.token("web")
    _rotate_keys(az, instance, where)
    second = instance.token("web")
    assert _published_keys(instance) == [_kid(second), _kid(first)]
    said = az.refused(f"aks oidc-issuer rotate-signing-keys -n absent -g {clustered} --yes")
    assert "(ResourceNotFound)" in said
    _rotate_keys(az, instance, where)
    third = instance.token("web")
    assert _published_keys(instance) == [_kid(third), _kid(second)]
    assert instance.run_pod(f"keys-{az.version.replace('.', '-')}", "web") == (
        "Succeeded",
        "hello\n",
    )


def test_rotated_certificates_need_new_credentials(
    az: AzCli, instance: Instance, clustered: str, tmp_path: Path
) -> None:
    where, file = f"-n cluster -g {clustered}", tmp_path / "kubeconfig"
    get = f"aks get-credentials {where} --file {file} --overwrite-existing"
    az(get)
    assert _can_list(az, file)
    authority = instance.data_dir / "ca" / "ca.pem"
    old = authority.read_bytes()
    az(f"aks rotate-certs {where} --yes")
    wait_for_result(lambda: authority.read_bytes() != old, seconds=60)
    wait_for_result(lambda: not (instance.data_dir / "ca" / "next.pem").exists(), seconds=60)
    assert not _can_list(az, file)
    az(get)
    assert _can_list(az, file)
    assert instance.run_pod(f"certs-{az.version.replace('.', '-')}", "web") == (
        "Succeeded",
        "hello\n",
    )


def _rotate_keys(az: AzCli, instance: Instance, where: str) -> None:
    """Rotate, and wait until the new key signs."""
    old = _kid(instance.token("web"))
    az(f"aks oidc-issuer rotate-signing-keys {where} --yes")
    wait_for_result(lambda: _kid(instance.token("web")) != old, seconds=60)


def _kid(token: str) -> str | None:
    return jose.parse(token).kid


def _published_keys(instance: Instance) -> list[str]:
    """Return the key IDs that the cluster publishes, the active key first."""
    done = run_text(
        ["kubectl", "get", "--raw", "/openid/v1/jwks"],
        env={**os.environ, "KUBECONFIG": instance.status["kubernetes"]["kubeconfig"]},
        check=True,
    )
    return [key["kid"] for key in json.loads(done.stdout)["keys"]]


def test_a_second_cluster_is_refused(newest: AzCli, group: str) -> None:
    newest(f"group create -n {group} -l westeurope")
    newest((_CREATE + " --no-ssh-key").format(group=group))
    said = newest.refused(f"aks create -n another -g {group} --no-ssh-key")
    assert "podpass has only one cluster" in said
    assert names(newest("aks list")) == {"cluster"}
    assert newest(f"aks delete -n cluster -g {group} --yes") is None
    assert newest("aks list") == []
    assert "(ResourceNotFound)" in newest.refused(f"aks show -n cluster -g {group}")


def test_command_runs_in_the_cluster(az: AzCli, clustered: str) -> None:
    where = f"-n cluster -g {clustered}"
    line = "kubectl get namespaces -o name; exit 3"
    done = az(f"aks command invoke {where} -o json --command", line)
    assert "namespace/kube-system" in done["logs"].splitlines()
    assert (done["provisioningState"], done["exitCode"]) == ("Succeeded", 3)
    again = az(f"aks command result {where} -o json --command-id {done['id']}")
    assert again["logs"] == done["logs"]
    assert "(NotFound)" in az.refused(f"aks command result {where} --command-id {'0' * 32}")


def test_check_acr_reports_that_there_is_no_registry(az: AzCli, clustered: str) -> None:
    done = az.run(f"aks check-acr -n cluster -g {clustered} --acr none.azurecr.io")
    assert "podpass image add" in done.stdout + done.stderr


def test_versions_are_listed(newest: AzCli) -> None:
    found = newest("aks get-versions -l westeurope")
    assert found["values"]

"""An instance with --flexible-kubernetes: one credential trusts a ServiceAccount in many namespaces."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.journey.instance import CLIENT, SECOND_CLIENT, Instance, started

pytestmark = pytest.mark.processes

EXPRESSION = "claims['sub'] matches 'system:serviceaccount:{}*:sa-*'"
SEED = """
identities:
  - name: web
    client_id: {}
    federated_credentials:
      - {{name: every-env, issuer: cluster, expression: "{}"}}
"""


@pytest.fixture(scope="module")
def flexible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("flexible"), "--flexible-kubernetes") as running:
        yield running


def apply(instance: Instance, prefix: str, folder: Path) -> str:
    """Apply a seed with an expression for the namespaces with a prefix; return stderr."""
    seed = folder / "seed.yaml"
    seed.write_text(SEED.format(CLIENT, EXPRESSION.format(prefix)))
    return instance.podpass("apply", "-f", str(seed), check=False).stderr


def run_in(instance: Instance, namespace: str, client: str, vault: str) -> tuple[str, str]:
    """Read a secret from a pod of a new namespace; return the phase and the log."""
    instance.core.create_namespace({"metadata": {"name": namespace}})
    there = replace(instance, namespace=namespace)
    there.account("sa-web", {"azure.workload.identity/client-id": client})
    return there.run_pod("reader", "sa-web", vault)


def read_extensions(instance: Instance) -> object:
    status = instance.status
    url = f"{status['authority']}/{status['tenant_id']}/v2.0/.well-known/openid-configuration"
    document = requests.get(url, verify=status["ca_file"], timeout=30).json()
    return document.get("podpass_extensions")


def test_pods_of_matching_namespaces_get_tokens_and_their_log_lines_say_that_entra_has_none(
    flexible: Instance, tmp_path: Path
) -> None:
    assert apply(flexible, "env-", tmp_path) == ""
    assert run_in(flexible, "env-1", CLIENT, "journey-vault") == ("Succeeded", "hello\n")
    phase, log = run_in(flexible, "other", CLIENT, "journey-vault")
    assert phase == "Failed"
    assert "AADSTS7002131" in log

    trust = (
        "--service-account-name",
        "sa-web",
        "--aad-application-object-id",
        application(flexible),
    )
    expression = ("--claims-matching-expression", EXPRESSION.format("pr-"))
    issuer = ("--service-account-issuer-url", flexible.status["kubernetes"]["issuer"])
    create = (
        "serviceaccount",
        "create",
        "phase",
        "federated-identity",
        "--auth-method",
        "instance",
    )
    flexible.podpass(*create, *trust, *issuer, *expression)
    found = run_in(flexible, "pr-7", SECOND_CLIENT, "second-vault")
    assert found == ("Succeeded", "hello from the second\n")

    assert read_extensions(flexible) == ["flexible_kubernetes"]
    lines = map(json.loads, (flexible.data_dir / "podpass.log").read_text().splitlines())
    marked = {line["sub"] for line in lines if "not_in_entra" in line}
    assert marked == {
        "system:serviceaccount:env-1:sa-web",
        "system:serviceaccount:pr-7:sa-web",
    }


def application(instance: Instance) -> str:
    listed = json.loads(instance.podpass("identity", "list", "-o", "json").stdout)
    [found] = [each["application_id"] for each in listed if each["client_id"] == SECOND_CLIENT]
    return str(found)


def test_pattern_that_does_not_fix_the_namespace_is_refused(
    flexible: Instance, tmp_path: Path
) -> None:
    assert "--allow-wide" in apply(flexible, "e", tmp_path)


def test_instance_without_the_option_refuses_the_expression_and_names_it(
    instance: Instance, tmp_path: Path
) -> None:
    assert "--flexible-kubernetes" in apply(instance, "env-", tmp_path)
    assert read_extensions(instance) is None

"""`podpass graph` on a running instance: read with the clients that it uses on Azure, too."""

import asyncio
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from podpass.kubernetes.client import KubeClient
from tests.kubeconfigs import build_kubeconfig
from tests.lab.instance.instances import CLIENT, Podpass

pytestmark = pytest.mark.processes

OTHER = "22222222-aaaa-4bbb-8ccc-0000000000a1"
SEED = f"""
identities:
  - name: graph-app
    kind: application
    client_id: {OTHER}
    federated_credentials:
      - {{name: ci-main, issuer: "https://ci.example", subject: "repo:a"}}
      - {{name: typo, issuer: cluster, subject: "system:serviceaccount:graph:readr"}}
      - {{name: right, issuer: cluster, subject: "system:serviceaccount:graph:reader"}}
vaults:
  - name: graph-vault
    secrets: {{greeting: hello}}
    access: [{{identity: graph-app, role: Key Vault Secrets Officer}}]
"""


@pytest.fixture(scope="module")
def seeded(running: Podpass, tmp_path_factory: pytest.TempPathFactory) -> Podpass:
    """The instance with an application, and two accounts that name it."""
    seed = tmp_path_factory.mktemp("seed") / "seed.yaml"
    seed.write_text(SEED)
    done = running("apply", "-f", str(seed))
    assert done.returncode == 0, done.stderr
    asyncio.run(_create_accounts(Path(running.status()["kubernetes"]["kubeconfig"])))
    return running


async def _create_accounts(kubeconfig: Path) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await client.create("/api/v1/namespaces", {"metadata": {"name": "graph"}})
        for name in ("reader", "readr-old"):
            metadata = {"name": name, "annotations": {names.CLIENT_ID: OTHER}}
            path = "/api/v1/namespaces/graph/serviceaccounts"
            await client.create(path, {"metadata": metadata})


def graph(podpass: Podpass, *words: str) -> dict[str, Any]:
    done = podpass("graph", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_graph_is_read_from_graph_resource_manager_and_cluster(seeded: Podpass) -> None:
    document = graph(seeded, "graph-app")
    assert document["unread"] == []
    status = seeded.status()
    assert document["issuer"] == status["kubernetes"]["issuer"]
    [found] = [each for each in document["nodes"] if each["kind"] == "identity"]
    assert (found["client_id"], found["credentials"], found["can_sign_in"]) == (OTHER, 3, True)
    [reached] = [each for each in document["edges"] if each["kind"] == "reaches"]
    assert reached["to"].endswith("/vaults/graph-vault")
    assert reached["operations"][:3] == ["get", "list", "set"]
    matches = [each for each in document["edges"] if each["kind"] == "matches"]
    assert matches == [
        {
            "from": "account/graph/reader",
            "to": f"credential/{OTHER}/right",
            "kind": "matches",
            "injected_token": True,
        }
    ]
    codes = {(each["code"], each["object"]) for each in document["findings"]}
    assert codes == {
        ("account_not_trusted", "ServiceAccount graph/readr-old"),
        ("subject_matches_nothing", "credential typo of graph-app"),
        ("credential_not_used", "credential right of graph-app"),
    }


def test_issuers_outside_the_allowed_list_are_named(seeded: Podpass) -> None:
    issuer = seeded.status()["kubernetes"]["issuer"]
    document = graph(seeded, "graph-app", "--allow-issuer", issuer)
    found = [
        each["object"] for each in document["findings"] if each["code"] == "issuer_not_allowed"
    ]
    assert found == ["credential ci-main of graph-app"]


def test_graph_of_a_namespace_is_written_for_80_columns(seeded: Podpass) -> None:
    done = seeded("graph", "graph", env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"graph-app: application, client id {OTHER}, 3 of\n" in done.stdout
    assert "<- ServiceAccount graph/reader, by credential right" in done.stdout
    assert "-> vaults graph-vault: get, list, set" in done.stdout
    # A command is one line, so that it can be copied.
    assert [each for each in lines if len(each) > 80 and "fix: " not in each] == []


def test_graph_is_drawn_as_svg_and_mermaid(seeded: Podpass) -> None:
    svg = seeded("graph", "graph-app", "-o", "svg")
    root = ET.fromstring(svg.stdout)
    assert root.tag.endswith("svg")
    assert "graph-vault" in svg.stdout
    mermaid = seeded("graph", "graph-app", "-o", "mermaid")
    assert mermaid.stdout.startswith("flowchart LR\n")


def test_graph_shows_the_last_exchange_of_a_credential(seeded: Podpass) -> None:
    before = graph(seeded, CLIENT)
    [node] = [each for each in before["nodes"] if each["id"] == f"credential/{CLIENT}/web"]
    if node["last_exchange"] is None:
        asyncio.run(_create_account(Path(seeded.status()["kubernetes"]["kubeconfig"])))
        program = (
            "from azure.identity import WorkloadIdentityCredential as C;"
            "C().get_token('https://vault.azure.net/.default')"
        )
        done = seeded("run", "-q", "--as", "web", "--", sys.executable, "-c", program)
        assert done.returncode == 0, done.stderr
    [node] = [
        each for each in graph(seeded, CLIENT)["nodes"] if each["id"] == f"credential/{CLIENT}/web"
    ]
    assert node["last_exchange"] is not None


async def _create_account(kubeconfig: Path) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        metadata = {"name": "web", "annotations": {names.CLIENT_ID: CLIENT}}
        await client.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": metadata})


def test_unreadable_parts_of_the_graph_are_reported_with_exit_code_3(seeded: Podpass) -> None:
    """The caller is a workload that may read the secrets of a vault and nothing else."""
    status = seeded.status()
    words = (*seeded.command("graph")[:3], "graph", "--auth-method", "default", "-o", "json")
    done = seeded(
        *("run", "-q", "--as", "reader", "-n", "graph", "--"),
        *words,
        *("--subscription-id", status["subscription_id"]),
        *("--kubeconfig", status["kubernetes"]["kubeconfig"]),
    )
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    unread = {each.partition(":")[0] for each in document["unread"]}
    assert {"applications", "managed identities", "role assignments"} <= unread
    assert "podpass: not read: applications: Microsoft Graph refused" in done.stderr
    # The identities of the accounts may exist: nothing is reported about them.
    assert document["findings"] == []


def test_unreachable_cluster_is_reported_with_exit_code_3(seeded: Podpass, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(json.dumps(build_kubeconfig("http://127.0.0.1:1", {"token": "t"})))
    method = ("--auth-method", "instance", "--kubeconfig", str(kubeconfig))
    done = seeded("graph", *method)
    assert done.returncode == 3, done.stderr
    assert "ServiceAccounts of the cluster: no answer from http://127.0.0.1:1" in " ".join(
        done.stdout.split()
    )


def test_instance_is_read_with_its_kubeconfig_in_the_environment(seeded: Podpass) -> None:
    """As after `export KUBECONFIG=...`; the file of another cluster belongs to an account of Azure."""
    own = seeded.status()["kubernetes"]["kubeconfig"]
    for command in ("graph", "lint"):
        done = seeded(command, env={"KUBECONFIG": own})
        assert "subscription" not in done.stderr
        assert done.returncode in (0, 1), done.stderr
    done = seeded("graph", env={"KUBECONFIG": f"{own}-of-another-cluster"})
    assert done.returncode == 2
    assert "no Azure subscription is selected" in done.stderr


def test_output_has_no_token(seeded: Podpass) -> None:
    for form in ("text", "json", "svg", "mermaid"):
        done = seeded("graph", "-o", form)
        assert "eyJ" not in done.stdout + done.stderr


def test_unknown_name_is_refused(seeded: Podpass) -> None:
    done = seeded("graph", "graph-ap")
    assert done.returncode == 2
    assert "did you mean graph-app" in done.stderr

"""schemathesis sends valid and invalid requests to each API, generated from its OpenAPI description."""

import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.clients.installation import install_python
from tests.journey.instance import Instance
from tests.peers.rest import ARM, GRAPH, VAULT, RestClient

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1000)]

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"


def _write_description(description: str, folder: Path, values: dict[str, list[str]]) -> Path:
    """Write a description with the instance's ids as parameters, so that most calls are authorized."""
    document = json.loads((FOLDER / f"{description}.json").read_text())
    for parameter, taken in values.items():
        document["components"]["parameters"][parameter]["schema"] = {
            "type": "string",
            "enum": taken,
        }
    path = folder / f"{description}.json"
    path.write_text(json.dumps(document))
    return path


def _run(
    instance: Instance, description: Path, url: str, token: str | None, examples: int
) -> subprocess.CompletedProcess[str]:
    python = install_python("schemathesis")
    printed = json.loads(instance.podpass("env", "-o", "json").stdout)
    bearer = ["-H", f"Authorization: Bearer {token}"] if token else []
    checked = ["--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", "1"]
    # No time limit: with one, each run sends other requests, and the fuzzing phase fills the time.
    bounded = ["--no-shrink", "--continue-on-failure"]
    quiet = ["--generation-database", "none", "--warnings", "off", "--no-color"]
    phases = ["--phases", "examples,coverage,fuzzing", "--mode", "all"]
    program = str(Path(python[0]).with_name("schemathesis"))
    command = [program, "run", str(description), "--url", url]
    command += [*checked, *bounded, *quiet, *phases, *bearer]
    return subprocess.run(
        command,
        env={**os.environ, **printed},
        cwd=description.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def _count_calls(done: subprocess.CompletedProcess[str]) -> int:
    """Return the number of calls if all responses were as described."""
    # schemathesis prints bearer tokens in its commands for repeating a call.
    lines = [line for line in done.stdout.splitlines() if "Authorization" not in line]
    assert done.returncode == 0, "\n".join(lines)[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    assert found[1] == found[2]
    return int(found[1])


def test_resource_manager_responds_as_described(
    instance: Instance, rest: RestClient, tmp_path: Path
) -> None:
    subscription = instance.status["subscription_id"]
    group = f"/subscriptions/{subscription}/resourceGroups/fuzzed?api-version=2024-11-01"
    rest("PUT", group, {"location": "westeurope"})
    own: dict[str, list[str]] = {
        "subscription": [subscription],
        "group": ["fuzzed", "fuzzed-2"],
        "name": ["fuzzed-name", str(uuid.uuid4())],
        "zone": ["fuzzed.test", "fuzzed"],
        "record": ["@", "fuzzed", "*"],
        "identity": ["fuzzed-name"],
        "location": ["westeurope"],
        "namespace": ["Microsoft.KeyVault", "Microsoft.Nothing"],
        "kind": ["add", "replace", "remove", "other"],
    }
    description = _write_description("resource-manager", tmp_path, own)
    token = rest.token(ARM)
    assert _count_calls(_run(instance, description, "https://management.azure.com", token, 4)) > 100


def test_graph_responds_as_described(instance: Instance, rest: RestClient, tmp_path: Path) -> None:
    _, made = rest("POST", "/v1.0/applications", {"displayName": "fuzzed"})
    # A principal of its own: the requests disable it, and other tests use that of the seed.
    _, principal = rest("POST", "/v1.0/servicePrincipals", {"appId": made["appId"]})
    missing = str(uuid.uuid4())
    own: dict[str, list[str]] = {
        "application": [made["id"], missing],
        "principal": [principal["id"], missing],
        "credential": ["trust", missing],
        "owner": [principal["id"], missing],
    }
    description = _write_description("graph", tmp_path, own)
    token = rest.token(GRAPH)
    assert _count_calls(_run(instance, description, "https://graph.microsoft.com", token, 4)) > 100


def test_vault_responds_as_described(instance: Instance, rest: RestClient, tmp_path: Path) -> None:
    _, me = rest("GET", "/v1.0/me")
    scope = f"/subscriptions/{instance.status['subscription_id']}"
    base = f"{scope}/providers/Microsoft.Authorization"
    properties = {
        "roleDefinitionId": f"{base}/roleDefinitions/{_OFFICER}",
        "principalId": me["id"],
        "principalType": "User",
    }
    path = f"{base}/roleAssignments/{uuid.uuid4()}?api-version=2022-04-01"
    status, answer = rest("PUT", path, {"properties": properties})
    assert status == 201, answer
    description = _write_description("keyvault", tmp_path, {"secretName": ["greeting", "fuzzed"]})
    token, url = rest.token(VAULT), "https://journey-vault.vault.azure.net"
    assert _count_calls(_run(instance, description, url, token, 8)) > 100


def test_token_service_responds_as_described(instance: Instance, tmp_path: Path) -> None:
    own = [instance.status["tenant_id"], "common", str(uuid.uuid4())]
    description = _write_description("token", tmp_path, {"tenant": own})
    assert (
        _count_calls(_run(instance, description, "https://login.microsoftonline.com", None, 8))
        > 100
    )
    # The service still works after these requests.
    assert RestClient(instance).token(ARM)

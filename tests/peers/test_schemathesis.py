"""schemathesis sends valid and invalid requests to each API, generated from its OpenAPI description.

The requests have the examples and the limits of the description, and are the same in each run. With
PODPASS_SCHEMATHESIS_EXAMPLES=N, as in `make soak`, it also sends N random requests to each operation.
"""

import collections
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.clients.installation import install_python
from tests.journey.instance import Instance
from tests.peers.rest import ARM, GRAPH, VAULT, RestClient
from tests.run_program import run_text

_RANDOM = int(os.environ.get("PODPASS_SCHEMATHESIS_EXAMPLES", "0"))
_SECONDS = 900 + 900 * _RANDOM

pytestmark = [pytest.mark.peers, pytest.mark.timeout(_SECONDS + 100)]

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Officers of secrets, keys and certificates.
_OFFICERS = (
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603",
    "a4417e6f-fecd-4de8-b567-7b0420556985",
)


def _write_description(description: str, folder: Path, values: dict[str, list[str]]) -> Path:
    """Write a description with the instance's ids as parameters, so that most calls are authorized."""
    document = json.loads((FOLDER / f"{description}.json").read_text())
    if not _RANDOM:
        _keep_one_optional_parameter(document)
    for parameter, taken in values.items():
        document["components"]["parameters"][parameter]["schema"] = {
            "type": "string",
            "enum": taken,
        }
    path = folder / f"{description}.json"
    path.write_text(json.dumps(document))
    return path


def _keep_one_optional_parameter(document: dict[str, Any]) -> None:
    """Keep one optional parameter of each operation, in turn another one of those that operations share.

    schemathesis combines every invalid value of a parameter with each optional one: 75 requests to each list.
    """
    shared = document["components"]["parameters"]
    turn = 0
    for operation in (each for path in document["paths"].values() for each in path.values()):
        listed = operation.get("parameters", [])
        names = [parameter.get("$ref", "").rpartition("/")[2] for parameter in listed]
        optional = [name for name in names if name and not shared[name].get("required")]
        if len(optional) > 1:
            removed = {*optional} - {optional[turn % len(optional)]}
            turn += 1
            operation["parameters"] = [
                each for each, name in zip(listed, names, strict=True) if name not in removed
            ]


def _call_operations(instance: Instance, description: Path, url: str, token: str | None) -> int:
    """Send valid and invalid requests to each operation; return how many were answered as described."""
    python = install_python("schemathesis")
    printed = json.loads(instance.podpass("env", "-o", "json").stdout)
    report = description.with_suffix(".ndjson")
    command = [
        str(Path(python[0]).with_name("schemathesis")),
        "run",
        str(description),
        "--url",
        url,
    ]
    command += ["--checks", ",".join(CHECKS), "--no-shrink", "--continue-on-failure"]
    command += ["--generation-database", "none", "--warnings", "off", "--no-color", "--mode", "all"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report)]
    # Random requests use another seed in each run, which schemathesis prints. There is no time limit: with
    # one, the random requests fill the time.
    command += (
        ["--phases", "examples,coverage,fuzzing", "--max-examples", str(_RANDOM)]
        if _RANDOM
        else ["--phases", "examples,coverage", "--seed", "1"]
    )
    done = run_text(
        [*command, *(["-H", f"Authorization: Bearer {token}"] if token else [])],
        env={**os.environ, **printed},
        cwd=description.parent,
        timeout=_SECONDS,
    )
    # schemathesis prints bearer tokens in its commands for repeating a call.
    lines = [line for line in done.stdout.splitlines() if "Authorization" not in line]
    assert done.returncode == 0, "\n".join(lines)[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout[-2000:]
    assert found[1] == found[2]
    assert _read_modes(report) == {
        operation: {"positive", "negative"} for operation in _operations(description)
    }
    return int(found[1])


def _operations(description: Path) -> list[str]:
    paths = json.loads(description.read_text())["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def _read_modes(report: Path) -> dict[str, set[str]]:
    """Return which kinds of requests the service answered, for each operation."""
    modes: dict[str, set[str]] = collections.defaultdict(set)
    for line in report.read_text().splitlines():
        found = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for number, case in found.get("cases", {}).items():
            if "response" in found["interactions"].get(number, {}):
                modes[found["label"]].add(case["value"]["meta"]["generation"]["mode"])
    return modes


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
    assert _call_operations(instance, description, "https://management.azure.com", token) > 100


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
    assert _call_operations(instance, description, "https://graph.microsoft.com", token) > 100


def test_vault_responds_as_described(instance: Instance, rest: RestClient, tmp_path: Path) -> None:
    _, me = rest("GET", "/v1.0/me")
    scope = f"/subscriptions/{instance.status['subscription_id']}"
    base = f"{scope}/providers/Microsoft.Authorization"
    for officer in _OFFICERS:
        properties = {
            "roleDefinitionId": f"{base}/roleDefinitions/{officer}",
            "principalId": me["id"],
            "principalType": "User",
        }
        path = f"{base}/roleAssignments/{uuid.uuid4()}?api-version=2022-04-01"
        status, answer = rest("PUT", path, {"properties": properties})
        assert status == 201, answer
    own = {
        "secretName": ["greeting", "fuzzed"],
        "keyName": ["signing", "fuzzed"],
        "certificateName": ["www", "fuzzed-certificate"],
        "issuerName": ["ca", "fuzzed"],
    }
    description = _write_description("keyvault", tmp_path, own)
    token, url = rest.token(VAULT), "https://journey-vault.vault.azure.net"
    assert _call_operations(instance, description, url, token) > 100


def test_token_service_responds_as_described(instance: Instance, tmp_path: Path) -> None:
    own = [instance.status["tenant_id"], "common", str(uuid.uuid4())]
    description = _write_description("token", tmp_path, {"tenant": own})
    url = "https://login.microsoftonline.com"
    assert _call_operations(instance, description, url, None) > 100
    # The service still works after these requests.
    assert RestClient(instance).token(ARM)

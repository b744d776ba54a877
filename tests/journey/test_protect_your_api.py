"""The example of the guide "protect your API": apply it, run it, and call the API from a pod."""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.journey.instance import Instance
from tests.ports import free_port

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parents[2] / "examples" / "protect-your-api"
API = "3f0d4a52-6f0e-4c2b-9d5e-5b1c7d2a8e10"
SHOP = "8a6be2b1-0c54-4f3d-8d6e-93c1f5b7a2d4"


def until(what: str, holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def is_ready(core: Any, name: str) -> bool:
    conditions = core.read_namespaced_pod(name, "default").status.conditions or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


Documents = dict[tuple[str, str], Any]


def run_shop(core: Any, documents: Documents, name: str) -> list[str]:
    """Run the calling pod, and return the lines of its log."""
    core.create_namespaced_pod(
        "default",
        {
            **documents["Pod", "shop"],
            "metadata": {**documents["Pod", "shop"]["metadata"], "name": name},
        },
    )

    def phase() -> str:
        return str(core.read_namespaced_pod(name, "default").status.phase)

    until("the calling pod does not end", lambda: phase() in ("Succeeded", "Failed"))
    log = str(core.read_namespaced_pod_log(name, "default"))
    assert phase() == "Succeeded", log
    return [line for line in log.splitlines() if line.startswith(("GET", "DELETE"))]


@pytest.fixture(scope="module")
def documents(instance: Instance) -> Documents:
    """Follow the guide until the API is ready."""
    instance.podpass("apply", "-f", str(EXAMPLE / "seed.yaml"))
    core = instance.core
    programs = {name: (EXAMPLE / name).read_text() for name in ("api.py", "client.py")}
    core.create_namespaced_config_map("default", {"metadata": {"name": "orders"}, "data": programs})
    text = (EXAMPLE / "app.yaml").read_text().replace("8086", str(free_port()))
    found = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
    for name in ("orders", "shop"):
        core.create_namespaced_service_account("default", found["ServiceAccount", name])
    core.create_namespaced_service("default", found["Service", "orders"])
    core.create_namespaced_pod("default", found["Pod", "orders"])
    until("the API does not get ready", lambda: is_ready(core, "orders"))
    return found


@pytest.fixture(scope="module")
def output_lines(instance: Instance, documents: Documents) -> list[str]:
    return run_shop(instance.core, documents, "shop")


def graph(instance: Instance, method: str, path: str, body: Any = None) -> Any:
    """Send a request to Graph as the administrator, as `az rest` does."""
    status, verify = instance.status, instance.status["ca_file"]
    form = {
        "grant_type": "password",
        "client_id": "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        "scope": "https://graph.microsoft.com/.default",
        **status["admin"],
    }
    url = f"{status['authority']}/{status['tenant_id']}/oauth2/v2.0/token"
    token = requests.post(url, data=form, verify=verify, timeout=10).json()["access_token"]
    answer = requests.request(
        method,
        f"{status['graph']}/v1.0/{path}",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
        verify=verify,
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer.json() if answer.content else None


def test_a_call_without_a_token_is_refused(output_lines: list[str]) -> None:
    assert output_lines[0].startswith("GET /orders 401 ")


def test_a_token_for_another_resource_is_refused(output_lines: list[str]) -> None:
    assert output_lines[1].startswith("GET /orders 401 ")
    assert "the token is for another resource" in output_lines[1]


def test_token_for_the_api_identifies_the_calling_pod(output_lines: list[str]) -> None:
    assert output_lines[2].startswith("GET /orders 200 ")
    assert SHOP in output_lines[2]


def test_caller_without_the_role_gets_an_error_with_the_missing_role(
    output_lines: list[str],
) -> None:
    assert output_lines[3].startswith("DELETE /orders/tea 403 ")
    assert "the caller lacks the role Orders.Cancel" in output_lines[3]


def test_caller_with_the_role_is_allowed(
    instance: Instance, documents: Documents, output_lines: list[str]
) -> None:
    assert " 403 " in output_lines[3]
    role = {
        "id": str(uuid.uuid4()),
        "value": "Orders.Cancel",
        "displayName": "Cancel orders",
        "description": "Cancel orders",
        "allowedMemberTypes": ["Application"],
        "isEnabled": True,
    }
    graph(instance, "PATCH", f"applications(appId='{API}')", {"appRoles": [role]})
    orders, shop = (
        graph(instance, "GET", f"servicePrincipals(appId='{each}')")["id"] for each in (API, SHOP)
    )
    given = {"principalId": shop, "resourceId": orders, "appRoleId": role["id"]}
    graph(instance, "POST", f"servicePrincipals/{shop}/appRoleAssignments", given)
    again = run_shop(instance.core, documents, "shop-again")
    assert again[3] == 'DELETE /orders/tea 200 {"cancelled":"tea"}'


def test_example_uses_the_same_api_in_all_files() -> None:
    for name in ("seed.yaml", "app.yaml"):
        assert API in (EXAMPLE / name).read_text()
        assert SHOP in (EXAMPLE / name).read_text()

"""The example of an API of one's own, as the guide has it: applied, run, and asked from a pod."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from journey.instance import Instance

EXAMPLE = Path(__file__).parents[2] / "examples" / "protect-your-api"
API = "3f0d4a52-6f0e-4c2b-9d5e-5b1c7d2a8e10"
SHOP = "8a6be2b1-0c54-4f3d-8d6e-93c1f5b7a2d4"


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def until(what: str, holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def is_ready(core: Any, name: str) -> bool:
    conditions = core.read_namespaced_pod(name, "default").status.conditions or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


@pytest.fixture(scope="module")
def printed(instance: Instance) -> list[str]:
    """Do what the guide says, and give the lines the calling pod printed."""
    instance.podpass("apply", "-f", str(EXAMPLE / "seed.yaml"))
    core = instance.core
    programs = {name: (EXAMPLE / name).read_text() for name in ("api.py", "client.py")}
    core.create_namespaced_config_map("default", {"metadata": {"name": "orders"}, "data": programs})
    text = (EXAMPLE / "app.yaml").read_text().replace("8086", free_port())
    documents = {
        (each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)
    }
    for name in ("orders", "shop"):
        core.create_namespaced_service_account("default", documents["ServiceAccount", name])
    core.create_namespaced_pod("default", documents["Pod", "orders"])
    until("the API does not get ready", lambda: is_ready(core, "orders"))
    core.create_namespaced_pod("default", documents["Pod", "shop"])

    def phase() -> str:
        return str(core.read_namespaced_pod("shop", "default").status.phase)

    until("the calling pod does not end", lambda: phase() in ("Succeeded", "Failed"))
    log = str(core.read_namespaced_pod_log("shop", "default"))
    assert phase() == "Succeeded", log
    return [line for line in log.splitlines() if line.startswith(("GET", "DELETE"))]


def test_a_call_without_a_token_is_refused(printed: list[str]) -> None:
    assert printed[0].startswith("GET /orders 401 ")


def test_a_token_for_another_resource_is_refused(printed: list[str]) -> None:
    assert printed[1].startswith("GET /orders 401 ")
    assert "the token is for another resource" in printed[1]


def test_a_token_for_the_api_names_the_pod_that_calls(printed: list[str]) -> None:
    assert printed[2].startswith("GET /orders 200 ")
    assert SHOP in printed[2]


def test_a_caller_without_the_role_is_told_which_one_it_lacks(printed: list[str]) -> None:
    assert printed[3].startswith("DELETE /orders/tea 403 ")
    assert "the caller lacks the role Orders.Cancel" in printed[3]


def test_the_example_names_one_api_throughout() -> None:
    for name in ("seed.yaml", "app.yaml"):
        assert API in (EXAMPLE / name).read_text()
        assert SHOP in (EXAMPLE / name).read_text()

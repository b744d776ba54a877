"""The published OpenAPI descriptions and the route tables have the same paths and methods."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from podpass.directory.graph.paths import USERINFO
from podpass.directory.graph.routes import TABLE
from podpass.directory.resource_manager import endpoints
from podpass.directory.resource_manager.app import list_routes
from podpass.exchange import app, error_page, metadata
from podpass.exchange.sign_in import app as signin_app
from podpass.exchange.sign_in import pages
from podpass.lab.services import list_providers

ROUTES = list_routes(list_providers())

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
_METHODS = {"get", "head", "put", "post", "patch", "delete"}


def _document(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _documented_operations(name: str) -> set[tuple[str, str]]:
    """Return methods and paths; the names of path parameters do not matter."""
    return {
        (method.upper(), re.sub(r"\{[^}]*\}", "*", path).lower())
        for path, methods in _document(name)["paths"].items()
        for method in methods
        if method in _METHODS
    }


def test_resource_manager_is_described_as_it_is_served() -> None:
    served = {
        (route.method, "/" + re.sub(r"\{[^}]*\}", "*", route.path).lower().lstrip("/"))
        for route in ROUTES
    }
    assert _documented_operations("resource-manager") == served | {
        ("GET", f"/{endpoints.PATH}".lower())
    }


def test_graph_is_described_as_it_is_served() -> None:
    served = {
        (method, ("/" if path == USERINFO else "/v1.0/") + "/".join(path))
        for path, methods in TABLE.items()
        for method in methods
    }
    assert _documented_operations("graph") == served | {("POST", "/v1.0/$batch")}


def test_the_token_service_is_described_as_it_is_served() -> None:
    posts = [*app._TOKEN_VERSIONS, *signin_app._DEVICE_CODE, pages.LOGIN]
    gets = [
        *metadata.PATHS,
        *signin_app._AUTHORIZE,
        *signin_app._LOGOUT,
        signin_app.DEVICE_PAGE,
        "discovery/instance",
    ]
    served = {("POST", f"/*/{path}") for path in posts} | {("GET", f"/*/{path}") for path in gets}
    served |= {("GET", f"/common/{signin_app._REALM}*"), ("GET", f"/{error_page.PATH}")}
    assert _documented_operations("token") == served


@pytest.mark.parametrize("name", ["graph", "resource-manager", "token"])
def test_all_references_of_a_description_resolve_and_all_schemas_are_used(name: str) -> None:
    document = _document(name)
    used = set(re.findall(r'"#/components/(\w+)/([\w.-]+)"', json.dumps(document)))
    kept = {
        (kind, each)
        for kind, entries in document["components"].items()
        if kind != "securitySchemes"
        for each in entries
    }
    assert used == kept


@pytest.mark.parametrize("name", ["graph", "resource-manager", "token"])
def test_every_operation_id_is_unique(name: str) -> None:
    names = [
        methods[method]["operationId"]
        for methods in _document(name)["paths"].values()
        for method in methods
        if method in _METHODS
    ]
    assert len(names) == len(set(names))

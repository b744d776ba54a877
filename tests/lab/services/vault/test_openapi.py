"""The published OpenAPI document and the vault have the same operations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from podpass.lab.services.vault import router, wire

PAGE = Path(__file__).parents[4] / "docs" / "openapi" / "keyvault.json"
DOCUMENT: dict[str, Any] = json.loads(PAGE.read_text())
_SIGNS = {
    f"{{{kind}-{part}}}": sign
    for kind in ("secret", "key", "certificate", "issuer")
    for part, sign in (("name", "*"), ("version", "+"))
}


def described_operations() -> set[tuple[str, tuple[str, ...]]]:
    return {
        (method.upper(), tuple(_SIGNS.get(part, part) for part in path.split("/")[1:]))
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }


def served_operations() -> set[tuple[str, tuple[str, ...]]]:
    return {(method, path) for path, methods in router.PATHS.items() for method in methods}


def test_described_and_served_operations_are_equal() -> None:
    assert described_operations() == served_operations()


@pytest.mark.parametrize(("method", "path"), sorted(described_operations()))
def test_path_of_described_operation_routes_to_it(method: str, path: tuple[str, ...]) -> None:
    filled = [{"*": "a-name", "+": "0" * 32}.get(part, part) for part in path]
    found, name, version = router.route(method, filled)
    assert found is router.PATHS[path][method]
    assert (name, version) == (
        "a-name" if "*" in path else "",
        "0" * 32 if "+" in path else "",
    )


def test_described_limits_equal_the_limits_in_code() -> None:
    parameters = DOCUMENT["components"]["parameters"]
    assert parameters["maxResults"]["schema"]["maximum"] == wire.MAX_PAGE
    name = parameters["secretName"]["schema"]["pattern"]
    assert re.fullmatch(name, wire.check_name("x" * 127))
    assert not re.fullmatch(name, "x" * 128)
    version = parameters["apiVersion"]["schema"]["pattern"]
    for text in ("7.4", "2026-04-01", "7.6-preview.1", "2025-06-01-preview"):
        assert re.fullmatch(version, text)
        assert wire.parse_query(f"api-version={text}".encode())["api-version"] == text


def test_every_reference_exists() -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', PAGE.read_text())
    assert references
    for reference in references:
        found = DOCUMENT
        for part in reference.split("/"):
            found = found[part]

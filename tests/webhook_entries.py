"""Webhooks of tests: their entries in a configuration, and their certificates."""

import base64
import ssl
from pathlib import Path
from typing import Any

import trustme

from podpass.http.server import server_tls


def build_entry(name: str, client: dict[str, Any], resource: str, **changes: Any) -> dict[str, Any]:
    """Return the entry of a webhook that is called before the creation of a core resource."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}
    return {
        "name": name,
        "clientConfig": client,
        "rules": [{**rule, "operations": ["CREATE"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **changes,
    }


def create_certificate(folder: Path, *hosts: str) -> tuple[str, ssl.SSLContext]:
    """Return the bundle that trusts a new certificate, and the settings of its server."""
    authority, file = trustme.CA(), folder / "hook.pem"
    authority.issue_cert(*hosts).private_key_and_cert_chain_pem.write_to_path(str(file))
    return base64.b64encode(authority.cert_pem.bytes()).decode(), server_tls(str(file), str(file))

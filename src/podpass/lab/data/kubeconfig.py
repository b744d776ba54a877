"""Kubeconfig files of the instance: one for the user, one for each part that is a client of the API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from podpass.files import write_private
from podpass.lab.data import ca
from podpass.lab.data.datadir import DataDir

CONTEXT = "podpass"
_FILES = {
    "kubeconfig": ca.ADMIN,
    "admin.kubeconfig": ca.ADMIN,
    "runtime.kubeconfig": ca.RUNTIME,
    "webhook.kubeconfig": ca.WEBHOOK,
    "controllers.kubeconfig": ca.CONTROLLERS,
}


def render(data_dir: DataDir, user: str, server: str) -> str:
    """Return a kubeconfig with absolute paths of the instance's CA and of a client certificate."""
    quoted = {
        "server": server,
        "ca": str(data_dir.ca_file),
        "certificate": str(data_dir.certificate(user)),
        "key": str(data_dir.key(user)),
    }
    text = {name: json.dumps(value, ensure_ascii=False) for name, value in quoted.items()}
    return f"""\
apiVersion: v1
kind: Config
current-context: {CONTEXT}
clusters:
- name: {CONTEXT}
  cluster:
    server: {text["server"]}
    certificate-authority: {text["ca"]}
users:
- name: {user}
  user:
    client-certificate: {text["certificate"]}
    client-key: {text["key"]}
contexts:
- name: {CONTEXT}
  context:
    cluster: {CONTEXT}
    user: {user}
    namespace: default
preferences: {{}}
"""


def build(name: str, cluster: Mapping[str, Any], user: str, credential: Mapping[str, Any]) -> bytes:
    """Return a kubeconfig with one cluster, one user and one context, which has the cluster's name."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": name,
        "clusters": [{"name": name, "cluster": dict(cluster)}],
        "users": [{"name": user, "user": dict(credential)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def write_all(data_dir: DataDir, server: str) -> None:
    """Write the kubeconfig files, readable by their owner only: they name unencrypted keys.

    The user's file is not replaced while it points at this instance: `kubectl` and `az aks` add to it.
    """
    for file, user in _FILES.items():
        path, text = data_dir.path(file), render(data_dir, user, server)
        if path != data_dir.kubeconfig or not _is_for_this_instance(path, text):
            write_private(path, text.encode())


def _is_for_this_instance(path: Path, expected: str) -> bool:
    try:
        actual, wanted = yaml.safe_load(path.read_bytes()), yaml.safe_load(expected)
        return all(
            entry in actual[kind]
            for kind in ("clusters", "users", "contexts")
            for entry in wanted[kind]
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False

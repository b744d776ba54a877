"""Kubeconfig files of the instance: one for people, one for each part that is a client of the API."""

import json
from pathlib import Path

import yaml

from podpass.files import write_private
from podpass.local import ca
from podpass.local.datadir import DataDir

CONTEXT = "podpass"
_FILES = {
    "kubeconfig": ca.ADMIN,
    "admin.kubeconfig": ca.ADMIN,
    "runtime.kubeconfig": ca.RUNTIME,
    "webhook.kubeconfig": ca.WEBHOOK,
    "controllers.kubeconfig": ca.CONTROLLERS,
}


def render(data_dir: DataDir, user: str, server: str) -> str:
    """Write a kubeconfig that names the instance's authority and a client certificate by absolute path."""
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


def write_all(data_dir: DataDir, server: str) -> None:
    """Write the files, for the owner only: the admin's name a key without a password.

    The user's own stays as it is while it leads here: `kubectl` and `az aks` add to it.
    """
    for file, user in _FILES.items():
        path, text = data_dir.path(file), render(data_dir, user, server)
        if path != data_dir.kubeconfig or not _leads_here(path, text):
            write_private(path, text.encode())


def _leads_here(path: Path, wanted: str) -> bool:
    try:
        there, ours = yaml.safe_load(path.read_bytes()), yaml.safe_load(wanted)
        return all(
            entry in there[kind]
            for kind in ("clusters", "users", "contexts")
            for entry in ours[kind]
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False

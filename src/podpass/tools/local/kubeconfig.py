"""Kubeconfig files of the instance: one for people, one for each part that is a client of the API."""

import json

from podpass.files import write_private
from podpass.tools.local import ca
from podpass.tools.local.datadir import DataDir

CONTEXT = "podpass"
_FILES = {
    ca.ADMIN: "kubeconfig",
    ca.RUNTIME: "runtime.kubeconfig",
    ca.WEBHOOK: "webhook.kubeconfig",
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
    """Write the three files, for the owner only: the admin's name a key without a password."""
    for user, file in _FILES.items():
        write_private(data_dir.path(file), render(data_dir, user, server).encode())

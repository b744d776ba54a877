"""The kubeconfig of a cluster: one file that refers to no other file."""

import base64
import json

CONTEXT = "kubeling"


def render(server: str, ca_pem: bytes, token: str) -> str:
    """Return a kubeconfig with a bearer token; the caller writes it to a private file."""
    # A JSON string is also a YAML string.
    return f"""\
apiVersion: v1
kind: Config
current-context: {CONTEXT}
clusters:
- name: {CONTEXT}
  cluster:
    server: {json.dumps(server)}
    certificate-authority-data: {base64.b64encode(ca_pem).decode()}
users:
- name: {CONTEXT}
  user:
    token: {json.dumps(token)}
contexts:
- name: {CONTEXT}
  context:
    cluster: {CONTEXT}
    user: {CONTEXT}
    namespace: default
preferences: {{}}
"""

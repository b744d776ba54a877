"""An operator with the official Python client: each Website becomes a Deployment that serves its text.

    python website.py NAMESPACE

It does not depend on kubeling: it uses KUBECONFIG like any other client.
"""

import queue
import sys
import threading
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

GROUP, VERSION, PLURAL = "example.com", "v1", "websites"
SERVER = (
    "import http.server as h, os;"
    "h.HTTPServer((os.environ['POD_IP'], 8000), h.SimpleHTTPRequestHandler).serve_forever()"
)


class Operator:
    """Reconciles the Websites of a namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._websites, self._apps = client.CustomObjectsApi(), client.AppsV1Api()
        self._core = client.CoreV1Api()
        self._names: queue.Queue[str] = queue.Queue()

    def run(self) -> None:
        """Reconcile until the process ends."""
        for watching in (self._watch_websites, self._watch_deployments):
            threading.Thread(target=watching, daemon=True).start()
        while True:
            self.reconcile(self._names.get())

    def _watch_websites(self) -> None:
        listing = self._websites.list_namespaced_custom_object
        for event in watch.Watch().stream(listing, GROUP, VERSION, self._namespace, PLURAL):
            self._names.put(event["object"]["metadata"]["name"])

    def _watch_deployments(self) -> None:
        for event in watch.Watch().stream(self._apps.list_namespaced_deployment, self._namespace):
            for owner in event["object"].metadata.owner_references or []:
                self._names.put(owner.name)

    def reconcile(self, name: str) -> None:
        """Create or change the objects of a Website, and write its status."""
        place = (GROUP, VERSION, self._namespace, PLURAL, name)
        try:
            website = self._websites.get_namespaced_custom_object(*place)
        except ApiException as exc:
            if exc.status == 404:
                return  # the garbage collector deletes its objects
            raise
        metadata = self._metadata(website)
        page = {"metadata": metadata, "data": {"index.html": website["spec"]["text"]}}
        _apply(self._core, "config_map", name, self._namespace, page)
        spec = _deployment(name, website["spec"].get("replicas", 1))
        made = _apply(
            self._apps, "deployment", name, self._namespace, {"metadata": metadata, "spec": spec}
        )
        ready = made.status.ready_replicas or 0
        if (website.get("status") or {}).get("ready") != ready:
            self._websites.patch_namespaced_custom_object_status(
                *place, {"status": {"ready": ready}}
            )

    def _metadata(self, website: dict[str, Any]) -> dict[str, Any]:
        owner = {
            "apiVersion": website["apiVersion"],
            "kind": website["kind"],
            "name": website["metadata"]["name"],
            "uid": website["metadata"]["uid"],
            "controller": True,
        }
        return {"name": website["metadata"]["name"], "ownerReferences": [owner]}


def _apply(api: Any, kind: str, name: str, namespace: str, body: dict[str, Any]) -> Any:
    """Create an object, or change the existing one."""
    try:
        return getattr(api, f"create_namespaced_{kind}")(namespace, body)
    except ApiException as exc:
        if exc.status != 409:
            raise
        return getattr(api, f"patch_namespaced_{kind}")(name, namespace, body)


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "python:3.13",
        "command": ["python", "-c", SERVER],
        "workingDir": "/site",
        "ports": [{"containerPort": 8000}],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
        "volumeMounts": [{"name": "site", "mountPath": "/site"}],
    }
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"website": name}},
        "template": {
            "metadata": {"labels": {"website": name}},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "site", "configMap": {"name": name}}],
            },
        },
    }


if __name__ == "__main__":
    config.load_kube_config()
    Operator(sys.argv[1]).run()

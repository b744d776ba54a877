"""Convert one workload: add the sidecar, the ServiceAccount and the label. Pure."""

import copy
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from podpass import names
from podpass.migration.podidentity.model import DetectOptions, Object, Workload
from podpass.settings import WebhookSettings

_DEFAULTS = {each.name: each.default for each in fields(WebhookSettings)}
_PROXY_IMAGE = str(_DEFAULTS["proxy_image"])
_PROXY_INIT_IMAGE = str(_DEFAULTS["proxy_init_image"])
# Set by the API server or by kubectl; a manifest with them cannot be applied, or is hard to read.
_SERVER_FIELDS = (
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
    "deletionTimestamp",
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# The API server generates these for every Job and refuses them in a new one.
_JOB_LABELS = (
    *("controller-uid", "batch.kubernetes.io/controller-uid"),
    *("job-name", "batch.kubernetes.io/job-name"),
)


def pod_template(body: Object) -> Object:
    """Return the object with the metadata and the spec of the workload's pods."""
    if body["kind"] == "Pod":
        return body
    spec: Object = body["spec"]
    if body["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Object = spec["template"]
    return template


def service_account_name(body: Object) -> str:
    """Return the ServiceAccount of the workload's pods; empty if it is the default of the namespace."""
    spec = pod_template(body)["spec"]
    name = str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "")
    return "" if name == "default" else name


def convert_workload(workload: Workload, account: str, options: DetectOptions) -> Object:
    """Return the manifest of a workload that uses the sidecar and the ServiceAccount."""
    body = copy.deepcopy(workload.body)
    _remove_server_fields(body)
    template = pod_template(body)
    spec = template["spec"]
    containers = spec.setdefault("containers", [])
    if not _has_image(spec.get("initContainers"), _PROXY_INIT_IMAGE):
        spec["initContainers"] = [*(spec.get("initContainers") or ()), _build_init(options)]
    if not _has_image(containers, _PROXY_IMAGE):
        containers.append(_build_proxy(options))
    spec.pop("serviceAccount", None)  # the deprecated name of the next field, with the old value
    spec["serviceAccountName"] = account
    for meta in _nested_metadata(body):
        if meta.get("creationTimestamp") is None:
            meta.pop("creationTimestamp", None)  # API servers before 1.34 write null
    meta = template.setdefault("metadata", {})
    meta["labels"] = {**(meta.get("labels") or {}), names.USE_LABEL: "true"}
    return body


def convert_account(existing: Object, client_id: str, options: DetectOptions) -> Object:
    """Return the manifest of the ServiceAccount with the annotations of workload identity."""
    body = copy.deepcopy(existing)
    _remove_server_fields(body)
    meta = body["metadata"]
    tenant = {names.TENANT_ID: options.tenant_id} if options.tenant_id else {}
    meta["annotations"] = {
        **(meta.get("annotations") or {}),
        names.CLIENT_ID: client_id,
        names.TOKEN_EXPIRATION: str(options.token_seconds),
        **tenant,
    }
    return {"apiVersion": "v1", "kind": "ServiceAccount"} | body


def _remove_server_fields(body: Object) -> None:
    body.pop("status", None)
    meta = body["metadata"]
    for name in _SERVER_FIELDS:
        meta.pop(name, None)
    annotations = meta.get("annotations") or {}
    annotations.pop(_LAST_APPLIED, None)
    if not annotations:
        meta.pop("annotations", None)
    if body.get("kind") == "Job" and not body["spec"].get("manualSelector"):
        body["spec"].pop("selector", None)
        for each in (meta, body["spec"]["template"].get("metadata") or {}):
            for label in _JOB_LABELS:
                (each.get("labels") or {}).pop(label, None)


def _nested_metadata(body: Object) -> Iterator[Object]:
    """Yield the metadata of the templates within a workload."""
    if body["kind"] == "CronJob":
        yield body["spec"]["jobTemplate"].get("metadata") or {}
    yield pod_template(body).get("metadata") or {}


def _has_image(containers: Any, image: str) -> bool:
    """Return whether a container has this image in any version, or an image whose name begins with it."""
    repository = image.partition(":")[0]
    return any(str(each.get("image") or "").startswith(repository) for each in containers or ())


def _build_init(options: DetectOptions) -> Object:
    return {
        "name": names.PROXY_INIT_CONTAINER,
        "image": _PROXY_INIT_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PROXY_PORT", "value": str(options.proxy_port)}],
        "resources": {},
        "securityContext": {
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": True,
            "runAsUser": 0,
        },
    }


def _build_proxy(options: DetectOptions) -> Object:
    port, level = f"--proxy-port={options.proxy_port}", "--log-level=info"
    return {
        "name": names.PROXY_CONTAINER,
        "image": _PROXY_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [port, level],
        "ports": [{"containerPort": options.proxy_port}],
        "lifecycle": {"postStart": {"exec": {"command": ["/proxy", port, "--probe", level]}}},
        "resources": {},
    }

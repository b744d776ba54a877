"""Build all objects of the webhook, in the order in which they can be applied."""

from podpass.manifests.meta import Object
from podpass.manifests.rbac import build_rbac_objects
from podpass.manifests.registration import build_cert_manager_objects, build_registration
from podpass.manifests.values import ManifestValues
from podpass.manifests.workload import (
    build_deployment,
    build_namespace,
    build_network,
    build_settings,
)


def build_webhook_objects(values: ManifestValues) -> list[Object]:
    """Build the objects; the registration is last, so that the webhook exists before it is called."""
    return [
        *build_namespace(values),
        *build_rbac_objects(values),
        *build_settings(values),
        *build_network(values),
        *build_cert_manager_objects(values),
        build_deployment(values),
        build_registration(values),
    ]

"""All objects of the webhook, in the order in which they can be applied."""

from podpass.manifests.meta import Object
from podpass.manifests.rbac import rights
from podpass.manifests.registration import certificates, registration
from podpass.manifests.values import Values
from podpass.manifests.workload import deployment, namespace, network, settings


def webhook(values: Values) -> list[Object]:
    """Write the objects; the registration comes last, when there is something to call."""
    return [
        *namespace(values),
        *rights(values),
        *settings(values),
        *network(values),
        *certificates(values),
        deployment(values),
        registration(values),
    ]

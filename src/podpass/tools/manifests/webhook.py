"""All objects of the webhook, in the order in which they can be applied."""

from podpass.tools.manifests.meta import Object
from podpass.tools.manifests.registration import certificates, registration
from podpass.tools.manifests.rights import rights
from podpass.tools.manifests.values import Values
from podpass.tools.manifests.workload import deployment, namespace, network, settings


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

"""Azure Kubernetes Service: the cluster of an instance as a managed cluster."""

from podpass.lab.services.model import Service, late

SERVICE = Service(
    name="clusters",
    directory=late("clusters.store:EXTENSION"),
    provider=late("clusters.provider:PROVIDER"),
    is_webhook_enabled=late("clusters.context:is_webhook_enabled"),
)

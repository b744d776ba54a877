"""Service Connector: connections from the managed cluster to other resources, and those resources."""

from podpass.lab.services.model import Service, late

SERVICE = Service(
    name="connector",
    requires=("clusters", "vault"),
    directory=late("connector.store:EXTENSION"),
    provider=late("connector.resource_manager:PROVIDER"),
    seed=late("connector.seed:SECTION"),
)

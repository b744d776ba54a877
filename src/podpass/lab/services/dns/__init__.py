"""Azure DNS: zones and record sets in Resource Manager, and the answers of the resolver for their names."""

from podpass.lab.services.model import Service, late

SERVICE = Service(
    name="dns",
    directory=late("dns.store:EXTENSION"),
    provider=late("dns.resource_manager:PROVIDER"),
    seed=late("dns.seed:SECTION"),
    answer_name=late("dns.answers:answer_name"),
    warn_at_install=late("dns.seed:warn_at_install"),
)

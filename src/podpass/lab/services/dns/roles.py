"""Built-in roles for DNS zones, with Azure's ids."""

from podpass.directory.model import RoleDefinition

# Of these roles, one is for public zones and one for private zones.
ROLES = tuple(
    RoleDefinition(
        id=role_id,
        name=name,
        description=description,
        actions=(
            "Microsoft.Authorization/*/read",
            "Microsoft.Insights/alertRules/*",
            "Microsoft.ResourceHealth/availabilityStatuses/read",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
            *actions,
        ),
    )
    for role_id, name, description, actions in (
        (
            "befefa01-2a29-4197-83a8-272ff33ce314",
            "DNS Zone Contributor",
            "Manages DNS zones and their record sets, but not the access to them.",
            ("Microsoft.Network/dnsZones/*",),
        ),
        (
            "b12aa53e-6015-4669-85d0-8515ebb3ae7f",
            "Private DNS Zone Contributor",
            "Manages private DNS zones and their record sets, but not the networks that they are linked to.",
            (
                "Microsoft.Network/privateDnsZones/*",
                "Microsoft.Network/privateDnsOperationResults/*",
                "Microsoft.Network/privateDnsOperationStatuses/*",
                "Microsoft.Network/virtualNetworks/read",
                "Microsoft.Network/virtualNetworks/join/action",
            ),
        ),
    )
)

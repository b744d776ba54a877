"""Built-in roles for managed clusters, with Azure's ids."""

from podpass.directory.model import RoleDefinition
from podpass.lab.services.clusters.model import TYPE

ROLES = (
    RoleDefinition(
        id="0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
        name="Azure Kubernetes Service Cluster Admin Role",
        description="Reads the administrator credentials of a cluster.",
        actions=(
            f"{TYPE}/listClusterAdminCredential/action",
            f"{TYPE}/accessProfiles/listCredential/action",
            f"{TYPE}/read",
            f"{TYPE}/runcommand/action",
        ),
    ),
    RoleDefinition(
        id="4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        name="Azure Kubernetes Service Cluster User Role",
        description="Reads the user credentials of a cluster.",
        actions=(f"{TYPE}/listClusterUserCredential/action", f"{TYPE}/read"),
    ),
    RoleDefinition(
        id="b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
        name="Azure Kubernetes Service RBAC Cluster Admin",
        description="Performs any action in a cluster with Azure RBAC.",
        actions=(
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/operationresults/read",
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            f"{TYPE}/listClusterUserCredential/action",
        ),
        data_actions=(f"{TYPE}/*",),
    ),
)

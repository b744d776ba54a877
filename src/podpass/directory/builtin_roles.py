"""The built-in roles that the tools and guides of workload identity use, with the ids they have in Azure.

Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from podpass.directory.model import RoleDefinition

_VAULTS = "Microsoft.KeyVault/vaults"
_SECRETS = f"{_VAULTS}/secrets"
_KEYS = f"{_VAULTS}/keys"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_TRUSTS = f"{_IDENTITIES}/federatedIdentityCredentials"

# Additional permissions of most roles of a service: read, deployments, support requests.
_COMMON = (
    "Microsoft.Authorization/*/read",
    "Microsoft.Insights/alertRules/*",
    "Microsoft.Resources/deployments/*",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Support/*",
)
_VAULTS_READ = (
    *_COMMON,
    "Microsoft.KeyVault/checkNameAvailability/read",
    "Microsoft.KeyVault/deletedVaults/read",
    "Microsoft.KeyVault/locations/*/read",
    # Azure's definition has only the second of these actions, but its holders can read the vault too.
    f"{_VAULTS}/read",
    f"{_VAULTS}/*/read",
    "Microsoft.KeyVault/operations/read",
)

# Administrator; officer and user of certificates, keys and secrets; reader; encryption of services.
_OF_VAULTS = (
    "00482a5a-887f-4fb3-b363-3b7fe8e74483",
    "a4417e6f-fecd-4de8-b567-7b0420556985",
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603",
    "e147488a-f6f5-4113-8e2d-b22465e65bf6",
    "12338af0-0e69-4776-bea7-57ae8d297424",
    "21090545-7ca7-4776-b22c-e363652d74d2",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "4633458b-17de-408a-b874-0445c86b69e6",
)
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_GENERAL = (
    RoleDefinition(
        id=OWNER,
        name="Owner",
        description="Manages all resources, and assigns roles.",
        actions=("*",),
    ),
    RoleDefinition(
        id="b24988ac-6180-42a0-ab88-20f7382dd24c",
        name="Contributor",
        description="Manages every resource, but cannot assign roles.",
        actions=("*",),
        not_actions=(
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
            "Microsoft.Blueprint/blueprintAssignments/write",
            "Microsoft.Blueprint/blueprintAssignments/delete",
            "Microsoft.Compute/galleries/share/action",
            "Microsoft.Purview/consents/write",
            "Microsoft.Purview/consents/delete",
            "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
            "Microsoft.Subscription/cancel/action",
            "Microsoft.Subscription/enable/action",
        ),
    ),
    RoleDefinition(
        id="acdd72a7-3385-48ef-bd42-f606fba81ae7",
        name="Reader",
        description="Reads all resources, and changes nothing.",
        actions=("*/read",),
    ),
    RoleDefinition(
        id="18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        name="User Access Administrator",
        description="Manages access to resources.",
        actions=("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
    ),
    RoleDefinition(
        id="f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        name="Role Based Access Control Administrator",
        description="Manages access to resources by role assignments only.",
        actions=(
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
            "Microsoft.Support/*",
        ),
    ),
)

_IDENTITY = (
    RoleDefinition(
        id="f1a07417-d97a-45cb-824c-7a7467783830",
        name="Managed Identity Operator",
        description="Reads user-assigned identities, and assigns them to resources.",
        actions=(f"{_IDENTITIES}/*/read", f"{_IDENTITIES}/*/assign/action", *_COMMON),
    ),
    RoleDefinition(
        id="e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        name="Managed Identity Contributor",
        description="Manages user-assigned identities and their federated credentials.",
        actions=(
            f"{_IDENTITIES}/read",
            f"{_IDENTITIES}/write",
            f"{_IDENTITIES}/delete",
            f"{_TRUSTS}/read",
            f"{_TRUSTS}/write",
            f"{_TRUSTS}/delete",
            f"{_IDENTITIES}/revokeTokens/action",
            *_COMMON,
        ),
    ),
)

# Ordered from the least to the most privileged: a hint names the first one that is sufficient.
VAULT_ROLES = (
    RoleDefinition(
        id="4633458b-17de-408a-b874-0445c86b69e6",
        name="Key Vault Secrets User",
        description="Reads secrets with their values.",
        data_actions=(f"{_SECRETS}/getSecret/action", f"{_SECRETS}/readMetadata/action"),
    ),
    RoleDefinition(
        id="21090545-7ca7-4776-b22c-e363652d74d2",
        name="Key Vault Reader",
        description="Reads the metadata of secrets, keys and certificates, but not their values.",
        actions=_VAULTS_READ,
        data_actions=(f"{_VAULTS}/*/read", f"{_SECRETS}/readMetadata/action"),
    ),
    RoleDefinition(
        id="db79e9a7-68ee-4b58-9aeb-b90e7c24fcba",
        name="Key Vault Certificate User",
        description="Reads certificates with their private keys.",
        data_actions=(
            f"{_VAULTS}/certificates/read",
            f"{_SECRETS}/getSecret/action",
            f"{_SECRETS}/readMetadata/action",
            f"{_KEYS}/read",
        ),
    ),
    RoleDefinition(
        id="e147488a-f6f5-4113-8e2d-b22465e65bf6",
        name="Key Vault Crypto Service Encryption User",
        description="Wraps and unwraps keys, for a service that encrypts its storage.",
        actions=(
            "Microsoft.EventGrid/eventSubscriptions/write",
            "Microsoft.EventGrid/eventSubscriptions/read",
            "Microsoft.EventGrid/eventSubscriptions/delete",
        ),
        data_actions=(f"{_KEYS}/read", f"{_KEYS}/wrap/action", f"{_KEYS}/unwrap/action"),
    ),
    RoleDefinition(
        id="12338af0-0e69-4776-bea7-57ae8d297424",
        name="Key Vault Crypto User",
        description="Encrypts, decrypts, signs and verifies with keys.",
        data_actions=(
            f"{_KEYS}/read",
            f"{_KEYS}/update/action",
            f"{_KEYS}/backup/action",
            f"{_KEYS}/encrypt/action",
            f"{_KEYS}/decrypt/action",
            f"{_KEYS}/wrap/action",
            f"{_KEYS}/unwrap/action",
            f"{_KEYS}/sign/action",
            f"{_KEYS}/verify/action",
        ),
    ),
    RoleDefinition(
        id="b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
        name="Key Vault Secrets Officer",
        description="Performs any action on secrets.",
        actions=_VAULTS_READ,
        data_actions=(f"{_SECRETS}/*",),
    ),
    RoleDefinition(
        id="14b46e9e-c2b7-41b4-b07b-48a6ebf60603",
        name="Key Vault Crypto Officer",
        description="Performs any action on keys.",
        actions=_VAULTS_READ,
        data_actions=(f"{_KEYS}/*", f"{_VAULTS}/keyrotationpolicies/*"),
    ),
    RoleDefinition(
        id="a4417e6f-fecd-4de8-b567-7b0420556985",
        name="Key Vault Certificates Officer",
        description="Performs any action on certificates.",
        actions=_VAULTS_READ,
        data_actions=(
            f"{_VAULTS}/certificatecas/*",
            f"{_VAULTS}/certificates/*",
            f"{_VAULTS}/certificatecontacts/write",
        ),
    ),
    RoleDefinition(
        id="00482a5a-887f-4fb3-b363-3b7fe8e74483",
        name="Key Vault Administrator",
        description="Performs any data action in a vault, but does not manage the vault itself.",
        actions=_VAULTS_READ,
        data_actions=(f"{_VAULTS}/*",),
    ),
)

_VAULT_MANAGEMENT = (
    RoleDefinition(
        id="f25e0fa2-a7c8-4377-a976-54943a77a395",
        name="Key Vault Contributor",
        description="Manages vaults, but has no access to their content.",
        actions=(*_COMMON, "Microsoft.KeyVault/*"),
        not_actions=(
            "Microsoft.KeyVault/locations/deletedVaults/purge/action",
            "Microsoft.KeyVault/hsmPools/*",
            "Microsoft.KeyVault/managedHsms/*",
        ),
    ),
    RoleDefinition(
        id="8b54135c-b56d-4d72-a534-26097cfdc8d8",
        name="Key Vault Data Access Administrator",
        description="Assigns the Key Vault roles.",
        actions=(
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Management/managementGroups/read",
            "Microsoft.Support/*",
            f"{_VAULTS}/*/read",
        ),
        assigns=_OF_VAULTS,
    ),
    RoleDefinition(
        id="08bbd89e-9f13-488c-ac41-acfcb10c90ab",
        name="Key Vault Crypto Service Release User",
        description="Releases keys to attested environments.",
        data_actions=(f"{_KEYS}/release/action",),
    ),
)

_CONTAINERS = (
    RoleDefinition(
        id="7f951dda-4ed3-4680-a7ca-43fe172d538d",
        name="AcrPull",
        description="Pulls images from a registry.",
        actions=("Microsoft.ContainerRegistry/registries/pull/read",),
    ),
    RoleDefinition(
        id="8311e382-0749-4cb8-b61a-304f252e45ec",
        name="AcrPush",
        description="Pulls and pushes images of a registry.",
        actions=(
            "Microsoft.ContainerRegistry/registries/pull/read",
            "Microsoft.ContainerRegistry/registries/push/write",
        ),
    ),
)

BUILT_IN = (
    *_GENERAL,
    *_IDENTITY,
    *VAULT_ROLES,
    *_VAULT_MANAGEMENT,
    *_CONTAINERS,
)

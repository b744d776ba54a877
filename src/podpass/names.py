"""Strings that other systems read: labels, annotations, environment variables, paths, names of objects."""

PREFIX = "azure.workload.identity/"

# Label of a pod, by which the API server selects pods for the webhook.
USE_LABEL = PREFIX + "use"

# Annotations on a ServiceAccount.
CLIENT_ID = PREFIX + "client-id"
TENANT_ID = PREFIX + "tenant-id"
# Annotation on a pod, then on its ServiceAccount.
TOKEN_EXPIRATION = PREFIX + "service-account-token-expiration"
# Annotations on a pod.
SKIP_CONTAINERS = PREFIX + "skip-containers"
INJECT_PROXY = PREFIX + "inject-proxy-sidecar"
PROXY_PORT = PREFIX + "proxy-sidecar-port"
USE_CUSTOM_ENDPOINT_PREFIX = PREFIX + "use-"  # followed by the suffix from the webhook's settings
# Prefix of annotations that only podpass has; those of a pod follow.
OWN_PREFIX = "podpass.azure-workload-identity.io/"
PROXY_MODE = OWN_PREFIX + "proxy-mode"
LEGACY_TOKEN_PATH = OWN_PREFIX + "legacy-token-path"

# Environment of a container, read by every Azure SDK.
ENV_CLIENT_ID = "AZURE_CLIENT_ID"
# With one of these, the SDKs use EnvironmentCredential instead of workload identity.
ENV_CLIENT_SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 a variable's name
ENV_CLIENT_CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
ENV_TENANT_ID = "AZURE_TENANT_ID"
ENV_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 a variable's name
ENV_AUTHORITY_HOST = "AZURE_AUTHORITY_HOST"
ENV_TOKEN_PROXY = "AZURE_KUBERNETES_TOKEN_PROXY"  # noqa: S105 a variable's name
ENV_SNI_NAME = "AZURE_KUBERNETES_SNI_NAME"
ENV_CA_FILE = "AZURE_KUBERNETES_CA_FILE"
ENV_CA_DATA = "AZURE_KUBERNETES_CA_DATA"

# Environment of a container, by which Azure SDKs find a token endpoint in place of 169.254.169.254.
ENV_IMDS_HOST = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
ENV_MSI_ENDPOINT, ENV_MSI_SECRET = "MSI_ENDPOINT", "MSI_SECRET"
ENV_IDENTITY_ENDPOINT, ENV_IDENTITY_HEADER = "IDENTITY_ENDPOINT", "IDENTITY_HEADER"
ENV_ARC_ENDPOINT, ENV_IDENTITY_THUMBPRINT = "IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"
# Environment of the migration sidecar: the address that it listens on, and whether it forwards other paths.
ENV_PROXY_ADDRESS = "PROXY_ADDRESS"
ENV_PROXY_FORWARD = "PROXY_FORWARD"
IMDS_ADDRESS = "169.254.169.254"
MSI_TOKEN_PATH = "/msi/token"  # noqa: S105 a path

# Paths inside a container.
MOUNT_PATH = "/var/run/secrets/azure/wi"
TOKEN_PATH = "token/azure-identity-token"  # noqa: S105 a path
CA_PATH = "ca-cert/ca.crt"
# Where the token was before azure-workload-identity 1.6.0.
LEGACY_MOUNT_PATH = "/var/run/secrets/azure/tokens"
LEGACY_TOKEN_FILE = "azure-identity-token"  # noqa: S105 a file name

# Volume name: this prefix and the first 30 hex digits of sha256(pod name), 63 characters in total.
VOLUME_PREFIX = "azure-workload-identity-reserved-"

# Containers of the migration sidecar.
PROXY_CONTAINER = "azwi-proxy"
PROXY_INIT_CONTAINER = "azwi-proxy-init"
# Images of these containers on a local instance, without registry and tag.
PROXY_IMAGE, PROXY_INIT_IMAGE = "podpass-proxy", "podpass-proxy-init"

# Annotation of a Secret that a connection of Service Connector owns: the connection's resource id.
CONNECTION = OWN_PREFIX + "connection"

# Audience of the projected token; also of the federated credential.
EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"

# Objects of the webhook in a cluster, as azure-workload-identity names them.
WEBHOOK_CONFIGURATION = "azure-wi-webhook-mutating-webhook-configuration"
WEBHOOK_NAME = "mutation.azure-workload-identity.io"
WEBHOOK_PATH = "/mutate-v1-pod"
# The webhook entries that only warn. They are additions of podpass; the chart registers none by default.
ADVICE_WEBHOOK_NAME = "advice.podpass.azure-workload-identity.io"
ADVICE_PATH = "/warn-v1-pod"
WORKLOAD_ADVICE_WEBHOOK_NAME = "workloads.advice.podpass.azure-workload-identity.io"
WORKLOAD_ADVICE_PATH = "/warn-workload"
# Keys of audit annotations; the API server adds the webhook's name and a slash as prefix.
AUDIT_CLIENT_ID = "podpass.client-id"
AUDIT_MUTATED = "podpass.mutated"
# Reason of the event on a refused pod's controller.
REFUSED_REASON = "WorkloadIdentityRefused"
WEBHOOK_SERVICE = "azure-wi-webhook-webhook-service"
SYSTEM_NAMESPACE = "azure-workload-identity-system"

# The webhook's certificates: the Secret, its keys as in azure-workload-identity, and the name of the CA.
CERTIFICATE_SECRET = "azure-wi-webhook-server-cert"  # noqa: S105 an object's name
CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
TLS_CERTIFICATE, TLS_KEY = "tls.crt", "tls.key"
# An addition of podpass: the key of a CA that is distributed and does not sign yet.
ADDED_CA_KEY = "podpass-next-ca.key"
CA_NAME = "azure-workload-identity-ca"
CA_ORGANIZATION = "azure-workload-identity"

# Hosts of Azure's public cloud that the gateway serves.
LOGIN_HOST = "login.microsoftonline.com"
LOGIN_ALIASES = (LOGIN_HOST, "login.microsoft.com", "login.windows.net", "sts.windows.net")
ARM_HOST = "management.azure.com"
GRAPH_HOST = "graph.microsoft.com"
PORTAL_HOST = "main.iam.ad.ext.azure.com"  # `az ad app permission admin-consent` calls it
VAULT_SUFFIX = "vault.azure.net"
# Vaults without the gateway. Two labels, because TLS libraries refuse a wildcard directly below `localhost`.
DIRECT_VAULT_SUFFIX = "vault.localhost"
ISSUER_SUFFIX = "oic.prod-aks.azure.com"
STORAGE_RESOURCE = "https://storage.azure.com"
# Hosts of storage accounts are `{account}.{service}.core.windows.net`.
STORAGE_SUFFIX = "core.windows.net"
STORAGE_SERVICES = ("blob", "queue", "table")
# Azurite's own variable with its accounts and their keys.
ENV_AZURITE_ACCOUNTS = "AZURITE_ACCOUNTS"
ENV_IDENTITY_HEADERS = "PODPASS_CLOUD_IDENTITY_HEADERS"

# Grant and assertion types on the token endpoint.
CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

# The member of the OpenID configuration with what a token service has beyond Entra, and its values.
EXTENSIONS = "podpass_extensions"
FLEXIBLE_KUBERNETES, ALLOW_WIDE = "flexible_kubernetes", "allow_wide"

# Product in the User-Agent of `podpass doctor`; the log of the token service marks its requests.
DOCTOR_AGENT = "podpass-doctor"


def v1_issuer(tenant_id: str) -> str:
    """Return the issuer of a tenant's version 1 access tokens; it does not depend on the host."""
    return f"https://sts.windows.net/{tenant_id}/"

"""Known sentences of resources: Key Vault, Resource Manager, Graph, Storage, and metadata services (IMDS)."""

from podpass.diagnose.explain.sentence import Sentence

RESOURCES = (
    Sentence(
        id="vault_forbidden_by_rbac",
        stage="resource",
        words=(
            "ForbiddenByRbac",
            "Caller is not authorized to perform action on resource",
            "No role of the caller permits this",
        ),
        means="the identity got a token, but has no role at the vault that permits the operation",
        run="assign Key Vault Secrets User to the identity at the vault: az role assignment create"
        " --role 'Key Vault Secrets User' --assignee-object-id PRINCIPAL_ID --scope VAULT_ID",
    ),
    Sentence(
        id="vault_forbidden_by_policy",
        stage="resource",
        words=(
            "ForbiddenByPolicy",
            "does not have secrets get permission on key vault",
            "No access policy of the vault",
        ),
        means="the vault uses access policies, and none of them grants the permission to the identity",
        run="az keyvault set-policy --name VAULT --object-id PRINCIPAL_ID --secret-permissions get",
    ),
    Sentence(
        id="vault_forbidden_by_network",
        stage="resource",
        words=("ForbiddenByConnection", "ForbiddenByFirewall"),
        means="the firewall of the vault does not permit the address of the pod",
        run="az keyvault network-rule add --name VAULT --ip-address ADDRESS, or use a private endpoint",
    ),
    Sentence(
        id="vault_wrong_audience",
        stage="resource",
        words=("AKV10022",),
        means="the token is for another resource than the vault",
        run="request the scope https://vault.azure.net/.default",
    ),
    Sentence(
        id="vault_wrong_issuer",
        stage="resource",
        words=("AKV10032",),
        means="the token is from another tenant than that of the vault",
        run="set the annotation azure.workload.identity/tenant-id to the tenant of the vault",
    ),
    Sentence(
        id="vault_unknown_key",
        stage="resource",
        words=("AKV10046",),
        means="the vault finds no key with the id in the token: it was signed by another authority",
        run="podpass token inspect TOKEN; compare `iss` with the authority of the vault",
    ),
    Sentence(
        id="vault_secret_not_found",
        stage="resource",
        words=("SecretNotFound",),
        means="the caller may read the vault, but the secret has another name, or was deleted",
        run="az keyvault secret list --vault-name VAULT",
    ),
    Sentence(
        id="vault_secret_disabled",
        stage="resource",
        words=("SecretDisabled",),
        means="the secret is disabled",
        run="az keyvault secret set-attributes --vault-name VAULT --name SECRET --enabled true",
    ),
    Sentence(
        id="vault_not_found",
        stage="resource",
        words=("VaultNotFound", "vault.azure.net", "see `podpass vault list`"),
        near=(
            "podpass vault list",
            "VaultNotFound",
            "Failed to resolve",
            "ENOTFOUND",
            "EAI_AGAIN",
            "UnknownHostException",
            "no such host",
            "Name or service not known",
            "Could not resolve host",
            "nodename nor servname",
        ),
        means="there is no vault of this name, so its host name does not resolve",
        run="podpass vault list (local instance), or az keyvault list --query [].name",
        hides=("sdk_authority_unreachable", "proxy_refused"),
    ),
    Sentence(
        id="proxy_refused",
        stage="resource",
        words=(
            "HttpProxyConnectException",
            "status code: 502",
            "connection failed: 502",
            "status: 502",
            "Bad Gateway",
            "failed with status code '502'",
            "TunnelUnsuccessful",
        ),
        means="the proxy, on a local instance the gateway, did not connect to the host: no vault has this"
        " name, AZURE_AUTHORITY_HOST names another host, or the host is not reachable",
        run="podpass vault list (local instance); elsewhere check HTTPS_PROXY and the name of the host",
    ),
    Sentence(
        id="arm_forbidden",
        stage="resource",
        words=("AuthorizationFailed",),
        near=("does not have authorization to perform action", "over scope"),
        means="the identity has no role that permits the action in Azure Resource Manager",
        run="az role assignment create --role Reader --assignee-object-id PRINCIPAL_ID --scope SCOPE",
    ),
    Sentence(
        id="graph_forbidden",
        stage="resource",
        words=("Authorization_RequestDenied",),
        means="the identity has no application permission of Microsoft Graph for the operation",
        run="podpass graph, or az rest: assign the app role to the service principal of the identity",
    ),
)

_STORAGE_HOSTS = (
    "blob.core.",
    "queue.core.",
    "table.core.",
    "dfs.core.",
    "x-ms-error-code",
    "AuthenticationErrorDetail",
)

STORAGE = (
    Sentence(
        id="storage_forbidden",
        stage="resource",
        words=(
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission",
            "permits Microsoft.Storage/",
        ),
        means="the identity got a token, but has no data role at the storage account that permits the"
        " operation; roles such as Owner and Contributor give no access to data",
        run="az role assignment create --role 'Storage Blob Data Reader' --assignee-object-id PRINCIPAL_ID"
        " --scope ACCOUNT_ID (Storage Blob Data Contributor to write; the same for Queue and Table)",
    ),
    Sentence(
        id="storage_token_refused",
        stage="resource",
        words=(
            "InvalidAuthenticationInfo",
            "Server failed to authenticate the request",
            "AuthenticationFailed",
        ),
        near=(
            "Server failed to authenticate the request",
            "InvalidAuthenticationInfo",
            *_STORAGE_HOSTS,
        ),
        means="storage does not accept the token: it is for another resource, has expired, or comes from"
        " another tenant or authority than the account's",
        run="request the scope https://storage.azure.com/.default; podpass token inspect TOKEN shows"
        " audience, tenant and expiry",
    ),
    Sentence(
        id="storage_public_access",
        stage="resource",
        words=(
            "PublicAccessNotPermitted",
            "Public access is not permitted on this storage account",
            "NoAuthenticationInformation",
        ),
        means="the request has no token: the client was created without a credential, and the account permits"
        " no anonymous access",
        run="pass a credential of the identity library to the client, such as DefaultAzureCredential()",
    ),
    Sentence(
        id="storage_key_not_permitted",
        stage="resource",
        words=(
            "KeyBasedAuthenticationNotPermitted",
            "Key based authentication is not permitted on this storage account",
        ),
        means="the client signs its requests with an account key or a shared access signature, which the"
        " account refuses",
        run="remove the key, the connection string or the SAS from the client, and pass it a credential of"
        " the identity library",
    ),
    Sentence(
        id="storage_forbidden_by_network",
        stage="resource",
        words=("AuthorizationFailure",),
        near=("This request is not authorized to perform this operation", *_STORAGE_HOSTS),
        means="the firewall of the storage account does not permit the network of the pod",
        run="az storage account network-rule add --account-name ACCOUNT --ip-address ADDRESS, or use a"
        " private endpoint",
    ),
    Sentence(
        id="storage_account_not_found",
        stage="resource",
        words=("This instance has no storage account", "core.windows.net"),
        near=(
            "This instance has no storage account",
            "Failed to resolve",
            "ENOTFOUND",
            "EAI_AGAIN",
            "UnknownHostException",
            "no such host",
            "Name or service not known",
            "Could not resolve host",
        ),
        means="there is no storage account of this name, so its host name does not resolve",
        run="az storage account list --query [].name; on a local instance add it with `podpass apply -f"
        " FILE` and start the instance with --azurite",
        hides=("sdk_authority_unreachable", "sdk_host_unreachable", "proxy_refused"),
    ),
    Sentence(
        id="storage_object_not_found",
        stage="resource",
        words=("ContainerNotFound", "BlobNotFound", "QueueNotFound", "TableNotFound"),
        means="the identity may use the storage account, but the container, blob, queue or table does not"
        " exist",
        run="az storage container list --account-name ACCOUNT --auth-mode login (blob, queue and table have"
        " the same command)",
    ),
    Sentence(
        id="storage_copy_source",
        stage="resource",
        words=("CannotVerifyCopySource",),
        means="the source of a copy cannot be read: it is in another account, or the caller has no right to"
        " read it",
        run="give the identity Storage Blob Data Reader at the source; on a local instance copy within one"
        " account",
    ),
    Sentence(
        id="storage_not_supported",
        stage="resource",
        words=("FeatureNotSupportedOnAccount",),
        means="the account does not support the operation; a local instance passes only operations on that"
        " it knows a permission for",
        run="docs/develop/storage.md lists the operations of a local instance",
    ),
    Sentence(
        id="storage_unavailable",
        stage="resource",
        words=("ServerBusy",),
        near=("Azurite", *_STORAGE_HOSTS),
        means="the storage service does not respond now; on a local instance, Azurite does not",
        run="try again; on a local instance check that Azurite runs: podpass status",
    ),
)

METADATA = (
    Sentence(
        id="imds_header_missing",
        stage="imds",
        words=("Required metadata header not specified",),
        means="the request to the metadata service has no header Metadata: true",
        run="send the header, as every Azure SDK does",
    ),
    Sentence(
        id="imds_no_identity",
        stage="imds",
        words=("client_id parameter or AZURE_CLIENT_ID environment variable must be set",),
        means="the sidecar does not know the identity: the ServiceAccount has no client id, and the request"
        " names none",
        run="kubectl annotate serviceaccount SERVICEACCOUNT -n NAMESPACE"
        " azure.workload.identity/client-id=CLIENT_ID, then create"
        " the pod again",
    ),
    Sentence(
        id="imds_other_id",
        stage="imds",
        words=("the sidecar knows identities by their client ID",),
        means="the program names its identity by object id or resource id",
        run="name it by client id in the code (client_id, AZURE_CLIENT_ID)",
    ),
    Sentence(
        id="imds_bad_resource",
        stage="imds",
        words=("The resource parameter is required", "The resource must be one URI or GUID"),
        means="the request names no resource, or more than one",
        run="request ?resource=https://vault.azure.net, one resource for each request",
    ),
    Sentence(
        id="imds_identity_header",
        stage="imds",
        words=("The identity header is missing or wrong",),
        means="the request to the managed identity endpoint has another header than the identity's:"
        " IDENTITY_HEADER of the container is missing or not that of the endpoint",
        run="set IDENTITY_ENDPOINT and IDENTITY_HEADER of the container to the values of the endpoint;"
        " docs/develop/plain-containers.md",
    ),
    Sentence(
        id="imds_several_identities",
        stage="imds",
        words=("Multiple user assigned identities exist",),
        means="the endpoint has several identities, and the program names none",
        run="name one in the container: AZURE_CLIENT_ID, or client_id in the code",
        hides=("sdk_imds_unreachable",),
    ),
    Sentence(
        id="imds_identity_unknown",
        stage="imds",
        words=("Identity not found",),
        means="the endpoint has no identity with the client id, object id or resource id of the request",
        run="podpass identity list; set AZURE_CLIENT_ID of the container to one of them, and serve it with"
        " --managed-identity",
        hides=("sdk_imds_unreachable",),
    ),
    Sentence(
        id="imds_forwarded",
        stage="imds",
        words=(
            "Requests with the header X-Forwarded-For are refused",
            "The Host header is not a host of this endpoint",
        ),
        means="the request comes through a proxy, or from a web page: the endpoint answers only programs that"
        " connect to it directly",
        run="add the endpoint's address to NO_PROXY of the container, and use the address or a name of"
        " --managed-identity-hosts",
    ),
)

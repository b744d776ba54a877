"""The table of known sentences: fixed words of each, what they mean, and what to run.

Source: `tests/vectors/sdk_errors.json` has the sentences of released SDKs, recorded from real clients; the
others are those of the API server, the kubelet, the webhook, Key Vault, Storage and the sidecar.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One known error.

    `words` are alternatives, each found exactly as written; `near` are words of which one must be in the same
    part of the text. `is_summary` if it only repeats the failure of another step; `hides` are ids of
    sentences that say less.
    """

    id: str
    stage: str
    words: tuple[str, ...]
    means: str
    run: str
    near: tuple[str, ...] = ()
    is_summary: bool = False
    hides: tuple[str, ...] = ()


# How resolvers report a host name without an address.
_UNRESOLVED = (
    "Failed to resolve",
    "ENOTFOUND",
    "EAI_AGAIN",
    "UnknownHostException",
    "no such host",
    "Name or service not known",
    "Could not resolve host",
    "nodename nor servname",
)

# SDKs: tokens, authorities, credentials.
_SDK = (
    Sentence(
        id="sdk_not_injected",
        stage="admission",
        words=(
            "workload options are not fully configured",
            "tenantId, clientId, and federatedTokenFilePath are required parameters",
            "are required parameters. In DefaultAzureCredential and ManagedIdentityCredential",
            "'tenant_id' is required",
            "'client_id' is required",
            "'token_file_path' is required",
            "clientId is a required parameter",
            "tenantId is a required parameter",
            "Must provide non-null values for Client ID",
            "no client ID specified. Check pod configuration",
            "no client id specified. Check pod configuration",
            "no tenant ID specified. Check pod configuration",
            "no token file specified. Check pod configuration",
            "WorkloadIdentityCredential authentication unavailable. The workload options",
            "WorkloadIdentityCredential authentication unavailable. Workload Identity",
            "WorkloadIdentityCredential authentication unavailable. See the troubleshooting",
            "Expected values AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE",
            "Azure Kubernetes environment is not set up correctly",
            "Please ensure that the following environment variables are set",
            "Workload identity was selected but no client ID was provided",
        ),
        means="the container has not all of AZURE_CLIENT_ID, AZURE_TENANT_ID and"
        " AZURE_FEDERATED_TOKEN_FILE: the webhook did not change the pod, or found no client id",
        run="podpass doctor POD -n NAMESPACE names what is missing: the label"
        ' azure.workload.identity/use: "true" on the pod template, or the annotation'
        " azure.workload.identity/client-id on the ServiceAccount; then create the pod again",
    ),
    Sentence(
        id="sdk_token_file_missing",
        stage="assertion",
        words=(
            "No such file or directory",
            "no such file or directory",
            "NoSuchFileException",
            "Could not find file",
            "Could not find a part of the path",
            "cannot find the file",
        ),
        near=("token", "AZURE_FEDERATED_TOKEN_FILE"),
        means="the file that AZURE_FEDERATED_TOKEN_FILE names does not exist in the container",
        run="kubectl exec POD -n NAMESPACE -- ls -l /var/run/secrets/azure/tokens; create the pod again so"
        " that the webhook mounts the token",
    ),
    Sentence(
        id="sdk_ca_untrusted",
        stage="exchange",
        words=(
            "CERTIFICATE_VERIFY_FAILED",
            "certificate verify failed",
            "unable to verify the first certificate",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "self-signed certificate in certificate chain",
            "self signed certificate in certificate chain",
            "SELF_SIGNED_CERT_IN_CHAIN",
            "unable to get local issuer certificate",
            "PKIX path building failed",
            "unable to find valid certification path",
            "PKIX path validation failed",
            "trustAnchors parameter must be non-empty",
            "x509: certificate signed by unknown authority",
            "x509: certificate is not trusted",
            "invalid peer certificate",
            "InvalidCertificate(",
            "The remote certificate is invalid",
            "The SSL connection could not be established",
            "SSL certificate problem",
            "SSL peer certificate or SSH remote key was not OK",
            "its certificate is not trusted",
        ),
        means="the program does not trust the certificate of the server: its CA bundle lacks the CA",
        run="on a local instance run the program with `podpass run -- COMMAND`; elsewhere set the CA"
        " bundle that the program reads (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, the trust store of Java)",
        hides=("sdk_authority_unreachable",),
    ),
    Sentence(
        id="sdk_authority_unreachable",
        stage="exchange",
        words=(
            "Failed to resolve",
            "Name or service not known",
            "Temporary failure in name resolution",
            "getaddrinfo ENOTFOUND",
            "getaddrinfo EAI_AGAIN",
            "endpoints_resolution_error",
            "network_error",
            "UnknownHostException",
            "no such host",
            "Could not resolve host",
            "Connection refused",
            "connection refused",
            "ECONNREFUSED",
            "ECONNRESET",
            "ETIMEDOUT",
            "ConnectTimeoutException",
            "i/o timeout",
            "dial tcp",
            "context deadline exceeded",
            "error sending request for url",
            "dns error",
            "Network is unreachable",
            "network is unreachable",
            "cannot be reached",
            "did not answer within",
            "Max retries exceeded with url",
            "Couldn't connect to server",
        ),
        near=(
            "endpoints_resolution_error",
            "login.microsoftonline",
            "login.partner",
            "oauth2",
            "authority",
            "AUTHORITY",
            "Authority",
            "openid-configuration",
            "ClientAssertionCredential",
            "WorkloadIdentityCredential",
            "msal4j",
        ),
        means="the program does not reach the authority: its name does not resolve, a proxy or a network"
        " policy blocks it, or nothing listens there",
        run="kubectl exec POD -n NAMESPACE -- curl -sv"
        " https://login.microsoftonline.com/common/discovery/instance;"
        " check AZURE_AUTHORITY_HOST, HTTPS_PROXY and NO_PROXY of the container",
    ),
    Sentence(
        id="sdk_exchange_refused",
        stage="exchange",
        words=(
            "Server returned HTTP response code: 4",
            "ClientAssertionCredential authentication failed: .",
            'ClientAssertionCredential authentication failed: "',
        ),
        near=("oauth2/v2.0/token", "CredentialUnavailableException"),
        means="the token service refused the exchange, and the program or its SDK hides the AADSTS code",
        run="podpass trace POD -n NAMESPACE (local instance) shows the code; elsewhere podpass doctor POD"
        " -n NAMESPACE --exchange, or a newer release of azure-identity for Java",
        hides=("sdk_no_credential",),
    ),
    Sentence(
        id="sdk_other_tenant",
        stage="exchange",
        words=(
            "not configured to acquire tokens for tenant",
            "isn't configured to acquire tokens for",
        ),
        means="the resource belongs to another tenant than AZURE_TENANT_ID of the container",
        run="kubectl annotate serviceaccount SERVICEACCOUNT -n NAMESPACE"
        " azure.workload.identity/tenant-id=TENANT_ID, then create"
        " the pod again; or allow the tenant in the credential (additionally_allowed_tenants)",
    ),
    Sentence(
        id="sdk_imds_unreachable",
        stage="imds",
        words=(
            "no response from the IMDS endpoint",
            "ImdsCredential.get_token failed",
            "ManagedIdentityCredential: Authentication failed",
            "IMDS endpoint unavailable",
            "The managed identity endpoint is not available",
            "ManagedIdentityCredential authentication unavailable",
            "IMDS token request timed out",
            "no default identity is assigned to this resource",
            "The requested identity isn't assigned to this resource",
        ),
        means="the program asked the metadata service of the machine (IMDS), which has no identity for it;"
        " with Workload ID the token file is used instead",
        run="label the pod; for a library without Workload ID add the annotation"
        " azure.workload.identity/inject-proxy-sidecar; see `podpass migrate scan pod/POD`",
        is_summary=True,
    ),
    Sentence(
        id="sdk_no_credential",
        stage="exchange",
        words=(
            "failed to retrieve a token from the included credentials",
            "DefaultAzureCredential: failed to acquire a token",
            "ChainedTokenCredential authentication failed",
            "ChainedTokenCredential: failed to acquire a token",
            "AggregateAuthenticationError",
            "CredentialUnavailable",
            "AuthenticationRequiredError",
            "credential is not available",
            "Failed to get token from",
            "authentication unavailable",
        ),
        means="no credential of the chain returned a token; the text has no reason that podpass knows",
        run="podpass doctor POD -n NAMESPACE; for C++ set AZURE_LOG_LEVEL=verbose in the container, which"
        " logs the reason",
        is_summary=True,
    ),
)

# SDKs: wrong variables, an unreadable token file, hosts that are not reached.
_SETUP = (
    Sentence(
        id="sdk_token_file_unreadable",
        stage="assertion",
        words=(
            "Permission denied",
            "permission denied",
            "AccessDeniedException",
            "Is a directory",
            "is a directory",
            "EISDIR",
            "No content on the file",
            "NullPointerException: assertion",
            "assertion JWT cannot be null or empty",
            "client_credential needs to follow this format",
            "invalid_client_credential",
        ),
        near=(
            "identity-token",
            "tokens/",
            "token/",
            "AZURE_FEDERATED_TOKEN_FILE",
            "WorkloadIdentityCredential",
            "AuthenticationRequiredError",
            "federated token",
            "NullPointerException: assertion",
            "assertion JWT cannot be null or empty",
            "client_credential needs to follow this format",
            "invalid_client_credential",
        ),
        means="the program cannot read the file that AZURE_FEDERATED_TOKEN_FILE names: its user has no"
        " right to, or the file is empty or a directory",
        run="kubectl exec POD -n NAMESPACE -- sh -c 'id; ls -lL $AZURE_FEDERATED_TOKEN_FILE'; for a user"
        " other than root set securityContext.fsGroup in the pod template",
    ),
    Sentence(
        id="sdk_tenant_malformed",
        stage="account",
        words=(
            "Invalid tenant id provided",
            "Invalid tenant ID provided",
            "invalid tenantID",
            "invalid tenant ID",
        ),
        means="the variable AZURE_TENANT_ID is neither a GUID nor a domain",
        run="kubectl annotate serviceaccount SERVICEACCOUNT -n NAMESPACE --overwrite"
        " azure.workload.identity/tenant-id=TENANT_ID, then create the pod again",
    ),
    Sentence(
        id="sdk_authority_document",
        stage="exchange",
        words=(
            "openid_config_error",
            "untrusted_authority",
            "MsalJsonParsingException",
            "MsalClientException: com.fasterxml.jackson.core.JsonParseException",
        ),
        means="the token service publishes no document for this authority and tenant: the tenant does not"
        " exist or is not valid, or the host is not that of a token service",
        run="check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST of the container: kubectl exec POD -n NAMESPACE"
        " -- env; podpass doctor POD -n NAMESPACE",
        hides=("sdk_authority_unreachable",),
    ),
    Sentence(
        id="sdk_authority_malformed",
        stage="exchange",
        words=(
            "is an invalid authority",
            "should consist of an https url",
            "authority url scheme must be https",
            "authority must be an https URL",
            "authority should use the 'https' scheme",
            "authority_uri_insecure",
            "authority host doesn't use HTTPS scheme",
            "address must use the 'https' protocol",
            "Authority host must use https scheme",
            "cannot use an authority host without https",
            "provide a valid URI for authority host",
        ),
        means="the variable AZURE_AUTHORITY_HOST is not an https URL",
        run="remove AZURE_AUTHORITY_HOST from the container, so that the webhook sets it; then create the pod"
        " again",
    ),
    Sentence(
        id="sdk_host_unreachable",
        stage="resource",
        words=(
            "Unable to connect to proxy",
            "proxyconnect tcp",
            "Failed to resolve",
            "getaddrinfo ENOTFOUND",
            "getaddrinfo EAI_AGAIN",
            "UnknownHostException",
            "no such host",
            "Connection refused",
            "connection refused",
            "ECONNREFUSED",
        ),
        near=(
            "ServiceRequestError",
            "RestError",
            "com.azure",
            "azcore",
            "reactor.",
            "io.netty",
            'Get "https:',
        ),
        means="the program does not reach the host of the resource, or its proxy: the name does not resolve,"
        " or nothing listens there",
        run="check the URL of the resource, and HTTPS_PROXY and NO_PROXY of the container: kubectl exec POD"
        " -n NAMESPACE -- env",
        is_summary=True,
        hides=("sdk_no_credential",),
    ),
)

# Key Vault, Resource Manager, Graph.
_RESOURCES = (
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
        near=("podpass vault list", "VaultNotFound", *_UNRESOLVED),
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

# Storage.
_STORAGE = (
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
        near=("This instance has no storage account", *_UNRESOLVED),
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

# Metadata services (IMDS).
_METADATA = (
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

# The cluster: the webhook, the API server, the kubelet, and the events of kubectl.
_WEBHOOK = "azure-workload-identity"
_TRUST_WEBHOOK = "trust.cloud.podpass.dev"

_CLUSTER = (
    Sentence(
        id="webhook_bad_annotation",
        stage="account",
        words=(
            "annotation azure.workload.identity/",
            "annotation podpass.azure-workload-identity.io/",
        ),
        near=("is out of range", "is not a whole number", "is neither"),
        means="the webhook refuses the pod: an annotation of the pod or its ServiceAccount is not valid",
        run="correct the annotation that the message names, or remove it: kubectl annotate ... KEY-",
        hides=("webhook_refused",),
    ),
    Sentence(
        id="webhook_account_not_found",
        stage="account",
        words=("ServiceAccount", "serviceaccount", "error looking up service account"),
        near=("does not exist", "error looking up service account"),
        means="the ServiceAccount of the pod does not exist in its namespace",
        run="kubectl create serviceaccount SERVICEACCOUNT -n NAMESPACE, with the annotation"
        " azure.workload.identity/client-id",
        hides=("webhook_refused",),
    ),
    Sentence(
        id="webhook_mount_path_taken",
        stage="admission",
        words=("mounts volume",),
        near=("the path of its token",),
        means="a container mounts a volume of its own at the path of the token",
        run="use another mount path, or list the container in azure.workload.identity/skip-containers",
        hides=("webhook_refused",),
    ),
    Sentence(
        id="webhook_proxy_on_host_network",
        stage="admission",
        words=("requests the proxy sidecar",),
        near=("hostNetwork: true",),
        means="a pod in the network of the host cannot have the migration sidecar: it would serve the node",
        run="remove hostNetwork, or the annotation azure.workload.identity/inject-proxy-sidecar",
        hides=("webhook_refused",),
    ),
    Sentence(
        id="webhook_unreachable",
        stage="admission",
        words=("failed calling webhook", "failed to call webhook"),
        near=(_WEBHOOK,),
        means="the API server cannot call the webhook, so labelled pods are not created, or get no identity",
        run="kubectl get pods,endpoints -n azure-workload-identity-system; then podpass doctor",
        hides=("sdk_ca_untrusted", "sdk_authority_unreachable"),
    ),
    Sentence(
        id="webhook_refused",
        stage="admission",
        words=("denied the request",),
        near=(_WEBHOOK,),
        means="the webhook refuses the pod; the sentence after `denied the request` has the reason",
        run="correct the object that the sentence names; docs/operate/admission.md lists all refusals",
    ),
    Sentence(
        id="admission_label_missing",
        stage="admission",
        words=("but the pod lacks the label azure.workload.identity/use",),
        means="the ServiceAccount has a client id, but without the label the webhook changes no pod",
        run='set the label azure.workload.identity/use: "true" on the pod template, create the pod again',
    ),
    Sentence(
        id="admission_label_not_true",
        stage="admission",
        words=("but label azure.workload.identity/use",),
        means="the label has another value than true, so the webhook does not change the pod",
        run='set the label azure.workload.identity/use: "true" on the pod template, create the pod again',
    ),
    Sentence(
        id="admission_label_as_annotation",
        stage="admission",
        words=("azure.workload.identity/use is a label of the pod",),
        means="the opt-in is written as an annotation, where it has no effect",
        run='write azure.workload.identity/use: "true" under metadata.labels of the pod template',
    ),
    Sentence(
        id="admission_client_id_missing",
        stage="account",
        words=("so AZURE_CLIENT_ID is not set",),
        means="the ServiceAccount has no client id, so the SDK does not know its identity",
        run="kubectl annotate serviceaccount SERVICEACCOUNT -n NAMESPACE"
        " azure.workload.identity/client-id=CLIENT_ID",
    ),
    Sentence(
        id="admission_client_id_malformed",
        stage="account",
        words=("but a client ID is a GUID",),
        means="the annotation has a name or an object id instead of the client id",
        run="az identity show -g GROUP -n NAME --query clientId, then annotate the ServiceAccount with it",
    ),
    Sentence(
        id="admission_authority_set",
        stage="exchange",
        words=("sets AZURE_AUTHORITY_HOST, so its exchange does not go to",),
        means="the container sets AZURE_AUTHORITY_HOST to another token service than the webhook's",
        run="remove AZURE_AUTHORITY_HOST from the container, so that the webhook sets it; then create the pod"
        " again",
    ),
    Sentence(
        id="token_request_refused",
        stage="assertion",
        words=("failed to fetch token", 'cannot create resource "serviceaccounts/token"'),
        means="the API server gives the kubelet no token for the pod, so its volume cannot be mounted",
        run="kubectl get serviceaccount -n NAMESPACE; kubectl describe pod POD -n NAMESPACE",
    ),
    Sentence(
        id="token_account_not_found",
        stage="assertion",
        words=('serviceaccounts "',),
        near=('" not found',),
        means="the ServiceAccount of a pod that exists was deleted, so its token cannot be requested",
        run="create the ServiceAccount again, with the annotation azure.workload.identity/client-id",
        hides=("token_request_refused",),
    ),
    Sentence(
        id="token_volume_not_mounted",
        stage="assertion",
        words=("MountVolume.SetUp failed for volume",),
        near=("azure-identity-token", "token"),
        means="the kubelet cannot write the token file, so the pod does not start",
        run="kubectl describe pod POD -n NAMESPACE; the events name the reason",
        is_summary=True,
    ),
    Sentence(
        id="token_lifetime_invalid",
        stage="assertion",
        words=("may not specify a duration less than 10 minutes", "expirationSeconds"),
        near=("10 minutes", "is not between 600", "must be at least"),
        means="the token lifetime of the projected volume is out of range",
        run="set expirationSeconds to 3600, or remove it",
    ),
    Sentence(
        id="sidecar_image_not_pulled",
        stage="imds",
        words=("ErrImagePull", "ImagePullBackOff", "Failed to pull image"),
        near=("azwi-proxy", "azure-workload-identity/proxy", "podpass-proxy"),
        means="the node cannot pull the image of the migration sidecar",
        run="set the image registry of the chart (value image), and check the pull secret of the namespace",
    ),
    Sentence(
        id="sidecar_init_failed",
        stage="imds",
        words=("azwi-proxy-init",),
        near=("CrashLoopBackOff", "Error", "iptables", "BackOff"),
        means="the init container of the sidecar cannot set up the redirection with iptables",
        run="use the annotation podpass.azure-workload-identity.io/proxy-mode: env, which needs no privilege",
    ),
    Sentence(
        id="pod_security_refused",
        stage="admission",
        words=("violates PodSecurity",),
        near=("azwi-proxy-init", "privileged", "NET_ADMIN"),
        means="the Pod Security level of the namespace forbids the privileged init container of the sidecar",
        run="use the annotation podpass.azure-workload-identity.io/proxy-mode: env",
    ),
    Sentence(
        id="trust_webhook_unreachable",
        stage="admission",
        words=("failed calling webhook", "failed to call webhook"),
        near=(_TRUST_WEBHOOK,),
        means="the API server cannot call the webhook of podpass cloud, so no pod is created in namespaces"
        " that use the cloud",
        run="podpass cloud status; kubectl get pods -n podpass-cloud",
        hides=("webhook_unreachable", "sdk_ca_untrusted", "sdk_authority_unreachable"),
    ),
    Sentence(
        id="trust_path_taken",
        stage="admission",
        words=("the path of the CA bundle",),
        near=("mounts volume",),
        means="a container mounts a volume of its own at the path of podpass cloud's CA bundle",
        run="mount the volume at another path in the pod template",
        hides=("trust_refused",),
    ),
    Sentence(
        id="trust_volume_taken",
        stage="admission",
        words=("has another volume with the name podpass-cloud-trust",),
        means="the pod has a volume with the name of podpass cloud's CA bundle",
        run="give that volume another name in the pod template",
        hides=("trust_refused",),
    ),
    Sentence(
        id="trust_bundle_not_written",
        stage="admission",
        words=("cannot write the CA bundle into namespace",),
        means="podpass cloud has no permission to write its CA bundle into the namespace, or the API server"
        " refused it",
        run="podpass cloud status; podpass cloud install sets the permissions again",
        hides=("trust_refused",),
    ),
    Sentence(
        id="trust_namespace_not_selected",
        stage="admission",
        words=("is not selected",),
        near=(_TRUST_WEBHOOK,),
        means="the namespace does not use podpass cloud, but its webhook was called for a pod of it",
        run="podpass cloud install --for NAMESPACE selects it",
        hides=("trust_refused",),
    ),
    Sentence(
        id="trust_refused",
        stage="admission",
        words=("denied the request",),
        near=(_TRUST_WEBHOOK,),
        means="podpass cloud refuses the pod; the sentence after `denied the request` has the reason",
        run="correct what the sentence names; docs/develop/cloud.md",
        hides=("webhook_refused",),
    ),
    Sentence(
        id="trust_pod_is_older",
        stage="admission",
        words=("so its debug container does not trust the CA",),
        means="the pod was created before podpass cloud was installed, so none of its containers trusts it",
        run="kubectl rollout restart deployment NAME -n NAMESPACE, then debug the new pod",
    ),
    Sentence(
        id="trust_variable_taken",
        stage="admission",
        words=("which stays as it is",),
        near=("podpass cloud",),
        means="a container sets a variable itself that names its CA bundle, so its clients do not trust"
        " podpass cloud",
        run="remove the variable, or add the CA to that bundle: the sentence names the file",
    ),
    Sentence(
        id="trust_names_resolve_to_azure",
        stage="exchange",
        words=("so Azure's names resolve to Azure, not to podpass cloud",),
        means="the pod uses the DNS of its node, so its requests go to Azure instead of podpass cloud",
        run="set the dnsPolicy that the sentence names in the pod template",
    ),
)

SENTENCES = (*_SDK, *_SETUP, *_RESOURCES, *_STORAGE, *_METADATA, *_CLUSTER)

"""The table of known sentences: fixed words of each, what they mean, and what to run.

Source: `tests/vectors/sdk_errors.json` has the sentences of released SDKs, recorded from real clients; the
others are those of the API server, the kubelet, the webhook, Key Vault, Storage and the sidecar.
"""

from podpass.diagnose.explain.cluster_sentences import CLUSTER
from podpass.diagnose.explain.resource_sentences import METADATA, RESOURCES, STORAGE
from podpass.diagnose.explain.sentence import Sentence
from podpass.diagnose.explain.setup_sentences import SETUP

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

SENTENCES = (*_SDK, *SETUP, *RESOURCES, *STORAGE, *METADATA, *CLUSTER)

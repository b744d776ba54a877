"""Sentences of SDKs about wrong variables, an unreadable token file, and hosts that are not reached."""

from podpass.diagnose.explain.sentence import Sentence

SETUP = (
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

"""Names and paths of ServiceAccounts that clients, pods and other clusters rely on.

Source: kubernetes/kubernetes staging/src/k8s.io/apiserver/pkg/authentication/serviceaccount/util.go.
"""

# The path at which the API server publishes the keys that verify its tokens.
JWKS_PATH = "/openid/v1/jwks"
# The directory in which a container finds its ServiceAccount token.
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
USERNAME_PREFIX = "system:serviceaccount:"
ALL_ACCOUNTS_GROUP = "system:serviceaccounts"


def subject(namespace: str, account: str) -> str:
    """Return the user name of a ServiceAccount, which is also the `sub` of its tokens."""
    return f"{USERNAME_PREFIX}{namespace}:{account}"


def account_groups(namespace: str) -> tuple[str, str]:
    """Return the two groups of every ServiceAccount in a namespace."""
    return ALL_ACCOUNTS_GROUP, f"{ALL_ACCOUNTS_GROUP}:{namespace}"

"""Check the Secret with the credentials of the registry that has podpass's image."""

from podpass import names
from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.lab.install.objects import CloudValues

# The kubelet ignores Secrets of other types.
_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")


class NoPullSecret(Error):
    """The Secret of `--pull-secret` is not in a namespace whose pods need it."""

    code = "no_pull_secret"


async def check(client: KubeClient, values: CloudValues, *, with_webhook: bool) -> None:
    """Check that the pull secret exists where the cloud, and the webhook for identities, will run.

    Raises NoPullSecret, KubeError.
    """
    if not values.pull_secret:
        return
    namespaces = [values.namespace, *([names.SYSTEM_NAMESPACE] if with_webhook else [])]
    for namespace in namespaces:
        found = await client.find(f"/api/v1/namespaces/{namespace}/secrets/{values.pull_secret}")
        if found is None:
            raise NoPullSecret(
                f"namespace {namespace} has no Secret {values.pull_secret}",
                hint=_describe_commands(values.pull_secret, namespaces),
            )
        if found.get("type") not in _TYPES:
            raise NoPullSecret(
                f"Secret {namespace}/{values.pull_secret} has type {found.get('type')}, not {_TYPES[0]}",
                hint=f"replace it: kubectl delete secret {values.pull_secret} -n {namespace};"
                f" {_describe_command(values.pull_secret, namespace)}",
            )


def _describe_commands(name: str, namespaces: list[str]) -> str:
    return f"create it in {' and in '.join(namespaces)}: " + "; ".join(
        f"kubectl create namespace {each}; {_describe_command(name, each)}" for each in namespaces
    )


def _describe_command(name: str, namespace: str) -> str:
    return (
        f"kubectl create secret docker-registry {name} -n {namespace}"
        " --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD"
    )

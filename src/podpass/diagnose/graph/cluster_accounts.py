"""Read the facts of the trust graph from a cluster: its issuer and its ServiceAccounts."""

from podpass import names
from podpass.diagnose.graph.model import AccountFacts, ClusterAccounts
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.paths import DISCOVERY_PATH, path_of


async def read_accounts(
    cluster: KubeClient, audience: str = names.EXCHANGE_AUDIENCE
) -> ClusterAccounts:
    """Return the ServiceAccounts of all namespaces, and the issuer of their tokens."""
    unread, issuer = [], ""
    accounts: tuple[AccountFacts, ...] | None = None
    try:
        issuer = str((await cluster.get(DISCOVERY_PATH)).get("issuer") or "")
    except KubeError as exc:
        unread.append(f"issuer of the cluster: {exc.message}")
    try:
        accounts = tuple(
            [
                _account(item)
                async for items, _ in cluster.pages(path_of("ServiceAccount"), metadata_only=True)
                for item in items
            ]
        )
    except KubeError as exc:
        unread.append(f"ServiceAccounts of the cluster: {exc.message}")
    return ClusterAccounts(
        issuer=issuer, accounts=accounts, audience=audience, unread=tuple(unread)
    )


def _account(item: dict[str, object]) -> AccountFacts:
    metadata = item.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    annotations = about.get("annotations") or {}
    return AccountFacts(
        namespace=str(about.get("namespace", "")),
        name=str(about.get("name", "")),
        client_id=annotations.get(names.CLIENT_ID),
        tenant_id=annotations.get(names.TENANT_ID),
    )

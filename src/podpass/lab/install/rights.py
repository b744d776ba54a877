"""Check the caller's rights before anything is changed, and name each that is missing."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.paths import plural_of
from podpass.lab.install.apply import group_of, namespace_of
from podpass.lab.install.objects import Object

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class MissingRights(Error):
    """The caller may not do what an installation needs."""

    code = "missing_rights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A verb on a resource; without a namespace, in the whole cluster."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""


_DNS = "kube-system"
_AT_ONCE = 16
_CLUSTER_ADMIN = (
    "use an account with the ClusterRole cluster-admin, as kind, k3s and minikube give it; an administrator"
    " can bind it to yours: kubectl create clusterrolebinding NAME --clusterrole=cluster-admin --user=USER"
)


def list_rights(namespace: str, objects: Sequence[Object]) -> list[Right]:
    """Return the permissions that an installation and its removal need.

    `objects` are all that it creates. The API server refuses a role with a right that its creator lacks, so
    the rights of the roles are needed too.
    """
    rights = _list_for(objects, ("get", "create", "patch", "delete"))
    rights += [right for item in objects if "rules" in item for right in _list_granted(item)]
    rights += [
        Right(verb="list", resource="nodes"),
        Right(verb="list", resource="deployments", group="apps"),
        Right(verb="list", resource="pods", namespace=namespace),
        # The commands of `podpass cloud` ask the running cloud in its pod.
        Right(verb="create", resource="pods/exec", namespace=namespace),
    ]
    return list(dict.fromkeys(rights + list_removal_rights(objects)))


def list_removal_rights(objects: Sequence[Object]) -> list[Right]:
    """Return the rights that the removal of an installation needs."""
    return [
        *_list_for(objects, ("get", "delete")),
        *(Right(verb=verb, resource="configmaps") for verb in ("list", "delete")),
        *(Right(verb=verb, resource="namespaces") for verb in ("list", "patch")),
        *(Right(verb=verb, resource="configmaps", namespace=_DNS) for verb in ("get", "update")),
        *(
            Right(verb=verb, resource="deployments", group="apps", namespace=_DNS)
            for verb in ("get", "patch")
        ),
    ]


def _list_for(objects: Sequence[Object], verbs: Sequence[str]) -> list[Right]:
    return [
        Right(
            verb=verb,
            resource=plural_of(item["kind"]),
            group=group_of(item),
            namespace=namespace_of(item),
        )
        for item in objects
        for verb in verbs
    ]


def _list_granted(role: Object) -> Iterator[Right]:
    namespace = namespace_of(role)
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Right(verb=verb, resource=resource, group=group, namespace=namespace)


async def check_rights(
    client: KubeClient, rights: Sequence[Right], hint: str = _CLUSTER_ADMIN
) -> None:
    """Check that the caller has all rights; the hint says how to get them.

    Raises MissingRights, KubeError.
    """
    # Most callers are cluster-admin: then one request is enough.
    if await _has(client, Right(verb="*", resource="*", group="*")):
        return
    limit = asyncio.Semaphore(_AT_ONCE)

    async def has(right: Right) -> bool:
        async with limit:
            return await _has(client, right)

    allowed = await asyncio.gather(*map(has, rights))
    missing = [each for each, is_allowed in zip(rights, allowed, strict=True) if not is_allowed]
    if missing:
        raise MissingRights(
            "your account lacks these rights:\n    " + "\n    ".join(describe(missing)), hint=hint
        )


def describe(rights: Sequence[Right]) -> list[str]:
    """Return one text for all rights with the same verbs in the same namespace."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.namespace, right.resource), []).append(right.verb)
    resources: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (namespace, resource), each in verbs.items():
        resources.setdefault((namespace, tuple(sorted(each))), []).append(resource)
    return [
        (f"in namespace {namespace}" if namespace else "in the whole cluster")
        + f", {'/'.join(each)}: {', '.join(names)}"
        for (namespace, each), names in sorted(resources.items())
    ]


async def _has(client: KubeClient, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "resource": resource,
        "subresource": subresource,
        "group": right.group,
        "namespace": right.namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await client.create(_REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))

"""Check the caller's rights before anything is changed, and name each that is missing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from podpass.errors import Error
from podpass.kubernetes.client import KubeClient

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

    def __str__(self) -> str:
        of = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {of}" + (f" in namespace {self.namespace}" if self.namespace else "")


def list_rights(namespace: str) -> list[Right]:
    """Return the rights that install and uninstall need."""
    namespaced = (
        ("", "serviceaccounts"),
        ("", "secrets"),
        ("", "configmaps"),
        ("", "services"),
        ("apps", "deployments"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    )
    rights = [Right(verb=verb, resource="namespaces") for verb in ("get", "create", "patch")]
    rights += [
        Right(verb=verb, resource=resource, group=group, namespace=namespace)
        for group, resource in namespaced
        for verb in ("create", "patch", "delete")
    ]
    cluster_wide = (
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    )
    rights += [
        Right(verb=verb, resource=resource, group=group)
        for group, resource in cluster_wide
        for verb in ("create", "patch", "delete")
    ]
    return [
        *rights,
        Right(verb="list", resource="nodes"),
        Right(verb="list", resource="deployments", group="apps"),
        Right(verb="list", resource="configmaps"),
        Right(verb="list", resource="pods", namespace=namespace),
        # The commands of `podpass cloud` ask the running cloud in its pod.
        Right(verb="create", resource="pods/exec", namespace=namespace),
        Right(verb="update", resource="configmaps", namespace="kube-system"),
        Right(verb="patch", resource="deployments", group="apps", namespace="kube-system"),
    ]


async def check_rights(client: KubeClient, rights: Sequence[Right]) -> None:
    """Check that the caller has all rights.

    Errors:  MissingRights, KubeError.
    """
    allowed = await asyncio.gather(*(_has(client, each) for each in rights))
    missing = [
        str(each) for each, is_allowed in zip(rights, allowed, strict=True) if not is_allowed
    ]
    if missing:
        raise MissingRights(
            f"your account may not: {', '.join(missing)}",
            hint="use an account with the ClusterRole cluster-admin, as kind, k3s and minikube give it",
        )


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

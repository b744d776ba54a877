"""The commands that fix what checks find, with the names of the workload. Pure."""

import shlex
from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.diagnose.doctor.model import ClusterFacts

_TEMPLATE_OWNERS = ("Deployment", "StatefulSet", "DaemonSet")


def annotate_account(facts: ClusterFacts, key: str, value: str) -> str:
    """Return the command that sets an annotation of the ServiceAccount."""
    return (
        f"kubectl annotate serviceaccount {facts.account_name} -n {facts.namespace_name} --overwrite "
        f"{key}={value}"
    )


def remove_annotation(facts: ClusterFacts, key: str) -> str:
    """Return the command that removes an annotation of the ServiceAccount."""
    return f"kubectl annotate serviceaccount {facts.account_name} -n {facts.namespace_name} {key}-"


def label_template(facts: ClusterFacts) -> str:
    """Return the command that sets the label where it is read: on the pod template."""
    owner = owner_of(facts)
    if owner is None:
        creator = _creator_of(facts)
        where = "pod" if creator == "pod" else f"pod template in the {creator}"
        return (
            f'set {names.USE_LABEL}: "true" in metadata.labels of the {where}\'s manifest, then delete the'
            f" {creator} and create it again"
        )
    labels = f'{{"labels":{{"{names.USE_LABEL}":"true"}}}}'
    patch = f'{{"spec":{{"template":{{"metadata":{labels}}}}}}}'
    return f"kubectl patch {owner[0].lower()} {owner[1]} -n {facts.namespace_name} -p {shlex.quote(patch)}"


def create_again(facts: ClusterFacts) -> str:
    """Return the command that creates the pod again."""
    owner = owner_of(facts)
    if owner is None:
        return (
            f"kubectl delete pod {facts.pod_name} -n {facts.namespace_name}, then create it again"
            " from its manifest"
        )
    return f"kubectl rollout restart {owner[0].lower()}/{owner[1]} -n {facts.namespace_name}"


def edit_pod(facts: ClusterFacts, change: str) -> str:
    """Return how to change the pod: in the template of its owner, else in its manifest."""
    owner = owner_of(facts)
    if owner is None:
        creator = _creator_of(facts)
        return (
            f"{change} in the {creator}'s manifest, then delete the {creator} and create it again"
        )
    return f"{change}: kubectl edit {owner[0].lower()} {owner[1]} -n {facts.namespace_name}"


def remove_authority(facts: ClusterFacts) -> str:
    """Return the fix of a wrong authority that the pod's author has set; empty if the webhook has."""
    container = facts.authority_container
    change = (
        f"remove {names.ENV_AUTHORITY_HOST} from container {container} (the webhook then sets it)"
    )
    return edit_pod(facts, change) if container else ""


def _creator_of(facts: ClusterFacts) -> str:
    """Return what is created again to change a pod that no command can edit: a Job, or the pod."""
    owner: Any = facts.owner
    return "Job" if isinstance(owner, Mapping) and owner.get("kind") == "Job" else "pod"


def owner_of(facts: ClusterFacts) -> tuple[str, str] | None:
    """Return kind and name of the workload whose pod template can be changed."""
    owner: Any = facts.owner
    if not isinstance(owner, Mapping) or owner.get("kind") not in _TEMPLATE_OWNERS:
        return None
    return str(owner["kind"]), str(owner["metadata"]["name"])

"""Unmodified kubectl with managed fields: server-side apply, diff, edit, replace, explain."""

import json
from typing import Any

from kubeling.apiserver.kinds import KINDS
from tests.apiserver.kubectl import Kubectl, kubectl

__all__ = ["kubectl"]

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, tier: front}
spec:
  containers:
  - name: c
    image: app:1
    env: [{name: A, value: "1"}, {name: B, value: "2"}]
    ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
"""
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: one, b: two}\n"
LAST = "kubectl.kubernetes.io/last-applied-configuration"


async def get_object(run: Kubectl, *what: str) -> Any:
    return json.loads((await run("get", *what, "-o", "json", "--show-managed-fields")).out)


def managers(obj: Any) -> list[tuple[str, str]]:
    return [(each["manager"], each["operation"]) for each in obj["metadata"]["managedFields"]]


async def test_field_left_out_of_an_apply_is_removed(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    await kubectl(*apply, given=MAP)
    output = await kubectl(*apply, given=MAP.replace(", b: two", ""))
    assert output.out == "configmap/settings serverside-applied\n"
    assert (await get_object(kubectl, "cm", "settings"))["data"] == {"a": "one"}


async def test_applied_labels_and_variables_are_removed_when_left_out(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    await kubectl(*apply, given=POD)
    await kubectl("label", "pod", "web", "other=stays")
    await kubectl(*apply, given=POD.replace(", tier: front", ""))
    labels = (await get_object(kubectl, "pod", "web"))["metadata"]["labels"]
    assert labels == {"app": "web", "other": "stays"}


async def test_client_side_apply_migrates_to_server_side_apply(kubectl: Kubectl) -> None:
    """Fails if the new manager does not take over fields: a field omitted later would not be removed."""
    await kubectl("apply", "-f", "-", given=MAP)
    before = await get_object(kubectl, "cm", "settings")
    assert managers(before) == [("kubectl-client-side-apply", "Update")]
    assert LAST in before["metadata"]["annotations"]
    await kubectl("apply", "--server-side", "-f", "-", given=MAP)
    assert ("kubectl", "Apply") in managers(await get_object(kubectl, "cm", "settings"))
    await kubectl("apply", "--server-side", "-f", "-", given=MAP.replace(", b: two", ""))
    after = await get_object(kubectl, "cm", "settings")
    assert after["data"] == {"a": "one"}
    assert ("kubectl-client-side-apply", "Update") not in managers(after)


async def test_edited_field_conflicts_with_an_apply(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", given=MAP)
    edited = await kubectl("edit", "cm", "settings", editor="sed -i s/one/edited/")
    assert edited.out == "configmap/settings edited\n"
    found = await get_object(kubectl, "cm", "settings")
    assert found["data"]["a"] == "edited"
    assert ("kubectl-edit", "Update") in managers(found)
    refused = await kubectl("apply", "--server-side", "-f", "-", given=MAP, code=1)
    assert 'conflict with "kubectl-edit" using v1' in refused.err
    assert ".data.a" in refused.err
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=MAP)
    found = await get_object(kubectl, "cm", "settings")
    assert found["data"]["a"] == "one"
    assert managers(found) == [("kubectl", "Apply")]


async def test_diff_shows_the_changes_of_an_apply(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", given=POD)
    for how in ((), ("--server-side",)):
        assert (await kubectl("diff", *how, "-f", "-", given=POD)).out == ""
    changed = POD.replace("app:1", "app:2")
    output = await kubectl("diff", "--server-side", "-f", "-", given=changed, code=1)
    assert "-  - image: app:1" in output.out or "-    image: app:1" in output.out
    assert "image: app:2" in output.out
    assert (await get_object(kubectl, "pod", "web"))["spec"]["containers"][0]["image"] == "app:1"


async def test_replace_with_an_old_copy_is_refused(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", given=MAP)
    old = await get_object(kubectl, "cm", "settings")
    await kubectl("patch", "cm", "settings", "-p", '{"data":{"a":"changed"}}')
    refused = await kubectl("replace", "-f", "-", given=json.dumps(old), code=1)
    assert "the object has been modified" in refused.err
    old["metadata"].pop("resourceVersion")
    await kubectl("replace", "-f", "-", given=json.dumps(old))
    assert (await get_object(kubectl, "cm", "settings"))["data"]["a"] == "one"


async def test_forced_replace_creates_a_new_object(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", given=MAP)
    before = (await get_object(kubectl, "cm", "settings"))["metadata"]["uid"]
    await kubectl("replace", "--force", "-f", "-", given=MAP)
    assert (await get_object(kubectl, "cm", "settings"))["metadata"]["uid"] != before


async def test_each_verb_has_its_own_field_manager(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", given=MAP)
    await kubectl("label", "cm", "settings", "x=y")
    await kubectl("annotate", "cm", "settings", "note=here")
    await kubectl("patch", "cm", "settings", "-p", '{"data":{"c":"three"}}')
    found = await get_object(kubectl, "cm", "settings")
    names = {name for name, _ in managers(found)}
    assert names == {"kubectl-create", "kubectl-label", "kubectl-annotate", "kubectl-patch"}
    await kubectl("label", "cm", "settings", "x-")
    assert "kubectl-label" not in {
        name for name, _ in managers(await get_object(kubectl, "cm", "settings"))
    }


async def test_every_served_kind_can_be_explained(kubectl: Kubectl) -> None:
    for kind in (each for each in KINDS if each.stored):
        version = f"--api-version={kind.api_version}"
        output = (await kubectl("explain", kind.plural, "--recursive", version)).out
        assert f"KIND:       {kind.kind}" in output
        for field in ("apiVersion", "metadata", "managedFields", "resourceVersion"):
            assert field in output, kind


async def test_field_is_explained_with_its_type(kubectl: Kubectl) -> None:
    output = (await kubectl("explain", "pod.spec.containers.ports")).out
    assert "FIELD: ports <[]ContainerPort>" in output
    assert "containerPort\t<integer> -required-" in output
    refused = await kubectl("explain", "pod.spec.nope", code=1)
    assert 'field "nope" does not exist' in refused.err

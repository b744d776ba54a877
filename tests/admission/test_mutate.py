"""The patch: what it adds, what it replaces, and what it does not change."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from podpass import names
from podpass.account.model import MalformedPod, MountPathTaken, PatchTooLarge
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
CLIENT = {names.CLIENT_ID: "client"}
ENV = [
    {"name": "AZURE_CLIENT_ID", "value": "client"},
    {"name": "AZURE_TENANT_ID", "value": "tenant"},
    {
        "name": "AZURE_FEDERATED_TOKEN_FILE",
        "value": "/var/run/secrets/azure/wi/token/azure-identity-token",
    },
    {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.microsoftonline.com/"},
]
OWN = names.VOLUME_PREFIX + "a172cedcae47474b615c54d510a5d8"  # sha256("app")
MOUNT = {"name": OWN, "mountPath": "/var/run/secrets/azure/wi", "readOnly": True}
CUSTOM = {"azure.workload.identity/use-binding": "true"}


def _paths(operations: list[dict[str, Any]]) -> list[str]:
    return [f"{operation['op']} {operation['path']}" for operation in operations]


def _custom(settings: WebhookSettings, **more: Any) -> WebhookSettings:
    return dataclasses.replace(
        settings,
        custom_suffix="binding",
        custom_audience="custom",
        token_proxy="https://proxy",
        **more,
    )


def test_plain_pod_gets_three_operations(mutate_pod: Function, make_pod: Function) -> None:
    operations = mutate_pod(make_pod(), CLIENT)
    assert operations == [
        {"op": "add", "path": "/spec/containers/0/env", "value": ENV},
        {"op": "add", "path": "/spec/containers/0/volumeMounts", "value": [MOUNT]},
        {
            "op": "add",
            "path": "/spec/volumes",
            "value": [
                {
                    "name": OWN,
                    "projected": {
                        "sources": [
                            {
                                "serviceAccountToken": {
                                    "path": "token/azure-identity-token",
                                    "expirationSeconds": 3600,
                                    "audience": "api://AzureADTokenExchange",
                                }
                            }
                        ]
                    },
                }
            ],
        },
    ]


def test_existing_lists_are_appended_to(mutate_pod: Function, make_pod: Function) -> None:
    container = {"name": "web", "env": [{"name": "A"}], "volumeMounts": [{"name": "d"}]}
    operations = mutate_pod(make_pod(containers=[container], volumes=[{"name": "d"}]), CLIENT)
    assert _paths(operations) == [
        *["add /spec/containers/0/env/-"] * 4,
        "add /spec/containers/0/volumeMounts/-",
        "add /spec/volumes/-",
    ]


@pytest.mark.parametrize("empty", [None, []])
def test_lists_that_are_null_or_empty_are_replaced(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, empty: Any
) -> None:
    container = {"name": "web", "env": empty, "volumeMounts": empty}
    pod = make_pod(containers=[container], volumes=empty, initContainers=empty)
    spec = mutate_and_apply(pod, mutate_pod(pod, CLIENT))["spec"]
    assert spec["containers"][0] == {"name": "web", "env": ENV, "volumeMounts": [MOUNT]}
    assert spec["initContainers"] == empty
    assert [volume["name"] for volume in spec["volumes"]] == [OWN]


@pytest.mark.parametrize(
    "entry", [{"value": "mine"}, {"value": ""}, {}, {"valueFrom": {"secretKeyRef": {"key": "k"}}}]
)
@pytest.mark.parametrize("name", [entry["name"] for entry in ENV])
def test_variable_of_the_user_is_unchanged(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function, name: str, entry: Any
) -> None:
    own = {"name": name, **entry}
    pod = make_pod(containers=[{"name": "web", "env": [own]}])
    env = mutate_and_apply(pod, mutate_pod(pod, CLIENT))["spec"]["containers"][0]["env"]
    assert env == [own, *(ours for ours in ENV if ours["name"] != name)]


def test_empty_values_are_not_set(
    mutate_pod: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    nowhere = dataclasses.replace(settings, authority_host="")
    operations = mutate_pod(make_pod(), {names.TENANT_ID: ""}, nowhere)
    assert [entry["name"] for entry in operations[0]["value"]] == ["AZURE_FEDERATED_TOKEN_FILE"]


def test_skipped_container_is_unchanged_but_volume_is_added(
    mutate_pod: Function, make_pod: Function
) -> None:
    pod = make_pod(
        {names.SKIP_CONTAINERS: "web; setup"},
        containers=[{"name": "web"}, {"name": "other"}],
        initContainers=[{"name": "setup"}],
    )
    assert _paths(mutate_pod(pod, CLIENT)) == [
        "add /spec/containers/1/env",
        "add /spec/containers/1/volumeMounts",
        "add /spec/volumes",
    ]


def test_two_containers_with_the_same_name_are_both_injected(
    mutate_pod: Function, make_pod: Function
) -> None:
    pod = make_pod(containers=[{"name": "web"}, {"name": "web"}])
    assert len(mutate_pod(pod, CLIENT)) == 5


def test_ephemeral_containers_are_unchanged(mutate_pod: Function, make_pod: Function) -> None:
    pod = make_pod(ephemeralContainers=[{"name": "debug"}])
    assert not [path for path in _paths(mutate_pod(pod, CLIENT)) if "ephemeral" in path]


def test_unknown_fields_are_unchanged(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    strange = {"a~b/c": [1.0, 1e400, None, "\ud800"], "": {"~1": "~0"}}
    pod = make_pod(
        initContainers=[{"name": "side", "restartPolicy": "Always", "x": strange}],
        resources=strange,
        volumes=[{"name": "other", "x": strange}],
    )
    pod |= {"panda": "bamboo", "status": strange}
    pod["metadata"]["annotations"] = {"a~b/c": "~1"}
    before = copy.deepcopy(pod)
    after = mutate_and_apply(pod, mutate_pod(pod, CLIENT))
    assert pod == before, "the received object is never modified"
    del after["spec"]["volumes"][1]
    for container in after["spec"]["containers"] + after["spec"]["initContainers"]:
        del container["env"], container["volumeMounts"]
    assert after == before


def test_namespace_is_not_added_to_the_pod(mutate_pod: Function, make_pod: Function) -> None:
    pod = make_pod()
    del pod["metadata"]["namespace"]
    assert not [path for path in _paths(mutate_pod(pod, CLIENT)) if "metadata" in path]


def test_different_reserved_volume_and_mount_are_replaced_in_place(
    mutate_pod: Function, mutate_and_apply: Function, make_pod: Function
) -> None:
    """A volume with the reserved name could contain a token for another audience, or no token."""
    forged = {"name": OWN, "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}
    mounts = [{"name": OWN, "mountPath": "/elsewhere"}, {"name": "d", "mountPath": "/d"}]
    pod = make_pod(
        containers=[{"name": "web", "env": [], "volumeMounts": mounts}],
        volumes=[{"name": "d"}, forged],
    )
    operations = mutate_pod(pod, CLIENT)
    assert _paths(operations) == [
        "add /spec/containers/0/env",
        "replace /spec/containers/0/volumeMounts/0",
        "replace /spec/volumes/1",
    ]
    spec = mutate_and_apply(pod, operations)["spec"]
    assert spec["containers"][0]["volumeMounts"] == [MOUNT, mounts[1]]
    token = spec["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == "api://AzureADTokenExchange"


def test_first_of_two_reserved_mounts_is_replaced(mutate_pod: Function, make_pod: Function) -> None:
    mounts = [{"name": OWN, "mountPath": "/a"}, {"name": OWN, "mountPath": "/b"}]
    operations = mutate_pod(make_pod(containers=[{"name": "web", "volumeMounts": mounts}]), CLIENT)
    replaced = [path for path in _paths(operations) if path.startswith("replace")]
    assert replaced == ["replace /spec/containers/0/volumeMounts/0"]


def test_other_volume_at_the_mount_path_is_refused(
    mutate_pod: Function, make_pod: Function
) -> None:
    """The API server would refuse two mounts at one path without naming the webhook."""
    mount = {"name": "mine", "mountPath": names.MOUNT_PATH}
    container = {"name": "web", "volumeMounts": [mount]}
    with pytest.raises(MountPathTaken) as caught:
        mutate_pod(make_pod(containers=[container]), CLIENT)
    assert caught.value.facts == {"container": "web", "volume": "mine"}
    skipping = make_pod({names.SKIP_CONTAINERS: "web"}, containers=[container])
    assert _paths(mutate_pod(skipping, CLIENT)) == ["add /spec/volumes"]


@pytest.mark.parametrize("field", ["containers", "initContainers", "volumes"])
def test_invalid_list_is_refused(mutate_pod: Function, make_pod: Function, field: str) -> None:
    with pytest.raises(MalformedPod):
        mutate_pod(make_pod(**{field: {"name": "web"}}), CLIENT)


@pytest.mark.parametrize("field", ["env", "volumeMounts"])
def test_container_with_invalid_list_is_refused(
    mutate_pod: Function, make_pod: Function, field: str
) -> None:
    with pytest.raises(MalformedPod):
        mutate_pod(make_pod(containers=[{"name": "web", field: ["x"]}]), CLIENT)


def test_custom_endpoint_ca_is_mounted_from_its_config_map(
    mutate_pod: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    custom = _custom(settings, ca_configmap="ca", sni_name="sni")
    operations = mutate_pod(make_pod(CUSTOM), CLIENT, custom)
    env = {entry["name"]: entry["value"] for entry in operations[0]["value"]}
    assert env["AZURE_KUBERNETES_TOKEN_PROXY"] == "https://proxy"
    assert env["AZURE_KUBERNETES_SNI_NAME"] == "sni"
    assert env["AZURE_KUBERNETES_CA_FILE"] == "/var/run/secrets/azure/wi/ca-cert/ca.crt"
    token, ca = operations[-1]["value"][0]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "custom"
    items = [{"key": "ca.crt", "path": "ca-cert/ca.crt"}]
    assert ca == {"configMap": {"name": "ca", "items": items, "optional": False}}


@pytest.mark.parametrize("ca_data", ["", "PEM"])
def test_ca_file_is_not_set_without_mounted_file(
    mutate_pod: Function, make_pod: Function, settings: WebhookSettings, ca_data: str
) -> None:
    """Every SDK refuses CA file and CA data together, and a missing file."""
    operations = mutate_pod(make_pod(CUSTOM), CLIENT, _custom(settings, ca_data=ca_data))
    env = {entry["name"]: entry["value"] for entry in operations[0]["value"]}
    assert "AZURE_KUBERNETES_CA_FILE" not in env
    assert env.get("AZURE_KUBERNETES_CA_DATA", "") == ca_data
    assert len(operations[-1]["value"][0]["projected"]["sources"]) == 1


@pytest.mark.parametrize("selector", [None, {"matchLabels": {"a": "b"}}])
def test_trust_bundle_is_selected_by_signer_and_labels(
    mutate_pod: Function, make_pod: Function, settings: WebhookSettings, selector: Any
) -> None:
    custom = _custom(settings, ca_signer="example.com/s", ca_selector=selector)
    bundle = mutate_pod(make_pod(CUSTOM), CLIENT, custom)[-1]["value"][0]["projected"]["sources"][1]
    expected = {"signerName": "example.com/s", "path": "ca-cert/ca.crt", "optional": False}
    labels = {} if selector is None else {"labelSelector": selector}
    assert bundle == {"clusterTrustBundle": expected | labels}


def test_patch_larger_than_an_api_server_stores_is_refused(
    mutate_pod: Function, make_pod: Function
) -> None:
    """A thousand containers with a client ID of 200 KB each would need a gigabyte in a process of 50 MB."""
    many = [{"name": f"c{n}"} for n in range(1000)]
    with pytest.raises(PatchTooLarge):
        mutate_pod(make_pod(containers=many), {names.CLIENT_ID: "c" * 200_000})
    skipping = make_pod({names.SKIP_CONTAINERS: ";".join(each["name"] for each in many)})
    skipping["spec"]["containers"] = many
    assert len(mutate_pod(skipping, {names.CLIENT_ID: "c" * 200_000})) == 1
    assert len(mutate_pod(make_pod(containers=many), CLIENT)) == 2001

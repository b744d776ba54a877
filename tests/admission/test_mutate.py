"""The patch: what it adds, what it replaces, what it leaves alone."""

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


def test_a_plain_pod_gets_three_additions(mutating: Function, make_pod: Function) -> None:
    operations = mutating(make_pod(), CLIENT)
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


def test_lists_that_are_there_are_appended_to(mutating: Function, make_pod: Function) -> None:
    container = {"name": "web", "env": [{"name": "A"}], "volumeMounts": [{"name": "d"}]}
    operations = mutating(make_pod(containers=[container], volumes=[{"name": "d"}]), CLIENT)
    assert _paths(operations) == [
        *["add /spec/containers/0/env/-"] * 4,
        "add /spec/containers/0/volumeMounts/-",
        "add /spec/volumes/-",
    ]


@pytest.mark.parametrize("empty", [None, []])
def test_lists_that_are_null_or_empty_are_replaced(
    mutating: Function, applying: Function, make_pod: Function, empty: Any
) -> None:
    container = {"name": "web", "env": empty, "volumeMounts": empty}
    pod = make_pod(containers=[container], volumes=empty, initContainers=empty)
    spec = applying(pod, mutating(pod, CLIENT))["spec"]
    assert spec["containers"][0] == {"name": "web", "env": ENV, "volumeMounts": [MOUNT]}
    assert spec["initContainers"] == empty
    assert [volume["name"] for volume in spec["volumes"]] == [OWN]


@pytest.mark.parametrize(
    "entry", [{"value": "mine"}, {"value": ""}, {}, {"valueFrom": {"secretKeyRef": {"key": "k"}}}]
)
@pytest.mark.parametrize("name", [entry["name"] for entry in ENV])
def test_a_variable_the_user_set_stays_as_it_is(
    mutating: Function, applying: Function, make_pod: Function, name: str, entry: Any
) -> None:
    own = {"name": name, **entry}
    pod = make_pod(containers=[{"name": "web", "env": [own]}])
    env = applying(pod, mutating(pod, CLIENT))["spec"]["containers"][0]["env"]
    assert env == [own, *(ours for ours in ENV if ours["name"] != name)]


def test_values_that_are_empty_are_not_set(
    mutating: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    nowhere = dataclasses.replace(settings, authority_host="")
    operations = mutating(make_pod(), {names.TENANT_ID: ""}, nowhere)
    assert [entry["name"] for entry in operations[0]["value"]] == ["AZURE_FEDERATED_TOKEN_FILE"]


def test_a_skipped_container_is_untouched_and_the_volume_is_there(
    mutating: Function, make_pod: Function
) -> None:
    pod = make_pod(
        {names.SKIP_CONTAINERS: "web; setup"},
        containers=[{"name": "web"}, {"name": "other"}],
        initContainers=[{"name": "setup"}],
    )
    assert _paths(mutating(pod, CLIENT)) == [
        "add /spec/containers/1/env",
        "add /spec/containers/1/volumeMounts",
        "add /spec/volumes",
    ]


def test_both_of_two_containers_of_one_name_are_served(
    mutating: Function, make_pod: Function
) -> None:
    pod = make_pod(containers=[{"name": "web"}, {"name": "web"}])
    assert len(mutating(pod, CLIENT)) == 5


def test_ephemeral_containers_are_left_alone(mutating: Function, make_pod: Function) -> None:
    pod = make_pod(ephemeralContainers=[{"name": "debug"}])
    assert not [path for path in _paths(mutating(pod, CLIENT)) if "ephemeral" in path]


def test_what_this_version_does_not_know_survives(
    mutating: Function, applying: Function, make_pod: Function
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
    after = applying(pod, mutating(pod, CLIENT))
    assert pod == before, "the object that came is read and never written"
    del after["spec"]["volumes"][1]
    for container in after["spec"]["containers"] + after["spec"]["initContainers"]:
        del container["env"], container["volumeMounts"]
    assert after == before


def test_the_namespace_is_not_written_into_the_pod(mutating: Function, make_pod: Function) -> None:
    pod = make_pod()
    del pod["metadata"]["namespace"]
    assert not [path for path in _paths(mutating(pod, CLIENT)) if "metadata" in path]


def test_our_volume_and_mount_of_another_shape_are_put_right_in_place(
    mutating: Function, applying: Function, make_pod: Function
) -> None:
    """A volume of our name could else hold a token for another audience, or no token at all."""
    forged = {"name": OWN, "projected": {"sources": [{"serviceAccountToken": {"path": "x"}}]}}
    mounts = [{"name": OWN, "mountPath": "/elsewhere"}, {"name": "d", "mountPath": "/d"}]
    pod = make_pod(
        containers=[{"name": "web", "env": [], "volumeMounts": mounts}],
        volumes=[{"name": "d"}, forged],
    )
    operations = mutating(pod, CLIENT)
    assert _paths(operations) == [
        "add /spec/containers/0/env",
        "replace /spec/containers/0/volumeMounts/0",
        "replace /spec/volumes/1",
    ]
    spec = applying(pod, operations)["spec"]
    assert spec["containers"][0]["volumeMounts"] == [MOUNT, mounts[1]]
    token = spec["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == "api://AzureADTokenExchange"


def test_of_two_mounts_of_our_name_the_first_is_put_right(
    mutating: Function, make_pod: Function
) -> None:
    mounts = [{"name": OWN, "mountPath": "/a"}, {"name": OWN, "mountPath": "/b"}]
    operations = mutating(make_pod(containers=[{"name": "web", "volumeMounts": mounts}]), CLIENT)
    replaced = [path for path in _paths(operations) if path.startswith("replace")]
    assert replaced == ["replace /spec/containers/0/volumeMounts/0"]


def test_another_volume_at_our_path_is_refused_and_explained(
    mutating: Function, make_pod: Function
) -> None:
    """The API server would refuse two mounts at one path without saying whose the second is."""
    mount = {"name": "mine", "mountPath": names.MOUNT_PATH}
    container = {"name": "web", "volumeMounts": [mount]}
    with pytest.raises(MountPathTaken) as caught:
        mutating(make_pod(containers=[container]), CLIENT)
    assert caught.value.facts == {"container": "web", "volume": "mine"}
    skipping = make_pod({names.SKIP_CONTAINERS: "web"}, containers=[container])
    assert _paths(mutating(skipping, CLIENT)) == ["add /spec/volumes"]


@pytest.mark.parametrize("field", ["containers", "initContainers", "volumes"])
def test_a_list_of_another_shape_is_refused(
    mutating: Function, make_pod: Function, field: str
) -> None:
    with pytest.raises(MalformedPod):
        mutating(make_pod(**{field: {"name": "web"}}), CLIENT)


@pytest.mark.parametrize("field", ["env", "volumeMounts"])
def test_a_containers_list_of_another_shape_is_refused(
    mutating: Function, make_pod: Function, field: str
) -> None:
    with pytest.raises(MalformedPod):
        mutating(make_pod(containers=[{"name": "web", field: ["x"]}]), CLIENT)


def test_the_custom_endpoints_ca_comes_as_a_file_from_its_config_map(
    mutating: Function, make_pod: Function, settings: WebhookSettings
) -> None:
    custom = _custom(settings, ca_configmap="ca", sni_name="sni")
    operations = mutating(make_pod(CUSTOM), CLIENT, custom)
    env = {entry["name"]: entry["value"] for entry in operations[0]["value"]}
    assert env["AZURE_KUBERNETES_TOKEN_PROXY"] == "https://proxy"
    assert env["AZURE_KUBERNETES_SNI_NAME"] == "sni"
    assert env["AZURE_KUBERNETES_CA_FILE"] == "/var/run/secrets/azure/wi/ca-cert/ca.crt"
    token, ca = operations[-1]["value"][0]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "custom"
    items = [{"key": "ca.crt", "path": "ca-cert/ca.crt"}]
    assert ca == {"configMap": {"name": "ca", "items": items, "optional": False}}


@pytest.mark.parametrize("ca_data", ["", "PEM"])
def test_no_ca_file_is_named_where_none_is_mounted(
    mutating: Function, make_pod: Function, settings: WebhookSettings, ca_data: str
) -> None:
    """Every SDK refuses a CA file beside CA data, and a file that is not there."""
    operations = mutating(make_pod(CUSTOM), CLIENT, _custom(settings, ca_data=ca_data))
    env = {entry["name"]: entry["value"] for entry in operations[0]["value"]}
    assert "AZURE_KUBERNETES_CA_FILE" not in env
    assert env.get("AZURE_KUBERNETES_CA_DATA", "") == ca_data
    assert len(operations[-1]["value"][0]["projected"]["sources"]) == 1


@pytest.mark.parametrize("selector", [None, {"matchLabels": {"a": "b"}}])
def test_a_trust_bundle_is_selected_by_signer_and_labels(
    mutating: Function, make_pod: Function, settings: WebhookSettings, selector: Any
) -> None:
    custom = _custom(settings, ca_signer="example.com/s", ca_selector=selector)
    bundle = mutating(make_pod(CUSTOM), CLIENT, custom)[-1]["value"][0]["projected"]["sources"][1]
    expected = {"signerName": "example.com/s", "path": "ca-cert/ca.crt", "optional": False}
    labels = {} if selector is None else {"labelSelector": selector}
    assert bundle == {"clusterTrustBundle": expected | labels}


def test_a_patch_that_no_api_server_could_keep_is_refused(
    mutating: Function, make_pod: Function
) -> None:
    """A thousand containers, each to be told a client id of 200 KB: a gigabyte, in a process of 50 MB."""
    many = [{"name": f"c{n}"} for n in range(1000)]
    with pytest.raises(PatchTooLarge):
        mutating(make_pod(containers=many), {names.CLIENT_ID: "c" * 200_000})
    skipping = make_pod({names.SKIP_CONTAINERS: ";".join(each["name"] for each in many)})
    skipping["spec"]["containers"] = many
    assert len(mutating(skipping, {names.CLIENT_ID: "c" * 200_000})) == 1
    assert len(mutating(make_pod(containers=many), CLIENT)) == 2001

"""What is refused for its content, and which fields are named as the cause."""

from typing import Any

import pytest

from tests.control_plane.contract.api import (
    MERGE,
    Api,
    config_map,
    deployment,
    pod,
    refused,
)

C = {"name": "c", "image": "i"}
BAD_PODS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("no containers", {"containers": []}, ("spec.containers",)),
    ("no image", {"containers": [{"name": "c"}]}, ("spec.containers[0].image",)),
    ("one name twice", {"containers": [C, C]}, ("spec.containers[1].name",)),
    ("a name in capitals", {"containers": [C | {"name": "C"}]}, ("spec.containers[0].name",)),
    ("a policy nobody knows", {"restartPolicy": "Sometimes"}, ("spec.restartPolicy",)),
    (
        "a port that cannot be",
        {"containers": [C | {"ports": [{"containerPort": 0}]}]},
        ("spec.containers[0].ports[0].containerPort",),
    ),
    (
        "a mount of no volume",
        {"containers": [C | {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
        ("spec.containers[0].volumeMounts[0].name",),
    ),
    (
        "a mount at no place",
        {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [C | {"volumeMounts": [{"name": "v", "mountPath": ""}]}],
        },
        ("spec.containers[0].volumeMounts[0].mountPath",),
    ),
    (
        "a token that lives too short",
        {
            "volumes": [
                {
                    "name": "v",
                    "projected": {
                        "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]
                    },
                }
            ]
        },
        ("spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",),
    ),
    (
        "less allowed than asked for",
        {"containers": [C | {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]},
        ("spec.containers[0].resources.requests",),
    ),
    (
        "a value and its source",
        {
            "containers": [
                C
                | {
                    "env": [
                        {
                            "name": "A",
                            "value": "x",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                        }
                    ]
                }
            ]
        },
        ("spec.containers[0].env[0].valueFrom",),
    ),
    (
        "a variable without a name",
        {"containers": [C | {"env": [{"name": "", "value": "x"}]}]},
        ("spec.containers[0].env[0].name",),
    ),
    (
        "an init container with the name of another",
        {"initContainers": [C]},
        ("spec.initContainers[0].name",),
    ),
]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [(spec, fields) for _, spec, fields in BAD_PODS],
    ids=[title.replace(" ", "-") for title, _, _ in BAD_PODS],
)
async def test_a_pod_is_refused_with_the_fields_that_are_wrong(
    api: Api, spec: dict[str, Any], fields: tuple[str, ...]
) -> None:
    refused(await api.call("POST", api.path("pods"), pod(**spec)), 422, "Invalid", *fields)


async def test_an_init_container_that_ends_has_no_hooks(api: Api) -> None:
    init = {"name": "i", "image": "i", "lifecycle": {}}
    reply = await api.call("POST", api.path("pods"), pod(initContainers=[init]))
    refused(reply, 422, "Invalid", "spec.initContainers[0].lifecycle")


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a" * 254, ""])
async def test_a_name_that_is_no_dns_name_is_refused(api: Api, name: str) -> None:
    reply = await api.call("POST", api.path("configmaps"), config_map(name))
    refused(reply, 422, "Invalid", "metadata.name")


async def test_a_label_that_no_selector_could_name_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"] |= {"labels": {"a": "no spaces"}, "annotations": {"no spaces": "x"}}
    reply = await api.call("POST", api.path("configmaps"), body)
    refused(reply, 422, "Invalid", "metadata.labels", "metadata.annotations")


async def test_a_key_that_is_no_file_name_is_refused(api: Api) -> None:
    reply = await api.call("POST", api.path("configmaps"), config_map(**{"a/b": "c"}))
    refused(reply, 422, "Invalid", "data[a/b]")


async def test_values_of_another_type_are_refused_as_no_such_object(api: Api) -> None:
    body = config_map() | {"data": {"a": 1}}
    refused(await api.call("POST", api.path("configmaps"), body), 400, "BadRequest")


async def test_a_pod_that_is_made_can_change_its_image_and_little_else(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p")
    image = {"spec": {"containers": [{"name": "c", "image": "other"}]}}
    kind = "application/strategic-merge-patch+json"
    assert (await api.patch(path, image, kind)).status == 200
    change = {"spec": {"containers": [{"name": "c", "command": ["x"]}]}}
    refused(await api.patch(path, change, kind), 422, "Invalid", "spec")


async def test_what_is_immutable_stays(api: Api) -> None:
    await api.create("configmaps", config_map(a="b") | {"immutable": True})
    reply = await api.patch(api.path("configmaps", "m"), {"data": {"a": "c"}}, MERGE)
    refused(reply, 422, "Invalid", "data")


async def test_a_deployment_has_to_select_its_own_pods(api: Api) -> None:
    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    reply = await api.call("POST", api.path("deployments"), body)
    refused(reply, 422, "Invalid", "spec.template.metadata.labels")


async def test_a_deployment_keeps_its_selector(api: Api) -> None:
    body = deployment()
    made = await api.create("deployments", body)
    made["spec"]["selector"]["matchLabels"]["more"] = "x"
    made["spec"]["template"]["metadata"]["labels"]["more"] = "x"
    del made["metadata"]["resourceVersion"]  # its controller has written since
    reply = await api.call("PUT", api.path("deployments", "d"), made)
    refused(reply, 422, "Invalid", "spec.selector")


async def test_a_job_needs_a_restart_policy_that_ends(api: Api) -> None:
    body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"containers": [C]}}}}
    reply = await api.call("POST", api.path("jobs"), body)
    refused(reply, 422, "Invalid", "spec.template.spec.restartPolicy")


async def test_a_service_needs_ports_that_can_be(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 70000}]}}
    fields = ("spec.ports[0].port", "spec.ports[0].targetPort")
    refused(await api.call("POST", "/".join([api.path("services")]), body), 422, "Invalid", *fields)

"""Validation of objects: invalid content is refused, and the Status names the invalid fields."""

from typing import Any

import pytest

from tests.control_plane.contract.api import MERGE, Api, check_refused, config_map, deployment, pod

C = {"name": "c", "image": "i"}
BAD_PODS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("no containers", {"containers": []}, ("spec.containers",)),
    ("no image", {"containers": [{"name": "c"}]}, ("spec.containers[0].image",)),
    ("one name twice", {"containers": [C, C]}, ("spec.containers[1].name",)),
    ("a name in capitals", {"containers": [C | {"name": "C"}]}, ("spec.containers[0].name",)),
    ("an unknown policy", {"restartPolicy": "Sometimes"}, ("spec.restartPolicy",)),
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
async def test_invalid_pod_is_refused_and_its_fields_are_named(
    api: Api, spec: dict[str, Any], fields: tuple[str, ...]
) -> None:
    check_refused(await api.call("POST", api.path("pods"), pod(**spec)), 422, "Invalid", *fields)


async def test_lifecycle_hooks_of_an_init_container_are_refused(api: Api) -> None:
    init = {"name": "i", "image": "i", "lifecycle": {}}
    reply = await api.call("POST", api.path("pods"), pod(initContainers=[init]))
    check_refused(reply, 422, "Invalid", "spec.initContainers[0].lifecycle")


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "a" * 254, ""])
async def test_name_that_is_not_a_dns_name_is_refused(api: Api, name: str) -> None:
    reply = await api.call("POST", api.path("configmaps"), config_map(name))
    check_refused(reply, 422, "Invalid", "metadata.name")


async def test_label_that_no_selector_can_match_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"] |= {"labels": {"a": "no spaces"}, "annotations": {"no spaces": "x"}}
    reply = await api.call("POST", api.path("configmaps"), body)
    check_refused(reply, 422, "Invalid", "metadata.labels", "metadata.annotations")


async def test_data_key_that_is_not_a_file_name_is_refused(api: Api) -> None:
    reply = await api.call("POST", api.path("configmaps"), config_map(**{"a/b": "c"}))
    check_refused(reply, 422, "Invalid", "data[a/b]")


async def test_values_of_a_wrong_type_are_refused(api: Api) -> None:
    body = config_map() | {"data": {"a": 1}}
    check_refused(await api.call("POST", api.path("configmaps"), body), 400, "BadRequest")


async def test_only_the_image_and_few_other_fields_of_a_pod_can_change(api: Api) -> None:
    await api.create("pods", pod())
    path = api.path("pods", "p")
    image = {"spec": {"containers": [{"name": "c", "image": "other"}]}}
    kind = "application/strategic-merge-patch+json"
    assert (await api.patch(path, image, kind)).status == 200
    change = {"spec": {"containers": [{"name": "c", "command": ["x"]}]}}
    check_refused(await api.patch(path, change, kind), 422, "Invalid", "spec")


async def test_change_of_an_immutable_field_is_refused(api: Api) -> None:
    await api.create("configmaps", config_map(a="b") | {"immutable": True})
    reply = await api.patch(api.path("configmaps", "m"), {"data": {"a": "c"}}, MERGE)
    check_refused(reply, 422, "Invalid", "data")


async def test_deployment_that_does_not_select_its_pods_is_refused(api: Api) -> None:
    body = deployment()
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    reply = await api.call("POST", api.path("deployments"), body)
    check_refused(reply, 422, "Invalid", "spec.template.metadata.labels")


async def test_a_deployment_keeps_its_selector(api: Api) -> None:
    body = deployment()
    made = await api.create("deployments", body)
    made["spec"]["selector"]["matchLabels"]["more"] = "x"
    made["spec"]["template"]["metadata"]["labels"]["more"] = "x"
    del made["metadata"]["resourceVersion"]  # its controller has written since
    reply = await api.call("PUT", api.path("deployments", "d"), made)
    check_refused(reply, 422, "Invalid", "spec.selector")


async def test_job_with_restart_policy_always_is_refused(api: Api) -> None:
    body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"containers": [C]}}}}
    reply = await api.call("POST", api.path("jobs"), body)
    check_refused(reply, 422, "Invalid", "spec.template.spec.restartPolicy")


async def test_service_with_invalid_ports_is_refused(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 70000}]}}
    fields = ("spec.ports[0].port", "spec.ports[0].targetPort")
    check_refused(
        await api.call("POST", "/".join([api.path("services")]), body), 422, "Invalid", *fields
    )


async def test_names_of_sysctls_are_checked(api: Api) -> None:
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar..", "net/ipv4/x", "kernel.shmmax"]
    sysctls = [{"name": name, "value": "1"} for name in names]
    reply = await api.call("POST", api.path("pods"), pod(securityContext={"sysctls": sysctls}))
    fields = [f"spec.securityContext.sysctls[{at}].name" for at in (0, 3, 5)]
    check_refused(reply, 422, "Invalid", *fields)
    assert 'Invalid value: "foo-"' in reply.body["message"]

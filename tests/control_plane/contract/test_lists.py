"""Lists: selectors, pages, tables and metadata-only lists."""

import pytest

from tests.control_plane.contract.api import Api, check_refused, config_map, deployment, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@pytest.fixture
async def maps(api: Api) -> str:
    for number in range(5):
        body = config_map(f"m{number}")
        body["metadata"]["labels"] = {"half": "low" if number < 2 else "high", "n": str(number)}
        await api.create("configmaps", body)
    return api.path("configmaps")


def _names(body: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    names = [item["metadata"]["name"] for item in body["items"]]
    return [name for name in names if name != "kube-root-ca.crt"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("half=low", ["m0", "m1"]),
        ("half!=low", ["m2", "m3", "m4"]),
        ("half in (low,none)", ["m0", "m1"]),
        ("n notin (0,1,2),half", ["m3", "m4"]),
        ("!half", []),
        ("half==high,n=4", ["m4"]),
    ],
)
async def test_label_selector_selects_objects(
    api: Api, maps: str, selector: str, names: list[str]
) -> None:
    assert _names(await api.get(f"{maps}?labelSelector={selector}")) == names


async def test_field_selector_selects_objects(api: Api, maps: str) -> None:
    assert _names(await api.get(f"{maps}?fieldSelector=metadata.name=m3")) == ["m3"]
    await api.create("pods", pod())
    pods = api.path("pods")
    assert _names(await api.get(f"{pods}?fieldSelector=status.phase=Pending,spec.nodeName=")) == [
        "p"
    ]
    assert _names(await api.get(f"{pods}?fieldSelector=status.phase!=Pending")) == []


@pytest.mark.parametrize(
    "query", ["labelSelector=a b", "labelSelector=a in", "fieldSelector=data.a=b"]
)
async def test_invalid_selector_is_refused(api: Api, query: str) -> None:
    check_refused(await api.call("GET", f"{api.path('configmaps')}?{query}"), 400, "BadRequest")


async def test_pages_are_consecutive_and_name_the_remaining_count(api: Api, maps: str) -> None:
    query = f"{maps}?labelSelector=half&limit=2"
    plain = f"{maps}?limit=4"
    first = await api.get(plain)
    assert len(first["items"]) == 4
    assert first["metadata"]["remainingItemCount"] == 2
    rest = await api.get(f"{plain}&continue={first['metadata']['continue']}")
    assert "continue" not in rest["metadata"]
    assert _names(first) + _names(rest) == ["m0", "m1", "m2", "m3", "m4"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    selected = await api.get(query)
    assert _names(selected) == ["m0", "m1"]
    assert "remainingItemCount" not in selected["metadata"]


async def test_later_pages_show_the_state_of_the_first_page(api: Api, maps: str) -> None:
    first = await api.get(f"{maps}?limit=4")
    await api.call("DELETE", api.path("configmaps", "m4"))
    rest = await api.get(f"{maps}?limit=4&continue={first['metadata']['continue']}")
    assert _names(rest) == ["m3", "m4"]


async def test_invalid_continue_token_is_refused(api: Api, maps: str) -> None:
    check_refused(await api.call("GET", f"{maps}?limit=1&continue=nonsense"), 400, "BadRequest")


async def test_invalid_resource_version_is_refused(api: Api, maps: str) -> None:
    reply = await api.call("GET", f"{maps}?resourceVersion=abc")
    assert (reply.status, reply.body["status"]) == (400, "Failure")
    reply = await api.call("GET", f"{maps}?resourceVersionMatch=Exact")
    check_refused(reply, 422, "Invalid", "resourceVersionMatch")


async def test_list_over_all_namespaces_contains_this_namespace(api: Api, maps: str) -> None:
    assert maps
    found = await api.get(f"/api/v1/configmaps?fieldSelector=metadata.namespace={api.namespace}")
    assert len(_names(found)) == 5


async def test_pods_are_returned_as_a_table(api: Api) -> None:
    await api.create("pods", pod())
    table = await api.get(api.path("pods"), accept=TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == [
        *("Name", "Ready", "Status", "Restarts", "Age"),
        *("IP", "Node", "Nominated Node", "Readiness Gates"),
    ]
    (row,) = table["rows"]
    assert row["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


@pytest.mark.parametrize(
    ("include", "kind"),
    [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")],
)
async def test_table_row_contains_the_requested_part_of_its_object(
    api: Api, maps: str, include: str, kind: str | None
) -> None:
    table = await api.get(f"{maps}?includeObject={include}", accept=TABLE)
    assert {(row.get("object") or {}).get("kind") for row in table["rows"]} == {kind}


async def test_deployments_are_returned_as_a_table(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    table = await api.get(api.path("deployments", "d"), accept=TABLE)
    columns = [each["name"] for each in table["columnDefinitions"] if each["priority"] == 0]
    assert columns == ["Name", "Ready", "Up-to-date", "Available", "Age"]
    assert table["rows"][0]["cells"][:4] == ["d", "0/0", 0, 0]


async def test_metadata_only_list_is_returned_on_request(api: Api, maps: str) -> None:
    one = await api.get(api.path("configmaps", "m1"), accept=PARTIAL)
    assert (one["kind"], "data" in one) == ("PartialObjectMetadata", False)
    many = await api.get(maps, accept=PARTIALS)
    assert many["kind"] == "PartialObjectMetadataList"


async def test_unknown_media_type_is_not_acceptable(api: Api) -> None:
    check_refused(await api.call("GET", api.path("pods"), accept="text/csv"), 406, "NotAcceptable")


async def test_timeout_of_a_request_must_be_a_duration(api: Api) -> None:
    path = api.path("configmaps")
    for timeout in ("0s", "3m", "1m30.5s", "0", ".5h"):
        assert (await api.call("GET", f"{path}?timeout={timeout}")).status == 200
    for timeout in ("invalid", "5", "1d", "s", "1.s.5"):
        check_refused(await api.call("GET", f"{path}?timeout={timeout}"), 400, "BadRequest")
    assert (await api.call("GET", "/version?timeout=x")).status == 400
    assert (await api.call("GET", f"{path}?watch=1&timeout=x&timeoutSeconds=1")).status == 200

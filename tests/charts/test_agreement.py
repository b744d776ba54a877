"""Values, schema, page and version of each chart agree; nothing of it needs Helm."""

import re

import pytest

import podpass
from tests.charts.authority import rendering as authority
from tests.charts.rendering import FILES
from tests.charts.schema import Files, keys

BOTH = pytest.mark.parametrize("files", [FILES, authority.FILES], ids=lambda one: one.folder.name)


@BOTH
def test_every_value_that_the_schema_knows_has_its_default_and_its_line_on_the_page(
    files: Files,
) -> None:
    known = files.ours
    assert len(known) > 50
    assert not known - set(keys(files.defaults))
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    assert not [key for key in sorted(leaves) if f"| `{key}` |" not in files.page]


@BOTH
def test_every_default_is_known_to_the_schema(files: Files) -> None:
    below = ("nodeSelector.", "podAnnotations.", "resources.limits.", "resources.requests.")
    assert not {key for key in keys(files.defaults) if not key.startswith(below)} - files.known


@BOTH
def test_no_object_of_the_schema_takes_any_key(files: Files) -> None:
    """A misspelt key that is taken in silence is a setting that someone believes to be set."""
    free = {"nodeSelector", "podLabels", "podAnnotations", "mutatingWebhookAnnotations", "global"}
    for name, one in files.schema["properties"].items():
        if one.get("type") == "object" and name not in free:
            assert one["additionalProperties"] is False, name


@BOTH
def test_chart_image_and_program_are_of_one_version(files: Files) -> None:
    image = files.defaults["image"]
    tag = image.get("tag") or image["release"]  # as the reference calls it
    assert {files.about["version"], files.about["appVersion"], tag} == {podpass.__version__}


@BOTH
def test_every_template_first_asks_whether_the_values_can_work(files: Files) -> None:
    first = f'{{{{- include "{files.folder.name}.check" . -}}}}\n'
    assert len(files.templates) > 8
    assert not [path.name for path in files.templates if not path.read_text().startswith(first)]


@BOTH
def test_the_schema_takes_the_quantities_that_kubernetes_takes(files: Files) -> None:
    for kind in ("requests", "limits"):
        one = files.schema["properties"]["resources"]["properties"][kind]["additionalProperties"]
        pattern = re.compile(one["anyOf"][0]["pattern"])
        suffixes = ["", *"numkMGTPE", *(f"{each}i" for each in "KMGTPE"), "e3", "E6", "e-3", "e+3"]
        for number in ("0", "1", "1024", "0.5", "1.", ".5", "+1"):
            assert not [each for each in suffixes if not pattern.search(number + each)], number
        for wrong in (
            "",
            ".",
            "1,5",
            "-1",
            "lots",
            "1 Gi",
            "1K",
            "1ki",
            "1ni",
            "1e",
            "1Zi",
            "1e1.5",
        ):
            assert not pattern.search(wrong), wrong


@BOTH
def test_counts_and_shares_are_bounded_as_kubernetes_bounds_them(files: Files) -> None:
    known = files.schema["properties"]
    for name in ("replicaCount", "revisionHistoryLimit", "runAsUser"):
        assert known[name]["maximum"] == 2**31 - 1, name
    for one in known["podDisruptionBudget"]["properties"].values():
        count, share, _ = one["anyOf"]
        assert (count["minimum"], count["maximum"]) == (0, 2**31 - 1)
        takes = re.compile(share["pattern"]).search
        assert all(takes(each) for each in ("", "0%", "050%", "99%", "100%"))
        assert not any(takes(each) for each in ("101%", "150%", "1000%", "-1%", "50", "half", "%"))

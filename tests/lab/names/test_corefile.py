"""Edits of a Corefile: one block, removed exactly."""

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from podpass.lab.names import corefile
from podpass.lab.names.corefile import Answers, BlockEdited, OtherOwner, ZoneTaken
from podpass.lab.names.server_blocks import CorefileError, CorefileNotUnderstood, parse
from tests.lab.names.corefiles import AKS, ANSWERS, COREFILES, K3S, KUBEADM

OTHER = dataclasses.replace(ANSWERS, owner="test/other")


@pytest.mark.parametrize("name", COREFILES)
def test_block_is_added_and_removed_exactly(name: str) -> None:
    before = COREFILES[name]
    added = corefile.add_block(before, ANSWERS)
    first, *others = parse(added).blocks
    assert {key.zone for key in first.keys} == set(ANSWERS.zones)
    assert {key.port for key in first.keys} == {":53"}
    assert first.plugins == {"errors", "forward"}
    assert [block.keys for block in others] == [block.keys for block in parse(before).blocks]
    assert corefile.remove_block(added, owner=ANSWERS.owner) == before


def test_second_edit_changes_nothing_and_a_new_address_replaces_the_block() -> None:
    added = corefile.add_block(KUBEADM, ANSWERS)
    assert corefile.add_block(added, ANSWERS) == added
    moved = corefile.add_block(added, dataclasses.replace(ANSWERS, resolver="fd00::7"))
    assert "forward . fd00::7\n" in moved
    assert ANSWERS.resolver not in moved
    assert corefile.remove_block(moved) == KUBEADM


def test_text_without_a_block_is_returned_unchanged() -> None:
    assert corefile.remove_block("anything {") == "anything {"
    assert corefile.remove_block(KUBEADM) == KUBEADM


def test_edits_around_the_block_are_kept() -> None:
    added = "# ours\n" + corefile.add_block(KUBEADM, ANSWERS).replace("cache 30", "cache 60")
    assert corefile.remove_block(added) == "# ours\n" + KUBEADM.replace("cache 30", "cache 60")
    assert corefile.add_block(added, ANSWERS).endswith(KUBEADM.replace("cache 30", "cache 60"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ANSWERS.resolver, "10.0.0.1"),
        ("    errors\n    forward", "    errors\n    log\n    forward"),
        ("# podpass-cloud end\n", ""),
        ("# podpass-cloud begin", "# begin"),
        (f"owner {ANSWERS.owner}", "owner a/b"),
        (": do not edit\n", ": do not edit\r\n"),
        ("# podpass-cloud begin", ".:53 { # podpass-cloud begin"),
    ],
    ids=["address", "plugin", "no-end", "no-begin", "owner", "line-end", "same-line"],
)
def test_edited_block_is_refused(old: str, new: str) -> None:
    added = corefile.add_block(KUBEADM, ANSWERS)
    edited = added.replace(old, new, 1)
    assert edited != added
    for edit in (corefile.remove_block, lambda text: corefile.add_block(text, ANSWERS)):
        with pytest.raises(BlockEdited) as refused:
            edit(edited)
        assert "podpass-cloud begin" in refused.value.hint


def test_block_that_is_there_twice_is_refused() -> None:
    added = corefile.add_block(KUBEADM, ANSWERS)
    with pytest.raises(BlockEdited):
        corefile.remove_block(added.removesuffix(KUBEADM) + added)


def test_block_of_another_installation_is_refused_by_name() -> None:
    added = corefile.add_block(KUBEADM, OTHER)
    with pytest.raises(OtherOwner, match="test/other"):
        corefile.add_block(added, ANSWERS)
    with pytest.raises(OtherOwner):
        corefile.remove_block(added, owner=ANSWERS.owner)
    assert corefile.remove_block(added, owner=OTHER.owner) == KUBEADM


@pytest.mark.parametrize(
    "block",
    [
        "vault.azure.net:53 {\n}\n",
        "VAULT.azure.net. {\n}\n",
        "example.org, mine.vault.azure.net:1053 {\n}\n",
        "dns://graph.microsoft.com {\n}\n",
    ],
    ids=["zone", "case", "below", "transport"],
)
def test_zone_that_has_a_server_block_is_refused(block: str) -> None:
    with pytest.raises(ZoneTaken, match=r"vault\.azure\.net|graph\.microsoft\.com"):
        corefile.add_block(KUBEADM + block, ANSWERS)


def test_server_block_of_a_parent_zone_is_not_changed() -> None:
    added = corefile.add_block(KUBEADM + "azure.net:53 {\n    whoami\n}\n", ANSWERS)
    assert added.endswith("azure.net:53 {\n    whoami\n}\n")


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        (".:1053 {\n}\n", [":1053"]),
        (".:53 .:5353 tls://.:853 {\n}\n", [":53", ":5353"]),
        (". {\n}\n", [""]),
        ("dns://.:53\n{\n}\n", [":53"]),
        ("cluster.local:53 {\n}\n:53 {\n}", [":53"]),
    ],
    ids=["other", "two", "default", "brace-below", "empty-zone"],
)
def test_added_block_has_the_ports_of_the_root_zone(text: str, ports: list[str]) -> None:
    first = parse(corefile.add_block(text, ANSWERS)).blocks[0]
    assert {key.port for key in first.keys} == set(ports)


@pytest.mark.parametrize(
    "text",
    [
        *("", "# only a comment\n", ".:53\nwhoami\n", ".:53 {\n", "{\n}\n", ", {\n}\n"),
        *(".:53, {\n}\n", '.:53 {\n  log "\n}\n', ".:{$PORT} {\n}\n"),
        *(".:53 {\n  bind 169.254.20.10\n}\n", ".:53 { bind 169.254.20.10\n}\n"),
        *("cluster.local:53 {\n}\n", "tls://.:853 {\n}\n", "\ufeff.:53 {\n}\n"),
        *(".:53 {\n  log#x y\n}\n", ".:53 {\n  log\x00\n}\n", ".:53 {\n  log\rerrors\n}\n"),
        *("import a b\n.:53 {\n}\n", "import\n.:53 {\n}\n", ".:53 {\n}\n" + "#" * (1024 * 1024)),
    ],
    ids=[
        *("empty", "comment", "no-braces", "no-end", "no-zone", "comma", "no-second-zone"),
        *("string", "environment", "bind", "bind-first", "no-root", "tls-only", "mark"),
        *("comment-in-word", "control", "return", "import-two", "import-none", "long"),
    ],
)
def test_corefile_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(CorefileNotUnderstood) as refused:
        corefile.add_block(text, ANSWERS)
    assert "--dns pods" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("resolver", "10.0.0.1 { }"),
        ("resolver", "fe80::1%a {\n}"),
        ("zones", ("a.example {",)),
        ("zones", ()),
        ("owner", "a\nb"),
        ("owner", ""),
    ],
    ids=["resolver", "scope", "zone", "no-zone", "owner", "no-owner"],
)
def test_answers_cannot_change_the_structure_of_the_configuration(
    change: str, value: object
) -> None:
    fields = {"zones": ANSWERS.zones, "resolver": "10.0.0.1", "owner": "a/b", change: value}
    with pytest.raises(ValueError, match=r"."):
        Answers(**fields)  # type: ignore[arg-type]


def test_distributions_with_coredns_custom_are_recognised() -> None:
    found = {name: corefile.imports_custom_servers(text) for name, text in COREFILES.items()}
    assert found == {name: name in ("k3s", "aks") for name in COREFILES}


@pytest.mark.parametrize("main", [K3S, AKS], ids=["k3s", "aks"])
def test_key_of_coredns_custom_is_added_and_removed(main: str) -> None:
    data = {"log.override": "log", "mine.server": "example.org:53 {\n  whoami\n}\n"}
    added = corefile.custom_keys(data, main, ANSWERS)
    assert added.keys() - data.keys() == {corefile.CUSTOM_KEY}
    assert corefile.CUSTOM_KEY.endswith(".server")
    assert corefile.custom_keys(added, main, ANSWERS) == added
    assert corefile.without_custom_keys(added) == data
    assert corefile.without_custom_keys(data) == data


def test_key_of_coredns_custom_that_was_edited_is_refused() -> None:
    added = corefile.custom_keys({}, K3S, ANSWERS)
    for text in (added[corefile.CUSTOM_KEY] + "log", "example.org {\n}\n"):
        with pytest.raises(BlockEdited):
            corefile.without_custom_keys({corefile.CUSTOM_KEY: text})
    with pytest.raises(OtherOwner):
        corefile.custom_keys(added, K3S, OTHER)


def test_zone_in_another_key_of_coredns_custom_is_refused_by_its_key() -> None:
    with pytest.raises(ZoneTaken, match=r"key private\.server of coredns-custom"):
        corefile.custom_keys({"private.server": "vault.azure.net:53 {\n}\n"}, K3S, ANSWERS)


_WORDS = st.sampled_from(
    ["errors", "log", "forward", ".", "/etc/resolv.conf", "cache", "30", '"a b"', '"\\"{"', "hosts"]
)
_SPACES = st.sampled_from(["\n", "\r\n", "  \n", "\n\n", '\n# comment { "\n'])


@st.composite
def _corefiles(draw: st.DrawFn) -> str:
    def body(depth: int) -> str:
        lines = []
        for _ in range(draw(st.integers(0, 3))):
            line = " ".join(draw(st.lists(_WORDS, min_size=1, max_size=3)))
            if depth and draw(st.booleans()):
                line += " {" + draw(_SPACES) + body(depth - 1) + "}"
            lines.append(line + draw(_SPACES))
        return "".join(lines)

    zones = ["example.org:53", "Cluster.Local", "10.0.0.0/8", ".:1053", "https://.:443"]
    text = draw(st.sampled_from(["", "# head\n", "import custom/*.server\n", "\r\n"]))
    blocks = [[".:53"], *draw(st.lists(st.lists(st.sampled_from(zones), min_size=1), max_size=3))]
    for keys in draw(st.permutations(blocks)):
        text += draw(st.sampled_from([" ", ", ", ",\n"])).join(keys) + " {" + draw(_SPACES)
        text += body(2) + "}" + draw(_SPACES)
    return text if draw(st.booleans()) else text.rstrip()


@given(_corefiles())
def test_removing_restores_any_corefile(text: str) -> None:
    added = corefile.add_block(text, ANSWERS)
    assert corefile.remove_block(added) == text
    assert corefile.add_block(added, ANSWERS) == added
    assert len(parse(added).blocks) == len(parse(text).blocks) + 1


@given(st.text(alphabet=st.sampled_from('.:53 {}\n\r\t"\\#,a$import(')))
def test_any_text_is_restored_or_refused(text: str) -> None:
    assume("podpass-cloud" not in text)
    try:
        added = corefile.add_block(text, ANSWERS)
    except CorefileError:
        return
    assert corefile.remove_block(added) == text

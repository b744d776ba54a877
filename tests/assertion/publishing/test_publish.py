"""What is published, in which order, and what is never overwritten or lost."""

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from podpass.assertion.publishing import documents
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import IssuerError
from podpass.assertion.publishing.publish import publish
from podpass.assertion.publishing.rotation import StepFailed
from podpass.assertion.publishing.targets import FolderTarget, TargetError, open_target
from podpass.crypto import jose
from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import ISSUER, Issuer


class RecordingTarget:
    """A target in memory that records each write; `failing` are the numbers of failing writes, from 1."""

    name = "memory"

    def __init__(self, failing: frozenset[int] = frozenset(), now: float | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.writes: list[str] = []
        self._failing, self._now = failing, now

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def write(self, path: str, body: bytes) -> float | None:
        self.writes.append(path)
        if len(self.writes) in self._failing:
            raise TargetError(f"cannot write {path}")
        self.files[path] = body
        return self._now


def test_published_documents_have_the_members_of_an_api_servers_documents(
    published_issuer: Issuer,
) -> None:
    root = published_issuer.folder.root / "published"
    discovery = json.loads((root / documents.DISCOVERY).read_bytes())
    assert discovery["issuer"] == ISSUER
    assert discovery["jwks_uri"] == "https://oidc.example/cluster/openid/v1/jwks"
    (key,) = json.loads((root / documents.JWKS).read_bytes())["keys"]
    assert key.keys() == {"use", "kty", "kid", "alg", "n", "e"}
    assert key["kid"] == published_issuer.state.active.kid


def test_keys_are_published_before_the_document_that_names_them(new_issuer: Issuer) -> None:
    target = RecordingTarget()
    publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert target.writes == [documents.JWKS, documents.DISCOVERY]
    publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert len(target.writes) == 2, "unchanged documents are not written again"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_jwks_with_a_member_of_a_private_key_is_refused(member: str) -> None:
    with pytest.raises(IssuerError, match=f"a private key: member '{member}'") as got:
        documents.require_public({"keys": [{"kid": "a"}, {"kid": "b", member: "secret-value"}]})
    assert "secret-value" not in str(got.value)


def test_no_published_file_contains_a_private_key(published_issuer: Issuer) -> None:
    published_issuer.rotate()
    root = published_issuer.folder.root
    found = [path for path in (root / "published").rglob("*") if path.is_file()]
    assert len(found) == 2
    primes = set()
    for key in published_issuer.state.keys:
        numbers = published_issuer.folder.read_private(key.kid).key.private_numbers()
        primes |= {jose.b64encode(each.to_bytes(256)).lstrip("A") for each in (numbers.d,)}
    for path in found:
        assert b"PRIVATE" not in path.read_bytes()
        assert not [each for each in primes if each.encode() in path.read_bytes()]


def test_published_files_are_public_and_key_files_private(published_issuer: Issuer) -> None:
    root = published_issuer.folder.root
    for path in root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        is_public = "published" in path.relative_to(root).parts
        assert bool(mode & 0o004) is is_public, path
    assert stat.S_IMODE((root / "published/openid/v1/jwks").stat().st_mode) == 0o644


def test_documents_of_another_issuer_are_not_overwritten(
    new_issuer: Issuer, tmp_path: Path
) -> None:
    other = issuers.create(tmp_path / "other")
    target = RecordingTarget()
    publish(target, "https://other.example/", other.state, other.clock)
    before = dict(target.files)
    with pytest.raises(IssuerError, match="has the documents of the issuer 'https://other"):
        publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert target.files == before
    publish(target, ISSUER, new_issuer.state, new_issuer.clock, replace=True)
    assert documents.issuer_of(target.files[documents.DISCOVERY]) == ISSUER


def test_key_that_the_folder_does_not_contain_is_not_withdrawn(
    new_issuer: Issuer, tmp_path: Path
) -> None:
    """After the loss of a folder, an API server may still sign with the lost key."""
    other = issuers.create(tmp_path / "other")
    target = RecordingTarget()
    publish(target, ISSUER, other.state, other.clock)
    with pytest.raises(IssuerError, match="a key that this folder does not contain"):
        publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert documents.key_ids(target.files[documents.JWKS]) == [other.state.active.kid]


def test_withdrawn_key_that_the_target_still_has_is_removed(published_issuer: Issuer) -> None:
    issuer = published_issuer
    path = issuer.folder.root / "published" / documents.JWKS
    old = path.read_bytes()
    issuer.rotate_to_end()
    path.write_bytes(old)
    publish(issuer.tools().target, ISSUER, issuer.state, issuer.clock)
    assert issuer.published() == [issuer.state.active.kid]


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"keys": 1}', b'{"keys": [1]}'])
def test_target_with_another_file_is_not_overwritten(new_issuer: Issuer, content: bytes) -> None:
    target = RecordingTarget()
    target.files[documents.JWKS] = content
    with pytest.raises(IssuerError, match="is not a document of an issuer"):
        publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert target.writes == []


@pytest.mark.parametrize("failing", [1, 2])
def test_failed_write_is_repeated_by_the_next_run(new_issuer: Issuer, failing: int) -> None:
    target = RecordingTarget(frozenset({failing}))
    with pytest.raises(TargetError):
        publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert documents.DISCOVERY not in target.files
    publish(target, ISSUER, new_issuer.state, new_issuer.clock)
    assert target.files.keys() == {documents.JWKS, documents.DISCOVERY}


def test_target_that_stores_other_bytes_than_written_is_an_error(new_issuer: Issuer) -> None:
    class Forgetful(RecordingTarget):
        def write(self, path: str, body: bytes) -> float | None:
            return super().write(path, body[:-1])

    with pytest.raises(TargetError, match="is not what was written"):
        publish(Forgetful(), ISSUER, new_issuer.state, new_issuer.clock)


@pytest.mark.parametrize("offset", [-61, 61])
def test_clock_that_differs_from_that_of_the_target_is_an_error(
    new_issuer: Issuer, offset: int
) -> None:
    target = RecordingTarget(now=new_issuer.clock.now + offset)
    with pytest.raises(IssuerError, match=f"the clock differs by {-offset} seconds from that of"):
        publish(target, ISSUER, new_issuer.state, new_issuer.clock)


def test_unavailable_target_keeps_the_old_key_and_names_the_step(published_issuer: Issuer) -> None:
    issuer, old = published_issuer, published_issuer.state.active.kid
    place = issuer.folder.root / "published"
    place.rename(issuer.folder.root / "moved")
    place.write_text("a file")
    with pytest.raises(StepFailed, match=r"step publish: cannot read .*: Not a directory") as got:
        issuer.rotate()
    assert "run `podpass issuer rotate` again: it continues with this step" in got.value.hint
    assert issuer.state.active.kid == old
    assert issuer.state.published == (old,)
    place.unlink()
    (issuer.folder.root / "moved").rename(place)
    issuer.rotate_to_end()
    assert issuer.published() == [issuer.state.active.kid] != [old]


def test_folder_that_cannot_be_written_is_reported() -> None:
    with pytest.raises(TargetError, match="cannot write /proc/published/openid/v1/jwks") as got:
        FolderTarget(Path("/proc/published")).write("openid/v1/jwks", b"{}")
    assert "check that the folder exists" in got.value.hint


def test_command_target_stores_the_documents_and_returns_them(
    new_issuer: Issuer, tmp_path: Path
) -> None:
    script = tmp_path / "store"
    script.write_text(
        '#!/bin/sh\nfile="$1/$(echo "$3" | tr / _)"\n'
        'if [ "$2" = put ]; then cat > "$file"; elif [ -e "$file" ]; then cat "$file"; else exit 3; fi\n'
    )
    script.chmod(0o755)
    (tmp_path / "store files").mkdir()
    new_issuer.config = replace(
        new_issuer.config, target=f"command:{script} '{tmp_path / 'store files'}'"
    )
    assert new_issuer.rotate(start=False) is None
    stored = (tmp_path / "store files" / "openid_v1_jwks").read_bytes()
    assert documents.key_ids(stored) == [new_issuer.state.active.kid]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "`false get openid/v1/jwks` failed with status 1"),
        ("/does/not/exist token=secret", "/does/not/exist cannot be started"),
    ],
)
def test_failed_command_is_reported_without_its_arguments(command: str, message: str) -> None:
    target = open_target(f"command:{command}", Path("/"), {})
    with pytest.raises(TargetError, match=message) as got:
        target.read("openid/v1/jwks")
    assert "secret" not in got.value.message


@pytest.mark.parametrize("text", ["", "folder:", "ftp://host", "azure:http://a/$web", "s3:", "/x"])
def test_unknown_target_is_refused(text: str) -> None:
    with pytest.raises(IssuerError, match="is not a target"):
        open_target(text, Path("/"), {})


@pytest.mark.parametrize("endpoint", ["http://store.example", "store.example", "ftp://127.0.0.1"])
def test_bucket_endpoint_that_is_not_https_is_refused(endpoint: str) -> None:
    with pytest.raises(TargetError, match="is not the https URL of a store"):
        open_target("s3://bucket/path", Path("/"), {}, endpoint)


def test_command_is_refused_while_another_command_changes_the_keys(new_issuer: Issuer) -> None:
    with (
        new_issuer.folder.lock(),
        pytest.raises(IssuerError, match="another command changes the keys"),
        KeyFolder(new_issuer.folder.root).lock(),
    ):
        pass


@pytest.mark.parametrize(
    "target", [".", "..", "published/..", "keys", "keys/published", "/", "link"]
)
def test_folder_that_contains_private_keys_is_not_published(tmp_path: Path, target: str) -> None:
    """Attack: a web server that publishes the target also serves the private keys."""
    root = tmp_path / "issuer"
    KeyFolder(root).prepare()
    (root / "link").symlink_to(root)
    with pytest.raises(IssuerError, match="contains private keys"):
        open_target(f"folder:{target}", root, {})
    assert open_target("folder:../published", root, {}).name == str(root / "../published")


@pytest.mark.parametrize("folder", ["", "keys"])
def test_folder_that_every_user_can_change_is_refused(new_issuer: Issuer, folder: str) -> None:
    """Attack: another user replaces the keys, or the settings with a command to run."""
    (new_issuer.folder.root / folder).chmod(0o777)
    with (
        pytest.raises(IssuerError, match="every user of this machine can replace files"),
        new_issuer.folder.lock(),
    ):
        pass
    with pytest.raises(IssuerError, match="every user of this machine can replace files"):
        new_issuer.folder.read_state()


def test_full_disk_is_reported_with_the_folder(new_issuer: Issuer) -> None:
    folder = new_issuer.folder
    with (
        pytest.raises(IssuerError, match="cannot be changed: No space left on device") as got,
        folder.lock(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "free space" in got.value.hint


def test_broken_pipe_is_not_reported_as_an_error_of_the_key_folder(new_issuer: Issuer) -> None:
    with pytest.raises(BrokenPipeError), new_issuer.folder.lock():
        raise BrokenPipeError


def test_missing_key_folder_is_not_created_by_a_lock(tmp_path: Path) -> None:
    with (
        pytest.raises(IssuerError, match="there is no issuer in"),
        KeyFolder(tmp_path / "missing").lock(),
    ):
        pass
    assert not (tmp_path / "missing").exists()

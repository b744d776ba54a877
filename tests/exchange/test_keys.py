"""The service's own keys: one signs, the next is published already, and none is lost."""

import asyncio
import hashlib
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from podpass import jose
from podpass.exchange.keys import AuthorityKeys, AuthorityKeysError

if TYPE_CHECKING:
    from exchange.world import World


@pytest.fixture
def folder(key_folders: Path, tmp_path: Path) -> Path:
    return shutil.copytree(key_folders / "authority", tmp_path / "authority")


def test_two_keys_are_published_from_the_first_start(folder: Path) -> None:
    keys = AuthorityKeys.open(folder)
    again = AuthorityKeys.open(folder)
    assert len(keys.published) == 2
    assert keys.active.kid == keys.published[0].kid == again.active.kid


def test_a_key_is_named_by_its_certificate(folder: Path) -> None:
    for key in AuthorityKeys.open(folder).published:
        certificate = x509.load_der_x509_certificate(key.certificate)
        assert key.kid == jose.b64encode(hashlib.sha1(key.certificate).digest())
        assert certificate.public_key() == key.public
        certificate.verify_directly_issued_by(certificate)


def test_key_files_are_their_owners_alone(folder: Path) -> None:
    fresh = folder.parent / "fresh"
    AuthorityKeys.open(fresh)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in fresh.iterdir()} == {0o600}


def test_rotation_moves_on_to_a_key_that_was_published_before(folder: Path) -> None:
    keys = AuthorityKeys.open(folder)
    first, second = (key.kid for key in keys.published)
    assert keys.rotate().kid == second
    assert [key.kid for key in keys.published][:2] == [first, second]
    assert len(keys.published) == 3
    again = AuthorityKeys.open(folder)
    assert again.active.kid == second
    assert len(again.published) == 3


def test_only_a_key_out_of_use_can_be_withdrawn(folder: Path) -> None:
    keys = AuthorityKeys.open(folder)
    first = keys.active.kid
    for kid in (first, keys.published[1].kid, "strange"):
        with pytest.raises(AuthorityKeysError):
            keys.retire(kid)
    keys.rotate()
    keys.retire(first)
    assert first not in {key.kid for key in AuthorityKeys.open(folder).published}
    assert AuthorityKeys.open(folder).active.kid == keys.active.kid


def test_a_rotation_cut_off_before_its_new_key_is_made_up_for(folder: Path) -> None:
    (folder / "active").write_text("2")
    keys = AuthorityKeys.open(folder)
    assert len(keys.published) == 3
    assert keys.active.kid == keys.published[1].kid


def test_damage_is_named_and_not_papered_over(folder: Path) -> None:
    (folder / "active").write_text("x")
    with pytest.raises(AuthorityKeysError, match="active"):
        AuthorityKeys.open(folder)
    (folder / "active").unlink()
    (folder / "000002.pem").write_text("x")
    with pytest.raises(AuthorityKeysError, match=r"000002\.pem"):
        AuthorityKeys.open(folder)


def test_an_active_key_that_is_gone_is_not_replaced_in_silence(folder: Path) -> None:
    keys = AuthorityKeys.open(folder)
    keys.rotate()
    (folder / "000002.pem").unlink()
    with pytest.raises(AuthorityKeysError) as caught:
        AuthorityKeys.open(folder)
    assert "000002.pem" in caught.value.hint


async def test_requests_under_rotation_are_all_answered_by_published_keys(world: "World") -> None:
    async def ask() -> str:
        answer = await world.ask()
        assert answer.status == 200
        return str(jose.parse(answer.body["access_token"]).kid)

    asking = [asyncio.create_task(ask()) for _ in range(20)]
    await asyncio.sleep(0.05)
    world.keys.rotate()
    asking += [asyncio.create_task(ask()) for _ in range(20)]
    used = set(await asyncio.gather(*asking))
    assert world.keys.active.kid in used
    assert used <= {key.kid for key in world.keys.published}

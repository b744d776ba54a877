"""The copy of the sealed signing keys: a pod with an empty folder signs with the keys of the last one."""

from pathlib import Path

import pytest

from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.lab.instance.identity_secret import DamagedCopy, copy_in, copy_out


def database(folder: Path, name: str) -> Database:
    return Database(f"sqlite:///{folder / name}")


async def test_keys_of_a_copy_are_those_of_the_first_database(tmp_path: Path) -> None:
    sealing = tmp_path / "authority.key"
    async with database(tmp_path, "first.db") as first:
        keys = await AuthorityKeys.open(first, sealing)
        copy = await copy_out(first)
    assert b"PRIVATE KEY" not in copy
    async with database(tmp_path, "second.db") as second:
        assert await copy_in(second, copy)
        assert not await copy_in(second, copy)
        again = await AuthorityKeys.open(second, sealing)
        assert again.active.kid == keys.active.kid
        assert [each.kid for each in again.published] == [each.kid for each in keys.published]
        assert await copy_out(second) == copy


@pytest.mark.parametrize(
    "copy",
    [b"", b"[]", b"{}", b'{"authority_keys": [{}], "authority_seals": []}'],
    ids=["empty", "list", "no-tables", "no-value"],
)
async def test_damaged_copy_is_refused(tmp_path: Path, copy: bytes) -> None:
    async with database(tmp_path, "new.db") as new:
        with pytest.raises(DamagedCopy):
            await copy_in(new, copy)

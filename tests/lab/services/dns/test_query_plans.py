"""Queries of DNS zones read indexes, no whole tables."""

from pathlib import Path

import pytest

from podpass.directory.store.directory import Directory
from podpass.lab.services.dns.store import DnsZones, _look_up
from tests.directory.test_query_plans import SUB, collect_plans, find_scans


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


async def test_queries_of_dns_zones_use_an_index(directory: Directory) -> None:
    zones = directory.store(DnsZones)
    with collect_plans(directory) as found:
        await zones.page(f"{SUB}/zone", type_="TXT", after="a TXT", limit=10)
        await zones.look_up("www.example.test")
        await directory._session.read(lambda connection: _look_up(connection, "www.example.test"))
        await zones.find_conflict(f"{SUB}/example.test", "example.test")
    assert find_scans(found) == []

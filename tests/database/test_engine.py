"""URLs of PostgreSQL with several servers."""

import pytest

from podpass.database import DatabaseUnusable, engine

PASSWORD = "se,cr%40et"  # with a comma, and an escaped @


@pytest.mark.parametrize(
    ("hosts", "names", "ports"),
    [
        ("db1,db2", "db1,db2", "5432,5432"),
        ("db1:5433,db2", "db1,db2", "5433,5432"),
        ("10.0.0.1:5432,[fd00::1]:5433,db3", "10.0.0.1,fd00::1,db3", "5432,5433,5432"),
    ],
)
def test_url_with_several_servers_is_parsed(hosts: str, names: str, ports: str) -> None:
    url = engine.parse_url(f"postgresql://podpass:{PASSWORD}@{hosts}/directory?sslmode=verify-full")
    arguments = engine.connect_arguments(url)
    assert (arguments["host"], arguments["port"]) == (names, ports)
    assert (arguments["user"], arguments["password"]) == ("podpass", "se,cr@et")
    assert (arguments["dbname"], arguments["sslmode"]) == ("directory", "verify-full")
    assert arguments["target_session_attrs"] == "read-write"
    assert names in engine.redact_url(url)
    assert "se,cr" not in engine.redact_url(url)


def test_url_with_one_server_accepts_a_read_only_server() -> None:
    url = engine.parse_url(f"postgresql://podpass:{PASSWORD}@db1/directory")
    assert "target_session_attrs" not in engine.connect_arguments(url)


def test_option_of_the_url_chooses_another_server() -> None:
    url = engine.parse_url("postgresql://db1,db2/directory?target_session_attrs=primary")
    assert engine.connect_arguments(url)["target_session_attrs"] == "primary"


@pytest.mark.parametrize("hosts", ["db1,", ",db2", "db1:x,db2", "db1,db2:5432:1", "[fd00::1,db2"])
def test_invalid_list_of_servers_is_refused_without_the_password(hosts: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        engine.parse_url(f"postgresql://podpass:{PASSWORD}@{hosts}/directory")
    assert "se,cr" not in f"{caught.value} {caught.value.hint}"

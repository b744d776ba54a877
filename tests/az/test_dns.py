"""`az network dns`."""

import pytest

from tests.az.az_cli import AzCli, names

pytestmark = [pytest.mark.az, pytest.mark.timeout(1800)]


def test_az_creates_a_zone_and_adds_records(newest: AzCli, group: str) -> None:
    zone = newest(f"network dns zone create -g {group} -n example.test")
    assert (zone["location"], zone["numberOfRecordSets"]) == ("global", 2)
    where = f"-g {group} -z example.test"
    for value in ("one", "two"):
        command = f"network dns record-set txt add-record {where} -n _acme-challenge.www"
        written = newest(f"{command} -v {value}")
    assert [each["value"] for each in written["TXTRecords"]] == [["one"], ["two"]]
    newest(f"network dns record-set a add-record {where} -n www -a 192.0.2.1 --ttl 60")
    newest(f"network dns record-set cname set-record {where} -n alias -c www.example.test")
    listed, text = newest.each(
        f"network dns record-set list {where}", f"network dns record-set txt list {where}"
    )
    assert names(listed) == {"@", "_acme-challenge.www", "www", "alias"}
    assert names(text) == {"_acme-challenge.www"}
    remove = f"network dns record-set txt remove-record {where} -n _acme-challenge.www"
    newest(f"{remove} -v one")
    newest(f"{remove} -v two")
    assert newest(f"network dns record-set txt list {where}") == []
    refused = newest.refused(f"network dns zone create -g {group} -n example.test --if-none-match")
    assert "PreconditionFailed" in refused
    newest(f"network dns zone delete -g {group} -n example.test --yes")
    assert newest(f"network dns zone list -g {group}") == []

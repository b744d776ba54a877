"""When a key may be used."""

from typing import Any

import pytest

from podpass.lab.services.vault.keys.usage import KeyUseForbidden, check_use

ALL = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
VALID: dict[str, Any] = {
    "permitted": ALL,
    "enabled": True,
    "not_before": 100,
    "expires": 200,
    "now": 150.0,
}


@pytest.mark.parametrize("operation", ALL)
def test_valid_key_is_used(operation: str) -> None:
    check_use(operation, **VALID)
    check_use(operation, **VALID | {"now": 100})
    check_use(operation, **VALID | {"not_before": None, "expires": None, "now": 0})


@pytest.mark.parametrize(
    ("now", "inner"), [(99.9, "KeyNotYetValid"), (200, "KeyExpired"), (300, "KeyExpired")]
)
def test_window_limits_new_data_only(now: float, inner: str) -> None:
    for operation in ("sign", "encrypt", "wrapKey"):
        with pytest.raises(KeyUseForbidden) as caught:
            check_use(operation, **VALID | {"now": now})
        assert caught.value.inner_code == inner
        assert (caught.value.status, caught.value.wire_code) == (403, "Forbidden")
        assert caught.value.message.startswith(f"Operation {operation} is not allowed on a")
    for operation in ("verify", "decrypt", "unwrapKey"):
        check_use(operation, **VALID | {"now": now})


@pytest.mark.parametrize("operation", ALL)
def test_disabled_key_and_missing_permission_refuse_every_operation(operation: str) -> None:
    with pytest.raises(KeyUseForbidden, match=f"{operation} is not allowed on a disabled") as off:
        check_use(operation, **VALID | {"enabled": False})
    assert off.value.inner_code == "KeyDisabled"
    others = [each for each in ALL if each != operation]
    with pytest.raises(KeyUseForbidden, match=f"{operation} is not permitted on") as other:
        check_use(operation, **VALID | {"permitted": others})
    assert other.value.inner_code == "KeyOperationForbidden"

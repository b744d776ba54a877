"""What is counted, and how far the labels go."""

from podpass.admission import metrics
from podpass.admission.metrics import MAX_NAMESPACES, MAX_REASONS, Meter
from podpass.admission.metrics_reasons import FAULT


def samples(meter: Meter) -> dict[str, float]:
    lines = "".join(meter.exposition()).splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


def azwi(namespace: str, what: str = "count", le: str = "") -> str:
    more = f',le="{le}"' if le else ""
    return f'azwi_mutation_request_{what}{{namespace="{namespace}",service_name="webhook"{more}}}'


def test_one_measurement_stands_in_every_histogram() -> None:
    meter = Meter()
    for seconds in (0.0002, 0.0031, 0.04, 0.26, 2.7, 4.0, 50.0):
        meter("mutated", "", "shop", seconds)
    found = samples(meter)
    for le, count in (("0.001", 1), ("0.003", 1), ("0.004", 2), ("0.04", 3), ("0.2", 3)):
        assert found[azwi("shop", "bucket", le)] == count, le
    for le, count in (("0.3", 4), ("2.5", 4), ("3", 5), ("+Inf", 7)):
        assert found[azwi("shop", "bucket", le)] == count, le
    latency = 'controller_runtime_webhook_latency_seconds_bucket{webhook="/mutate-v1-pod",le="%s"}'
    for le, count in (("0.005", 2), ("0.05", 3), ("0.25", 3), ("0.5", 4), ("5", 6), ("+Inf", 7)):
        assert found[latency % le] == count, le
    assert found['podpass_admission_seconds_bucket{le="0.00025"}'] == 1
    assert abs(found[azwi("shop", "sum")] - 57.0033) < 1e-6
    assert found["podpass_admission_seconds_count"] == 7


def test_a_fault_of_ours_is_what_the_reference_counts_as_a_panic() -> None:
    meter = Meter()
    assert samples(meter)["controller_runtime_webhook_panics_total"] == 0
    meter("refused", "bad_annotation", "shop", 0.1)
    meter("failed", FAULT, "shop", 0.1)
    assert samples(meter)["controller_runtime_webhook_panics_total"] == 1


def test_a_bound_belongs_to_its_bucket() -> None:
    meter = Meter()
    meter("mutated", "", "shop", 0.005)
    assert samples(meter)[azwi("shop", "bucket", "0.005")] == 1
    assert samples(meter)[azwi("shop", "bucket", "0.004")] == 0


def test_a_namespace_without_accounts_has_no_series_of_its_own() -> None:
    meter = Meter(lambda namespace: namespace == "shop")
    meter("mutated", "", "shop", 0.1)
    meter("refused", "account_not_found", "made-up", 0.1)
    found = samples(meter)
    assert found[azwi("shop")] == 1
    assert found[azwi("other")] == 1
    assert azwi("made-up") not in found


def test_namespaces_end_somewhere() -> None:
    meter = Meter()
    for number in range(MAX_NAMESPACES + 10):
        meter("mutated", "", f"ns-{number}", 0.1)
    assert samples(meter)[azwi("other")] == 10


def test_reasons_end_somewhere_though_they_come_from_the_program() -> None:
    meter = Meter()
    for number in range(MAX_REASONS + 10):
        meter("refused", f"reason-{number}", "shop", 0.1)
    counted = [name for name in samples(meter) if name.startswith("podpass_admission_requests")]
    assert len(counted) <= MAX_REASONS + 1
    meter("strange", "", "shop", 0.1)
    name = 'podpass_admission_requests_total{outcome="other",reason="other"}'
    assert samples(meter)[name] == 1


def test_a_value_with_quotes_does_not_end_its_label() -> None:
    meter = Meter()
    meter("mutated", "", 'a"} 1\nevil{b="\\', 0.1)
    lines = "".join(meter.exposition()).splitlines()
    assert not [line for line in lines if line.startswith("evil")]
    assert any(r'namespace="a\"} 1\nevil{b=\"\\"' in line for line in lines)


def test_answers_of_the_cache_are_counted_from_the_start() -> None:
    meter = Meter()
    meter.asked("hit")
    found = samples(meter)
    assert found['podpass_admission_account_cache_total{result="hit"}'] == 1
    assert found['podpass_admission_account_cache_total{result="live"}'] == 0
    assert set(metrics.CACHE_RESULTS) == {"hit", "live", "stale", "missing", "unreadable"}

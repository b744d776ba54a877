"""Counters and histograms, and the bounds of their labels."""

from podpass.admission import metrics
from podpass.admission.metrics import MAX_NAMESPACES, MAX_REASONS, AdmissionMetrics
from podpass.admission.metrics_reasons import INTERNAL_ERROR


def render_samples(meter: AdmissionMetrics) -> dict[str, float]:
    lines = "".join(meter.render()).splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


def reference_bucket(namespace: str, what: str = "count", le: str = "") -> str:
    more = f',le="{le}"' if le else ""
    return f'azwi_mutation_request_{what}{{namespace="{namespace}",service_name="webhook"{more}}}'


def test_admission_duration_is_counted_in_every_histogram() -> None:
    meter = AdmissionMetrics()
    for seconds in (0.0002, 0.0031, 0.04, 0.26, 2.7, 4.0, 50.0):
        meter("mutated", "", "shop", seconds)
    found = render_samples(meter)
    for le, count in (("0.001", 1), ("0.003", 1), ("0.004", 2), ("0.04", 3), ("0.2", 3)):
        assert found[reference_bucket("shop", "bucket", le)] == count, le
    for le, count in (("0.3", 4), ("2.5", 4), ("3", 5), ("+Inf", 7)):
        assert found[reference_bucket("shop", "bucket", le)] == count, le
    latency = 'controller_runtime_webhook_latency_seconds_bucket{webhook="/mutate-v1-pod",le="%s"}'
    for le, count in (("0.005", 2), ("0.05", 3), ("0.25", 3), ("0.5", 4), ("5", 6), ("+Inf", 7)):
        assert found[latency % le] == count, le
    assert found['podpass_admission_seconds_bucket{le="0.00025"}'] == 1
    assert abs(found[reference_bucket("shop", "sum")] - 57.0033) < 1e-6
    assert found["podpass_admission_seconds_count"] == 7


def test_internal_error_counts_as_panic_in_the_reference_metric() -> None:
    meter = AdmissionMetrics()
    assert render_samples(meter)["controller_runtime_webhook_panics_total"] == 0
    meter("refused", "bad_annotation", "shop", 0.1)
    meter("failed", INTERNAL_ERROR, "shop", 0.1)
    assert render_samples(meter)["controller_runtime_webhook_panics_total"] == 1


def test_duration_equal_to_a_bound_counts_in_its_bucket() -> None:
    meter = AdmissionMetrics()
    meter("mutated", "", "shop", 0.005)
    assert render_samples(meter)[reference_bucket("shop", "bucket", "0.005")] == 1
    assert render_samples(meter)[reference_bucket("shop", "bucket", "0.004")] == 0


def test_namespace_without_accounts_has_no_series() -> None:
    meter = AdmissionMetrics(lambda namespace: namespace == "shop")
    meter("mutated", "", "shop", 0.1)
    meter("refused", "account_not_found", "made-up", 0.1)
    found = render_samples(meter)
    assert found[reference_bucket("shop")] == 1
    assert found[reference_bucket("other")] == 1
    assert reference_bucket("made-up") not in found


def test_number_of_namespaces_is_bounded() -> None:
    meter = AdmissionMetrics()
    for number in range(MAX_NAMESPACES + 10):
        meter("mutated", "", f"ns-{number}", 0.1)
    assert render_samples(meter)[reference_bucket("other")] == 10


def test_number_of_reasons_is_bounded() -> None:
    meter = AdmissionMetrics()
    for number in range(MAX_REASONS + 10):
        meter("refused", f"reason-{number}", "shop", 0.1)
    counted = [
        name for name in render_samples(meter) if name.startswith("podpass_admission_requests")
    ]
    assert len(counted) <= MAX_REASONS + 1
    meter("strange", "", "shop", 0.1)
    name = 'podpass_admission_requests_total{outcome="other",reason="other"}'
    assert render_samples(meter)[name] == 1


def test_quotes_in_a_label_value_are_escaped() -> None:
    meter = AdmissionMetrics()
    meter("mutated", "", 'a"} 1\nevil{b="\\', 0.1)
    lines = "".join(meter.render()).splitlines()
    assert not [line for line in lines if line.startswith("evil")]
    assert any(r'namespace="a\"} 1\nevil{b=\"\\"' in line for line in lines)


def test_lookup_counters_start_at_zero() -> None:
    meter = AdmissionMetrics()
    meter.count_lookup("hit")
    found = render_samples(meter)
    assert found['podpass_admission_account_lookups_total{result="hit"}'] == 1
    assert found['podpass_admission_account_lookups_total{result="live"}'] == 0
    assert set(metrics.LOOKUP_RESULTS) == {"hit", "live", "stale", "missing", "unreadable"}

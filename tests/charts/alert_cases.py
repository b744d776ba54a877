"""Series with which each alert must fire, and similar ones with which it must not."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, one value a minute; `labels` are those of the alerts that fire."""

    series: Mapping[str, str]
    labels: tuple[Mapping[str, str], ...] = ()
    at: str = "20m"


@dataclass(frozen=True)
class Cases:
    """Of one alert."""

    fires: tuple[Case, ...]
    quiet: tuple[Case, ...] = field(default_factory=tuple)


_ANY: tuple[Mapping[str, str], ...] = ({},)
_JOB = 'job="azure-wi-webhook-metrics"'
_HOOK = 'name="mutation.azure-workload-identity.io"'
_CONSTANT, _GROWS = "{}x30", "0+{}x30"


def _replicas(first: int, second: int) -> dict[str, str]:
    values = {"a": first, "b": second}
    return {
        f'podpass_admission_ready{{pod="{pod}"}}': f"{value}x30" for pod, value in values.items()
    }


def _constant(series: str, fires: float, quiet: float, **labels: str) -> Cases:
    """Return the cases of an alert on the value of one series."""
    return Cases((Case({series: f"{fires}x80"}, (labels,)),), (Case({series: f"{quiet}x80"}),))


def _grows(series: str, other: str, labels: Mapping[str, str], speed: int = 1) -> Cases:
    """Return the cases of an alert on an increase; `other` may increase."""
    return Cases(
        (Case({series: f"0+{speed}x80"}, (labels,)),), (Case({series: "5x80", other: "0+1x80"}),)
    )


def _slow(metric: str, labels: str, limit: str, above: str) -> Cases:
    """Return the cases of an alert on a p99: all observations are above, or all below the limit."""
    name = f"{metric}_bucket{{{labels}{',' if labels else ''}le="
    most = {f'{name}"{above}"}}': "0+10x30", f'{name}"+Inf"}}': "0+10x30"}
    return Cases(
        (Case({f'{name}"{limit}"}}': "0x30", **most}, _ANY),),
        (Case({f'{name}"0.01"}}': "0+10x30", f'{name}"{limit}"}}': "0+10x30", **most}),),
    )


def _after(cases: Cases, too_early: str, late: str) -> Cases:
    """Return the cases of an alert that waits: it fires late, and not too early."""
    fires = tuple(Case(case.series, case.labels, late) for case in cases.fires)
    early = tuple(Case(case.series, at=too_early) for case in cases.fires)
    return Cases(fires, (*(Case(case.series, at=late) for case in cases.quiet), *early))


WEBHOOK = {
    "PodpassWebhookNotReady": _after(
        Cases((Case(_replicas(0, 0), _ANY), Case({}, _ANY)), (Case(_replicas(0, 1)),)), "0m", "5m"
    ),
    "PodpassWebhookOneReplica": _after(
        Cases((Case(_replicas(0, 1), _ANY),), (Case(_replicas(1, 1)),)), "9m", "10m"
    ),
    "PodpassWebhookInternalErrors": _grows(
        'podpass_admission_requests_total{outcome="failed"}',
        'podpass_admission_requests_total{outcome="refused"}',
        {},
    ),
    "PodpassWebhookAccountsUnreadable": _grows(
        'podpass_admission_account_lookups_total{result="stale"}',
        'podpass_admission_account_lookups_total{result="missing"}',
        {},
    ),
    "PodpassWebhookSlow": _slow("podpass_admission_seconds", "", "0.1", "1"),
    "PodpassWebhookCertificateExpires": _constant(
        'podpass_certificate_expiry_seconds{which="serving"}',
        14 * 86400,
        15 * 86400,
        which="serving",
    ),
    "PodpassWebhookCAExpires": _constant(
        'podpass_certificate_expiry_seconds{which="ca"}', 30 * 86400, 31 * 86400, which="ca"
    ),
    "PodpassWebhookRotationFails": _after(
        _constant("podpass_certificate_rotation_failing", 1, 0), "59m", "60m"
    ),
    "PodpassWebhookEventLoopBlocked": _after(
        _constant('podpass_admission_event_loop_lag_seconds{part="total"}', 1.1, 0.9), "4m", "5m"
    ),
    "PodpassWebhookMemoryHigh": _constant(
        f"process_resident_memory_bytes{{{_JOB}}}", 101e6, 99e6, job="azure-wi-webhook-metrics"
    ),
    "PodpassWebhookFileDescriptors": Cases(
        (
            Case(
                {f"process_open_fds{{{_JOB}}}": "81x30", f"process_max_fds{{{_JOB}}}": "100x30"},
                ({"job": "azure-wi-webhook-metrics"},),
            ),
        ),
        (
            Case({f"process_open_fds{{{_JOB}}}": "79x30", f"process_max_fds{{{_JOB}}}": "100x30"}),
            Case({'process_open_fds{job="x"}': "99x30", 'process_max_fds{job="x"}': "100x30"}),
        ),
    ),
    "PodpassWebhookUnreachable": Cases(
        tuple(
            Case({f"apiserver_admission_webhook_{name}{{{labels}}}": "0+1x30"}, (found,))
            for name, labels, found in (
                ("fail_open_count", _HOOK, {"name": "mutation.azure-workload-identity.io"}),
                (
                    "rejection_count",
                    f'{_HOOK},error_type="calling_webhook_error"',
                    {
                        "name": "mutation.azure-workload-identity.io",
                        "error_type": "calling_webhook_error",
                    },
                ),
            )
        ),
        (
            # A refusal of the webhook itself, and calls of another webhook.
            Case(
                {
                    f'apiserver_admission_webhook_rejection_count{{{_HOOK},error_type="no_error"}}': "0+1x30"
                }
            ),
            Case({'apiserver_admission_webhook_fail_open_count{name="x"}': "0+1x30"}),
        ),
    ),
    "PodpassWebhookCallsSlow": _slow(
        "apiserver_admission_webhook_admission_duration_seconds", _HOOK, "1", "10"
    ),
}
SIDECAR = {
    "PodpassSidecarRefreshOverdue": _constant(
        'podpass_proxy_refresh_overdue_seconds{pod="a"}', 601, 600, pod="a"
    ),
    "PodpassSidecarRequestsFail": _grows(
        'podpass_proxy_requests_total{outcome="failed",pod="a"}',
        'podpass_proxy_requests_total{outcome="refused",pod="a"}',
        {"outcome": "failed", "pod": "a"},
    ),
    "PodpassSidecarTokensExpired": _after(
        _constant('podpass_proxy_expired_tokens{pod="a"}', 1, 0, pod="a"), "0m", "1m"
    ),
}
_REQUESTS = "podpass_exchange_requests_total"
AUTHORITY = {
    "PodpassAuthorityNotReady": _after(
        _constant("podpass_authority_workers_ready", 0, 1), "0m", "1m"
    ),
    "PodpassAuthorityDatabaseDown": _after(
        _constant("podpass_authority_database_up", 0, 1), "0m", "1m"
    ),
    "PodpassAuthorityInternalErrors": _grows(
        f'{_REQUESTS}{{outcome="AADSTS90033"}}',
        f'{_REQUESTS}{{outcome="AADSTS700213"}}',
        {"outcome": "AADSTS90033"},
    ),
    "PodpassAuthoritySlow": _slow("podpass_exchange_request_seconds", "", "0.1", "1"),
    "PodpassAuthorityIssuerFetchesFail": _after(
        _grows(
            'podpass_exchange_issuer_fetches_total{result="failed"}',
            'podpass_exchange_issuer_fetches_total{result="ok"}',
            {"result": "failed"},
        ),
        "10m",
        "20m",
    ),
    "PodpassAuthorityCertificateExpires": _constant(
        "podpass_authority_certificate_not_after_seconds", 7 * 86400, 8 * 86400
    ),
    "PodpassAuthorityCertificateNotLoaded": _after(
        _constant("podpass_authority_certificate_reload_failing", 1, 0), "9m", "10m"
    ),
    "PodpassAuthorityBatchSignerDisabled": _grows(
        "podpass_exchange_batch_signer_disabled_total",
        'podpass_exchange_signatures_total{by="openssl"}',
        {},
    ),
    "PodpassAuthorityRestarts": Cases(
        (Case({"podpass_authority_restarts_total": "0+1x30"}, _ANY),),
        (Case({"podpass_authority_restarts_total": "0x10 3x20"}),),
    ),
    "PodpassAuthorityNoNextKey": _constant(
        "podpass_authority_signing_key_next_rotation_seconds", 0, 86400
    ),
    "PodpassAuthorityKeyDamaged": _constant("podpass_authority_signing_keys_damaged", 1, 0),
    "PodpassAuthorityClientThrottled": _grows(
        f'{_REQUESTS}{{outcome="throttled"}}',
        f'{_REQUESTS}{{outcome="granted"}}',
        {"outcome": "throttled"},
    ),
}
OF_A_CHART = {"podpass": WEBHOOK | SIDECAR, "podpass-authority": AUTHORITY}

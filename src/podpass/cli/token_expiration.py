"""`--service-account-token-expiration`: a duration in Go's syntax, with azure-workload-identity's limits."""

import re

import click

from podpass.errors import UsageError

FLAG = "--service-account-token-expiration"
_MIN_SECONDS, _MAX_SECONDS = 3600, 86400
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s|us|µs|ns)){1,8}")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")


def parse_phase_token_expiration(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> int | None:
    """Parse the duration of the phase service-account; a refused one names the phase."""
    try:
        return parse_token_expiration(ctx, parameter, value)
    except UsageError as exc:
        raise UsageError(f"failed to run pre-run for phase service-account: {exc.message}") from exc


def parse_token_expiration(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Parse a duration such as 1h30m; return whole seconds, halves rounded up as azwi does."""
    if value is None:
        return None
    if not _DURATION.fullmatch(value):
        raise click.BadParameter(f'invalid duration "{value}"; write for example 1h or 90m')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    if seconds < _MIN_SECONDS:
        raise UsageError(f"{FLAG} must be greater than or equal to 1h0m0s")
    if seconds > _MAX_SECONDS:
        raise UsageError(f"{FLAG} must be less than or equal to 24h0m0s")
    return int(seconds + 0.5)

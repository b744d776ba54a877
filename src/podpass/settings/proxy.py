"""Settings of the migration sidecar and its init container, as in azure-workload-identity."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from podpass import names
from podpass.errors import SettingsError
from podpass.settings.fields import setting
from podpass.settings.flags import parse_switch
from podpass.settings.reading import DISABLED_ADDRESS, LOG_LEVELS, read_texts

_SWITCHES = {"probe": "--probe", "strict": "--strict", "imds_errors": "--imds-errors"}
_SWITCHES |= {"forward": names.ENV_PROXY_FORWARD}
# The webhook sets both in a labelled pod.
_REQUIRED = ("AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")


_BINDING = {
    "sni_name": names.ENV_SNI_NAME,
    "ca_file": names.ENV_CA_FILE,
    "ca_data": names.ENV_CA_DATA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """Settings of the migration sidecar."""

    proxy_port: int = setting("port on 127.0.0.1", flag="--proxy-port", default=8000)
    proxy_address: str = setting(
        "address in 127.0.0.0/8 instead of 127.0.0.1; a local instance sets it, because its pods share one"
        " loopback interface",
        variable=names.ENV_PROXY_ADDRESS,
        default="127.0.0.1",
    )
    probe: bool = setting(
        "wait until the sidecar on the port answers, then exit; for the postStart hook",
        flag="--probe",
        default=False,
    )
    forward: bool = setting(
        "forward requests for other paths to the metadata service of the machine; a local instance sets it to"
        " false",
        variable=names.ENV_PROXY_FORWARD,
        default=True,
    )
    log_level: str = setting(
        "log level: info, debug, trace or all; empty for warnings and errors only",
        flag="--log-level",
        default="",
    )
    strict: bool = setting(
        "refuse requests without the header `Metadata: true`, or with X-Forwarded-For, as IMDS does",
        flag="--strict",
        default=False,
    )
    imds_errors: bool = setting(
        "answer errors as JSON with IMDS' codes; without it, as text with azure-workload-identity's statuses",
        flag="--imds-errors",
        default=False,
    )
    metrics_addr: str = setting(
        "address of /metrics; 0 turns it off", flag="--metrics-addr", default=DISABLED_ADDRESS
    )
    tenant_id: str = setting(
        "tenant of the identities; the webhook sets it", variable="AZURE_TENANT_ID", default=""
    )
    client_id: str = setting(
        "client ID for requests without the parameter client_id",
        variable="AZURE_CLIENT_ID",
        default="",
    )
    token_file: str = setting(
        "file with the projected token", variable="AZURE_FEDERATED_TOKEN_FILE", default=""
    )
    authority_host: str = setting(
        "login endpoint of the cloud",
        variable=names.ENV_AUTHORITY_HOST,
        default="https://login.microsoftonline.com/",
    )
    token_proxy: str = setting(
        "URL of the endpoint of an identity binding", variable=names.ENV_TOKEN_PROXY, default=""
    )
    sni_name: str = setting("TLS name of that endpoint", variable=names.ENV_SNI_NAME, default="")
    ca_file: str = setting(
        "file with the CA of that endpoint, in PEM", variable=names.ENV_CA_FILE, default=""
    )
    ca_data: str = setting("CA of that endpoint, in PEM", variable=names.ENV_CA_DATA, default="")
    https_proxy: str = setting(
        "HTTP proxy for requests to the authority, not for those to an identity binding; also https_proxy",
        variable="HTTPS_PROXY",
        default="",
    )
    no_proxy: str = setting(
        "hosts, suffixes, addresses and networks that are reached without the proxy; also no_proxy",
        variable="NO_PROXY",
        default="",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], argv: Sequence[str] = ()) -> Self:
        """Read the settings from flags and environment variables. Raises SettingsError with every problem."""
        raw, problems = read_texts(cls, environ, argv)
        for name in ("https_proxy", "no_proxy"):
            raw[name] = raw.get(name) or environ.get(name, "")
        values: dict[str, Any] = dict(raw)
        for name, flag in _SWITCHES.items():
            if name in raw:
                try:
                    values[name] = parse_switch(flag, raw[name])
                except ValueError as exc:
                    problems.append(str(exc))
        values["proxy_port"] = _parse_number(
            "--proxy-port", raw.get("proxy_port", "8000"), problems
        )
        problems += _check_address(raw.get("proxy_address", "127.0.0.1"))
        if raw.get("log_level", "") not in LOG_LEVELS:
            problems.append(f"--log-level {raw['log_level']!r}: must be info, debug, trace or all")
        if not values.get("probe"):
            problems += [f"{name} not set" for name in _REQUIRED if not environ.get(name)]
            problems += _check_binding(raw)
        if problems:
            raise SettingsError(problems)
        return cls(**values)


def _check_address(text: str) -> list[str]:
    """Report an address that other machines or pods of a cluster could reach."""
    try:
        is_loopback = ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        is_loopback = False
    if is_loopback:
        return []
    return [f"{names.ENV_PROXY_ADDRESS} {text!r}: must be a loopback address, in 127.0.0.0/8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyInitSettings:
    """Settings of the sidecar's init container."""

    proxy_port: int = setting(
        "port of the sidecar", flag="--proxy-port", variable="PROXY_PORT", default=8000
    )
    metadata_ip: str = setting(
        "IPv4 address of the metadata service",
        flag="--metadata-ip",
        variable="METADATA_IP",
        default="169.254.169.254",
    )
    metadata_port: int = setting(
        "port of the metadata service", flag="--metadata-port", variable="METADATA_PORT", default=80
    )
    proxy_uid: int = setting(
        "user of the sidecar, whose requests are not redirected",
        flag="--proxy-uid",
        variable="PROXY_UID",
        default=1501,
    )
    force: bool = setting(
        "change the rules of the machine's network namespace, too", flag="--force", default=False
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], argv: Sequence[str] = ()) -> Self:
        """Read the settings from flags and environment variables. Raises SettingsError with every problem."""
        raw, problems = read_texts(cls, environ, argv)
        values: dict[str, Any] = {}
        for field in fields(cls):
            text, flag = raw.get(field.name, ""), field.metadata["flag"]
            if not text:
                continue
            values[field.name] = text
            if field.name == "force":
                try:
                    values[field.name] = parse_switch(flag, text)
                except ValueError as exc:
                    problems.append(str(exc))
            elif field.type is int:
                is_uid = field.name == "proxy_uid"
                values[field.name] = _parse_number(flag, text, problems, is_uid=is_uid)
        try:
            ipaddress.IPv4Address(values.get("metadata_ip", "169.254.169.254"))
        except ValueError:
            problems.append(f"--metadata-ip {values['metadata_ip']!r}: must be an IPv4 address")
        if problems:
            raise SettingsError(problems)
        return cls(**values)


def _parse_number(flag: str, text: str, problems: list[str], *, is_uid: bool = False) -> int:
    """Return a port or a user ID; report a problem for an invalid one."""
    least, most = (0, 2**32 - 2) if is_uid else (1, 65535)
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else -1
    if not least <= number <= most:
        kind = "a user ID" if is_uid else "a port"
        problems.append(f"{flag} {text!r}: must be {kind} from {least} to {most}")
    return number


def _check_binding(raw: Mapping[str, str]) -> list[str]:
    """Report variables of an identity binding without its endpoint, as the Azure SDKs do."""
    if raw.get("token_proxy"):
        return []
    given = [variable for name, variable in _BINDING.items() if raw.get(name)]
    return [f"{names.ENV_TOKEN_PROXY} not set, but {each} is" for each in given]

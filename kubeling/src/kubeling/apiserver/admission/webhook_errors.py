"""The words for a failed call of a webhook, as the real API server writes them. Pure.

Tools and users recognize the texts of Go's network stack; the text of the Python library would also show
internal objects.
"""

import os
import ssl

import aiohttp

_UNKNOWN_AUTHORITY = "x509: certificate signed by unknown authority"
# By the verify code of OpenSSL.
_CERTIFICATE_ERRORS = {
    9: "x509: certificate has expired or is not yet valid",
    10: "x509: certificate has expired or is not yet valid",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: "x509: certificate is not valid for {name}",
    64: "x509: certificate is not valid for {name}",
}
_STATUS_ERRORS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    503: "the server is currently unable to handle the request",
}
# OpenSSL's reasons for a response that is not TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


def describe_failure(exc: Exception, name: str) -> str:
    """Return the message for a call that got no response.

    `name` is the host that the certificate must be valid for.
    """
    match exc:
        case TimeoutError():
            return "context deadline exceeded"
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.CertificateError() as cause
        ):
            code = getattr(cause, "verify_code", 0)
            text = _CERTIFICATE_ERRORS.get(code, f"x509: {cause.verify_message}")
            return f"tls: failed to verify certificate: {text.format(name=name)}"
        case aiohttp.ClientConnectorDNSError():
            return f"dial tcp: lookup {exc.host}: no such host"
        case aiohttp.ClientConnectorSSLError():
            reason = getattr(exc.os_error, "reason", None) or ""
            if reason in _NO_TLS:
                return "http: server gave HTTP response to HTTPS client"
            return f"remote error: tls: {reason.replace('_', ' ').lower() or 'handshake failure'}"
        case aiohttp.ClientConnectorError():
            return f"dial tcp {_address(exc)}: connect: {_describe_system(exc.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case OSError(errno=int()):
            return _describe_system(exc)
    return f"malformed HTTP response ({type(exc).__name__})"


def describe_status(status: int) -> str:
    """Return the message for a response with a status that is not a success."""
    if status >= 500 and status not in _STATUS_ERRORS:
        return 'an error on the server ("unknown") has prevented the request from succeeding'
    other = (
        f"the server responded with the status code {status} but did not return more information"
    )
    return _STATUS_ERRORS.get(status, other)


def _describe_system(exc: OSError) -> str:
    # Without a number, several addresses failed in different ways.
    return os.strerror(exc.errno).lower() if exc.errno else "no address can be reached"


def _address(exc: aiohttp.ClientConnectorError) -> str:
    host = f"[{exc.host}]" if ":" in exc.host else exc.host
    return f"{host}:{exc.port}"

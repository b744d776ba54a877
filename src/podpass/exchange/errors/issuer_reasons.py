"""Why an issuer's keys are unavailable (AADSTS501661): each reason with its problem and its resolution.

The texts contain no address and no text of the issuer, so they may be returned to callers.
"""

# Each row: the reason, the problem, the resolution.
_ROWS = (
    (
        "url",
        "the issuer, or its jwks_uri, is not a plain https URL",
        "correct the issuer of the credential",
    ),
    (
        "name",
        "its host name does not resolve",
        (
            "check DNS where the token service runs; for the API server of a cluster, `podpass authority"
            " --cluster-server`, or server: in the seed of `podpass up`, sets another address"
        ),
    ),
    (
        "address",
        "its host has an address that is not allowed",
        (
            "`podpass authority --private-issuer` or `podpass up --private-issuer` allows it; for the API"
            " server of a cluster, `podpass authority --cluster-issuer`, or issuers: in the seed of `podpass"
            " up`"
        ),
    ),
    (
        "unreachable",
        "the connection failed, or the certificate is not trusted",
        (
            "check the firewall; for an own CA, `podpass authority` has --issuer-ca-file and"
            " --cluster-ca-file; `podpass up` has --issuer-ca-file, and ca_file: in its seed"
        ),
    ),
    ("timeout", "it took more than 3 seconds", "check the issuer and the network to it"),
    (
        "status",
        "it did not return status 200",
        (
            "let anonymous callers read both documents; or, for an API server, use `podpass authority"
            " --cluster-token-file`, or folder: in the seed of `podpass up`"
        ),
    ),
    ("compressed", "the response is compressed", "check proxies in front of the issuer"),
    ("too_large", "a document is larger than 64 KiB", "publish fewer keys"),
    (
        "not_json",
        "a document is not a JSON object",
        "check proxies and login pages in front of the issuer",
    ),
    (
        "issuer_mismatch",
        "the document names another issuer",
        "make the issuer of the credential and of the document equal, byte for byte",
    ),
    ("no_jwks_uri", "the document has no jwks_uri", "correct the document of the issuer"),
    (
        "empty_member",
        "a required member of the document is empty",
        "correct the document of the issuer",
    ),
    (
        "jwks_origin",
        "the keys are on another origin than the issuer",
        (
            "for the API server of a cluster, use `podpass authority --cluster-issuer`, or server: in the"
            " seed of `podpass up`; otherwise `podpass authority --jwks-origin`"
        ),
    ),
    ("too_many_keys", "more than three keys have the same kid", "give each key its own kid"),
    ("bad_key", "the second document is not a key set", "correct the keys of the issuer"),
    (
        "stale",
        "an earlier request failed, and the cached keys are too old",
        "see the log event issuer_keys_fetch_failed before it",
    ),
    (
        "token_file",
        "the token for the API server cannot be read",
        "check the file of `podpass authority --cluster-token-file`",
    ),
    (
        "ca_file",
        "the CA of the API server cannot be read",
        "check the file of `podpass authority --cluster-ca-file`, or ca_file: in the seed",
    ),
)
REASONS = {reason: (problem, resolution) for reason, problem, resolution in _ROWS}
RESOLUTION = "Follow the reason in the message: " + "; ".join(
    f"`{reason}`: {resolution}" for reason, _, resolution in _ROWS
)


def describe_reason(reason: str) -> str:
    """Return one sentence with the problem, the reason and its resolution, without its last full stop."""
    problem, resolution = REASONS.get(
        reason, ("its documents are not valid", "see the log of the token service")
    )
    return f"{problem} ({reason}); {resolution}"

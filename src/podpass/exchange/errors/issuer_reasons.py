"""Why an issuer's keys are unavailable (AADSTS501661): each reason with its problem and its resolution.

The texts contain no address and no text of the issuer, so they may be returned to callers.
"""

from podpass.exchange.errors.model import DATA

REASONS = {
    reason: (row["problem"], row["resolution"]) for reason, row in DATA["issuer_reason"].items()
}
RESOLUTION = "Follow the reason in the message: " + "; ".join(
    f"`{reason}`: {resolution}" for reason, (_, resolution) in REASONS.items()
)


def describe_reason(reason: str) -> str:
    """Return one sentence with the problem, the reason and its resolution, without its last full stop."""
    problem, resolution = REASONS.get(
        reason, ("its documents are not valid", "see the log of the token service")
    )
    return f"{problem} ({reason}); {resolution}"

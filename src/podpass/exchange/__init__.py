"""Stage 5: a client assertion in, an access token out, or an AADSTS error with a true cause.

Source: RFC 7521/7523 in Entra's form; see `docs/errors.md` for the order of the checks. Next: `resource`.
"""

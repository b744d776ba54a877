"""Stage 3: the projected ServiceAccount token and the issuer that publishes the keys behind it.

In: an account, perhaps a pod, an audience. Out: a signed JWT; a discovery document and a JWKS.
Source: kube-apiserver's TokenRequest, OpenID Connect Discovery 1.0. Next: `directory`.
"""

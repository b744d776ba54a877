"""Stage 2: the mutating admission webhook. AdmissionReview in, JSON patch (RFC 6902) out.

Source: azure-workload-identity's behaviour, recorded in `tests/vectors/admission.json`. Next: `assertion`.
"""

"""Microsoft Entra Workload ID, the whole loop: a pod's projected token in, an Azure token out.

The folders sort alphabetically into the token's journey: account, admission, assertion, directory,
exchange, (imds,) resource; `tools` is for people. `docs/journey.md` walks it step by step.
"""

__version__ = "0.1.0"

"""The part of the portal's API that `az ad app permission admin-consent` calls."""

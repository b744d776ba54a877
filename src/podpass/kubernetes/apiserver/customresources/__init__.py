"""CustomResourceDefinitions: their validation, and what a kind that one of them defines does differently."""

"""CustomResourceDefinitions: their validation, and the behavior of the kinds that they define."""

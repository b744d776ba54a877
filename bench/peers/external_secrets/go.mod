// External Secrets Operator: controllers with CustomResourceDefinitions of their own, which run against the embedded
// API. Built into a cache outside this tree.
module podpass.dev/bench/peers/external_secrets

go 1.24.2

require github.com/external-secrets/external-secrets v0.16.2

// As in its own go.mod.
replace github.com/Masterminds/sprig/v3 => github.com/external-secrets/sprig/v3 v3.3.0

// Operators that run on kubeling, and test suites of theirs. Built into a cache outside this tree.
module podpass.dev/bench/peers/operators

go 1.26.8

require (
	github.com/bitnami/sealed-secrets v0.40.0
	sigs.k8s.io/controller-runtime v0.25.3
)

// The module proxy has the module by its earlier name only.
replace github.com/bitnami/sealed-secrets => github.com/bitnami-labs/sealed-secrets v0.40.0

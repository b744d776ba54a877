// An operator for tests, with the controller-runtime of the suites. Built into a cache outside this tree.
module podpass.dev/bench/peers/example_operator

go 1.26.8

require sigs.k8s.io/controller-runtime v0.25.3

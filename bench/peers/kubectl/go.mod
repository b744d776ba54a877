// kubectl of a release that no Python package carries. Built into a cache outside this tree.
module podpass.dev/bench/peers/kubectl

go 1.25.0

require (
	k8s.io/component-base v0.35.10
	k8s.io/kubectl v0.35.10
)

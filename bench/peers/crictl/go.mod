// crictl, with which kind asks a node for its images. Built into a cache outside this tree.
module podpass.dev/bench/peers/crictl

go 1.24.1

require sigs.k8s.io/cri-tools v1.34.0

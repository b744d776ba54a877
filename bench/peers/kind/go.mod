// kind, the program that starts a cluster in containers of Docker. Built into a cache outside this tree.
module podpass.dev/bench/peers/kind

go 1.24.0

require sigs.k8s.io/kind v0.30.0

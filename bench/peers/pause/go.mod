// The program of each pod's sandbox: it holds the pod's namespaces.
module podpass.dev/bench/peers/pause

go 1.24.0

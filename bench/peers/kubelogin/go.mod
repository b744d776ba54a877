// kubelogin, the sign-in of kubectl for AKS. Built into a cache outside this tree.
module podpass.dev/bench/peers/kubelogin

go 1.26.4

require github.com/Azure/kubelogin v0.2.10

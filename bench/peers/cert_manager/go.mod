// The solver of cert-manager for Azure DNS. Built into a cache outside this tree.
module podpass.dev/bench/peers/cert_manager

go 1.26.0

require github.com/cert-manager/cert-manager v1.21.2

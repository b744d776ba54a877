// CoreDNS, the DNS server of the real node's cluster. Built into a cache outside this tree.
module podpass.dev/bench/peers/coredns

go 1.24.0

require github.com/coredns/coredns v1.12.4

// promtool, which runs the unit tests of the alerting rules. Built into a cache outside this tree.
module podpass.dev/bench/peers/prometheus

go 1.26.7

require github.com/prometheus/prometheus v0.316.0

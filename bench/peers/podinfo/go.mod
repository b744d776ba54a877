// podinfo, a web service that other projects test clusters with, and the probe of the tests of its chart.
module podpass.dev/bench/peers/podinfo

go 1.26.0

require (
	github.com/grpc-ecosystem/grpc-health-probe v0.4.63
	github.com/stefanprodan/podinfo v1.8.1-0.20250910200901-e86405a8674e
)

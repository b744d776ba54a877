// crane: it uploads images and charts to a registry, and serves the loopback registry of the release's rehearsal.
// Built into a cache outside this tree.
module podpass.dev/bench/peers/crane

go 1.26.0

require github.com/google/go-containerregistry v0.22.1

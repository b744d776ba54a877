// actionlint, the checker of the workflows and of their examples. Built into a cache outside this tree.
module podpass.dev/bench/peers/actionlint

go 1.26.0

require github.com/rhysd/actionlint v1.7.12

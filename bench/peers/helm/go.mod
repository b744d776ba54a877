// Helm, which the chart is rendered, checked and installed with. Built into a cache outside this tree.
module podpass.dev/bench/peers/helm

go 1.26.0

require helm.sh/helm/v3 v3.22.0

// Registers a CSI driver with the kubelet, as the driver's DaemonSet needs it. Built into a cache outside this tree.
module podpass.dev/bench/peers/plugin_registrar

go 1.24.0

require (
	google.golang.org/grpc v1.72.1
	k8s.io/kubelet v0.34.4
)

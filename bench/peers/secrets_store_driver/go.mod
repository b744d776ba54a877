// The Secrets Store CSI driver, a DaemonSet of the real node's cluster. Built into a cache outside this tree.
module podpass.dev/bench/peers/secrets_store_driver

go 1.24.0

require (
	monis.app/mlog v0.0.2
	sigs.k8s.io/secrets-store-csi-driver v1.4.8
)

// Module proxies no longer serve its logger; this one has the part of the interface that the driver uses.
replace monis.app/mlog => ./mlog

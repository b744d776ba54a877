// The reference's webhook, which `bench/admission.py` compares with ours. Built into a cache outside this tree.
module podpass.dev/bench/peers/reference

go 1.26.4

require (
	github.com/Azure/azure-workload-identity v1.6.0
	monis.app/mlog v0.0.4
)

// Its logger is no longer served by module proxies; this one has the same interface, over klog.
replace monis.app/mlog => ./mlog

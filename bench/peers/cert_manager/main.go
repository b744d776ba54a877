// Solver runs the solver of cert-manager for Azure DNS once: it writes or removes the record of an ACME challenge.
package main

import (
	"context"
	"log"
	"os"

	acme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/azuredns"
)

const usage = "usage: solver present|clean-up SUBSCRIPTION GROUP ZONE CLIENT_ID NAME VALUE"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 8 {
		log.Fatal(usage)
	}
	verb, subscription, group, zone := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	identity := &acme.AzureManagedIdentity{ClientID: os.Args[5]}
	solver, err := azuredns.NewDNSProviderCredentials(
		"AzurePublicCloud", "", "", subscription, "", group, zone, nil, true, identity,
	)
	if err != nil {
		log.Fatal(err)
	}
	domain, value := os.Args[6]+"."+zone, os.Args[7]
	run := solver.Present
	if verb == "clean-up" {
		run = solver.CleanUp
	}
	if err := run(context.Background(), domain, "_acme-challenge."+domain+".", value); err != nil {
		log.Fatal(err)
	}
}

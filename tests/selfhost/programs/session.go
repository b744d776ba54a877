// Request tokens with one credential: each input line is a scope; each output line is a JSON object with the
// result.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	credential, err := azidentity.NewWorkloadIdentityCredential(
		&azidentity.WorkloadIdentityCredentialOptions{DisableInstanceDiscovery: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		said := map[string]string{}
		token, err := credential.GetToken(
			context.Background(), policy.TokenRequestOptions{Scopes: []string{lines.Text()}})
		if err != nil {
			said["error"] = err.Error()
		} else {
			said["token"] = token.Token
		}
		line, _ := json.Marshal(said)
		fmt.Println(string(line))
	}
}

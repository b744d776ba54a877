// Reads a secret and prints the error. VAULT_URL is the vault.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func main() {
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err == nil {
		var client *azsecrets.Client
		client, err = azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, &azsecrets.ClientOptions{
			ClientOptions: policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}},
		})
		if err == nil {
			_, err = client.GetSecret(context.Background(), "greeting", "", nil)
		}
	}
	fmt.Println(err)
}

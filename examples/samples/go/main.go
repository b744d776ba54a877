// Read a secret from Key Vault in a loop. MSAL gets the access token: it sends the pod's ServiceAccount
// token as client assertion.
//
// Secret: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Identity: AZURE_CLIENT_ID, AZURE_TENANT_ID,
// AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the Workload ID webhook adds to the pod.
// CREDENTIAL=azure-identity uses Azure Identity instead of MSAL. INTERVAL_SECONDS sets the pause, 60 by default.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

func setting(name string) string {
	value := os.Getenv(name)
	if value == "" {
		fail("%q", name+" is not set")
	}
	return value
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

// msalCredential gets tokens for the Key Vault client: MSAL with the token file as client assertion.
type msalCredential struct{ client confidential.Client }

func newMsalCredential() (azcore.TokenCredential, error) {
	file := setting("AZURE_FEDERATED_TOKEN_FILE")
	// Each request reads the file again: the kubelet rotates the token in it.
	assertion := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			token, err := os.ReadFile(file)
			return string(token), err
		})
	authority := strings.TrimRight(setting("AZURE_AUTHORITY_HOST"), "/") + "/" + setting("AZURE_TENANT_ID")
	client, err := confidential.New(authority, setting("AZURE_CLIENT_ID"), assertion)
	return msalCredential{client}, err
}

func (c msalCredential) GetToken(ctx context.Context, wanted policy.TokenRequestOptions) (azcore.AccessToken, error) {
	answer, err := c.client.AcquireTokenSilent(ctx, wanted.Scopes)
	if err != nil { // not in the cache
		answer, err = c.client.AcquireTokenByCredential(ctx, wanted.Scopes)
	}
	return azcore.AccessToken{Token: answer.AccessToken, ExpiresOn: answer.ExpiresOn}, err
}

func credential() (azcore.TokenCredential, error) {
	if os.Getenv("CREDENTIAL") == "azure-identity" {
		return azidentity.NewDefaultAzureCredential(nil)
	}
	return newMsalCredential()
}

// vault returns the vault URL from KEYVAULT_URL, or from KEYVAULT_NAME, which older manifests set.
func vault() string {
	if url := os.Getenv("KEYVAULT_URL"); url != "" {
		return url
	}
	if name := os.Getenv("KEYVAULT_NAME"); name != "" {
		return "https://" + name + ".vault.azure.net"
	}
	return setting("KEYVAULT_URL")
}

func interval() time.Duration {
	if seconds, err := strconv.ParseFloat(os.Getenv("INTERVAL_SECONDS"), 64); err == nil {
		return time.Duration(seconds * float64(time.Second))
	}
	return time.Minute
}

func main() {
	ended, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	url, name := vault(), setting("SECRET_NAME")
	credential, err := credential()
	if err != nil {
		fail(`"failed to make a credential" error=%q`, err)
	}
	client, err := azsecrets.NewClient(url, credential, nil)
	if err != nil {
		fail(`"failed to make a client" keyvault=%q error=%q`, url, err)
	}
	for ended.Err() == nil {
		secret, err := client.GetSecret(context.Background(), name, "", nil)
		if err != nil {
			fail(`"failed to get secret" keyvault=%q secretName=%q error=%q`, url, name, err)
		}
		fmt.Printf("%q secret=%q\n", "successfully got secret", *secret.Value)
		select {
		case <-ended.Done():
		case <-time.After(interval()):
		}
	}
}

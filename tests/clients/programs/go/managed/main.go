// Read a secret with each managed identity credential of Go: CHECK... prints one result for each. CHECK is
// managed, default or adal, and may have `=CLIENT_ID`: then the secret is that of the second vault.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/go-autorest/autorest/adal"
)

const resource = "https://vault.azure.net"

func main() {
	module := "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	if strings.HasPrefix(os.Args[1], "adal") {
		module = "github.com/Azure/go-autorest/autorest/adal"
	}
	say("version", version(module))
	for _, check := range os.Args[1:] {
		style, clientID, _ := strings.Cut(check, "=")
		secret, err := read(style, clientID)
		if err != nil {
			secret = fmt.Sprintf("%T: %v", err, err)
		}
		say(check, secret)
	}
}

func read(style, clientID string) (string, error) {
	token, err := tokenOf(style, clientID)
	if err != nil {
		return "", err
	}
	vault := "journey-vault"
	if clientID != "" {
		vault = "second-vault"
	}
	request, err := http.NewRequest(
		http.MethodGet, "https://"+vault+".vault.azure.net/secrets/greeting?api-version=7.4", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the vault answered %s", answer.Status)
	}
	var secret struct{ Value string }
	err = json.NewDecoder(answer.Body).Decode(&secret)
	return secret.Value, err
}

func tokenOf(style, clientID string) (string, error) {
	if style == "adal" {
		return adalToken(clientID)
	}
	credential, err := made(style, clientID)
	if err != nil {
		return "", err
	}
	token, err := credential.GetToken(
		context.Background(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	return token.Token, err
}

// made returns a credential of azidentity. DefaultAzureCredential has no option for the client ID: it reads
// AZURE_CLIENT_ID.
func made(style, clientID string) (azcore.TokenCredential, error) {
	if style == "default" {
		if clientID != "" {
			os.Setenv("AZURE_CLIENT_ID", clientID)
		}
		return azidentity.NewDefaultAzureCredential(nil)
	}
	options := &azidentity.ManagedIdentityCredentialOptions{}
	if clientID != "" {
		options.ID = azidentity.ClientID(clientID)
	}
	return azidentity.NewManagedIdentityCredential(options)
}

// adalToken gets a token with the library of applications before azidentity.
func adalToken(clientID string) (string, error) {
	token, err := adal.NewServicePrincipalTokenFromManagedIdentity(
		resource, &adal.ManagedIdentityOptions{ClientID: clientID})
	if err != nil {
		return "", err
	}
	err = token.Refresh()
	return token.Token().AccessToken, err
}

func say(name, value string) {
	line, _ := json.Marshal(map[string]string{name: value})
	fmt.Println(string(line))
}

// version returns the version of a linked module, without its "v".
func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, each := range info.Deps {
		if each.Path == module {
			return strings.TrimPrefix(each.Version, "v")
		}
	}
	return "none"
}

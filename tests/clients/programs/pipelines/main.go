// Read the secret as a job of a pipeline: azidentity|terraform TENANT CLIENT. `terraform` uses the package with
// which the providers azurerm, azuread and azapi sign in.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/hashicorp/go-azure-sdk/sdk/auth"
	"github.com/hashicorp/go-azure-sdk/sdk/environments"
)

const vault = "https://pipelines-vault.vault.azure.net"

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// get returns a member of the JSON object at a URL.
func get(address, token, member string) string {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	must(err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(err)
	if response.StatusCode != http.StatusOK {
		must(fmt.Errorf("%s: %s", response.Status, body))
	}
	var object map[string]any
	must(json.Unmarshal(body, &object))
	return object[member].(string)
}

// requestToken requests a token of the job as azure/login does.
func requestToken(context.Context) (string, error) {
	address := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL") + "&audience=" + url.QueryEscape("api://AzureADTokenExchange")
	return get(address, os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"), "value"), nil
}

func azidentitySecret(tenant, client string) string {
	var credential azcore.TokenCredential
	var err error
	if os.Getenv("SYSTEM_OIDCREQUESTURI") != "" {
		credential, err = azidentity.NewAzurePipelinesCredential(tenant, client,
			os.Getenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"), os.Getenv("SYSTEM_ACCESSTOKEN"), nil)
	} else {
		credential, err = azidentity.NewClientAssertionCredential(tenant, client, requestToken, nil)
	}
	must(err)
	secrets, err := azsecrets.NewClient(vault, credential, nil)
	must(err)
	answer, err := secrets.GetSecret(context.Background(), "greeting", "", nil)
	must(err)
	return *answer.Value
}

// terraformSecret reads the variables that the providers read.
func terraformSecret(tenant, client string) string {
	environment := environments.AzurePublic()
	connection, assertion := os.Getenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"), os.Getenv("TFC_WORKLOAD_IDENTITY_TOKEN")
	address, token := os.Getenv("ARM_OIDC_REQUEST_URL"), os.Getenv("ARM_OIDC_REQUEST_TOKEN")
	if connection != "" {
		address, token = os.Getenv("SYSTEM_OIDCREQUESTURI"), os.Getenv("SYSTEM_ACCESSTOKEN")
	}
	authorizer, err := auth.NewAuthorizerFromCredentials(context.Background(), auth.Credentials{
		Environment: *environment, TenantID: tenant, ClientID: client,
		EnableAuthenticationUsingOIDC: assertion != "", OIDCAssertionToken: assertion,
		EnableAuthenticationUsingADOPipelineOIDC: connection != "", ADOPipelineServiceConnectionID: connection,
		EnableAuthenticationUsingGitHubOIDC: true, OIDCTokenRequestURL: address, OIDCTokenRequestToken: token,
	}, environment.KeyVault)
	must(err)
	access, err := authorizer.Token(context.Background(), nil)
	must(err)
	return get(vault+"/secrets/greeting?api-version=7.4", access.AccessToken, "value")
}

func main() {
	read := map[string]func(string, string) string{"azidentity": azidentitySecret, "terraform": terraformSecret}
	line, err := json.Marshal(map[string]string{"secret": read[os.Args[1]](os.Args[2], os.Args[3])})
	must(err)
	fmt.Println(string(line))
}

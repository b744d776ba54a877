// Read a secret from Key Vault in a loop. MSAL gets the access token: it sends the pod's ServiceAccount
// token as client assertion.
//
// Secret: KEYVAULT_URL (or KEYVAULT_NAME) and SECRET_NAME. Identity: AZURE_CLIENT_ID, AZURE_TENANT_ID,
// AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE, which the Workload ID webhook adds to the pod.
// CREDENTIAL=azure-identity uses Azure Identity instead of MSAL. INTERVAL_SECONDS sets the pause, 60 by default.

using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Azure.Core;
using Azure.Identity;
using Azure.Security.KeyVault.Secrets;
using Microsoft.Identity.Client;

using var ended = new CancellationTokenSource();
using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
{
    context.Cancel = true;
    ended.Cancel();
});

var url = Vault();
var name = Setting("SECRET_NAME");
TokenCredential credential = Environment.GetEnvironmentVariable("CREDENTIAL") == "azure-identity"
    ? new DefaultAzureCredential()
    : new MsalCredential();
var client = new SecretClient(new Uri(url), credential);
var interval = double.Parse(
    Environment.GetEnvironmentVariable("INTERVAL_SECONDS") ?? "60", CultureInfo.InvariantCulture);

while (!ended.IsCancellationRequested)
{
    try
    {
        var secret = await client.GetSecretAsync(name);
        Console.WriteLine($"\"successfully got secret\" secret={JsonSerializer.Serialize(secret.Value.Value)}");
    }
    catch (Exception error)
    {
        var why = JsonSerializer.Serialize(error.Message);
        Console.Error.WriteLine($"\"failed to get secret\" keyvault=\"{url}\" secretName=\"{name}\" error={why}");
        return 1;
    }
    try
    {
        await Task.Delay(TimeSpan.FromSeconds(interval), ended.Token);
    }
    catch (OperationCanceledException)
    {
        // SIGTERM: end the loop
    }
}
return 0;

// Return the vault URL from KEYVAULT_URL, or from KEYVAULT_NAME, which older manifests set.
static string Vault()
{
    var url = Environment.GetEnvironmentVariable("KEYVAULT_URL");
    var name = Environment.GetEnvironmentVariable("KEYVAULT_NAME");
    if (!string.IsNullOrEmpty(url))
    {
        return url;
    }
    return string.IsNullOrEmpty(name) ? Setting("KEYVAULT_URL") : $"https://{name}.vault.azure.net";
}

static string Setting(string name)
{
    var value = Environment.GetEnvironmentVariable(name);
    if (string.IsNullOrEmpty(value))
    {
        Console.Error.WriteLine($"\"{name} is not set\"");
        Environment.Exit(1);
    }
    return value!;
}

// Credential for the Key Vault client: MSAL with the token file as client assertion.
sealed class MsalCredential : TokenCredential
{
    private readonly IConfidentialClientApplication _app;

    public MsalCredential()
    {
        var file = Environment.GetEnvironmentVariable("AZURE_FEDERATED_TOKEN_FILE")
            ?? throw new InvalidOperationException("AZURE_FEDERATED_TOKEN_FILE is not set");
        var host = Environment.GetEnvironmentVariable("AZURE_AUTHORITY_HOST")?.TrimEnd('/');
        var tenant = Environment.GetEnvironmentVariable("AZURE_TENANT_ID");
        _app = ConfidentialClientApplicationBuilder
            .Create(Environment.GetEnvironmentVariable("AZURE_CLIENT_ID"))
            .WithAuthority($"{host}/{tenant}")
            // A function, so that each request reads the file again: the kubelet rotates the token in it.
            .WithClientAssertion((AssertionRequestOptions _) => File.ReadAllTextAsync(file))
            .Build();
    }

    public override async ValueTask<AccessToken> GetTokenAsync(TokenRequestContext wanted, CancellationToken stop)
    {
        var answer = await _app.AcquireTokenForClient(wanted.Scopes).ExecuteAsync(stop);
        return new AccessToken(answer.AccessToken, answer.ExpiresOn);
    }

    public override AccessToken GetToken(TokenRequestContext wanted, CancellationToken stop) =>
        GetTokenAsync(wanted, stop).AsTask().GetAwaiter().GetResult();
}

import com.azure.core.credential.TokenCredential;
import com.azure.identity.AzurePipelinesCredentialBuilder;
import com.azure.identity.ClientAssertionCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Read the secret as a job of a pipeline, with azure-identity: TENANT CLIENT. */
public final class Pipelines {
    private static final Pattern VALUE = Pattern.compile("\"value\":\"([^\"]*)\"");

    private Pipelines() {}

    public static void main(String[] arguments) {
        String secret = new SecretClientBuilder().vaultUrl("https://pipelines-vault.vault.azure.net")
                .credential(credential(arguments[0], arguments[1])).buildClient().getSecret("greeting").getValue();
        System.out.println("{\"secret\": \"" + secret + "\"}");
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    private static TokenCredential credential(String tenant, String client) {
        if (System.getenv("SYSTEM_OIDCREQUESTURI") != null) {
            return new AzurePipelinesCredentialBuilder().tenantId(tenant).clientId(client)
                    .serviceConnectionId(System.getenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"))
                    .systemAccessToken(System.getenv("SYSTEM_ACCESSTOKEN")).build();
        }
        return new ClientAssertionCredentialBuilder().tenantId(tenant).clientId(client)
                .clientAssertion(Pipelines::requestToken).build();
    }

    /** Request a token of the job as azure/login does. */
    private static String requestToken() {
        String url = System.getenv("ACTIONS_ID_TOKEN_REQUEST_URL") + "&audience=api%3A%2F%2FAzureADTokenExchange";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                .header("Authorization", "Bearer " + System.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")).build();
        try {
            HttpResponse<String> response =
                    HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            Matcher found = VALUE.matcher(response.body());
            if (!found.find()) {
                throw new IllegalStateException("status " + response.statusCode());
            }
            return found.group(1);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }
}

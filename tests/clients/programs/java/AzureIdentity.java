import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.core.util.CoreUtils;
import com.azure.identity.ChainedTokenCredentialBuilder;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.EnvironmentCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredential;
import com.azure.identity.WorkloadIdentityCredentialBuilder;

/** Read the secret and get tokens with azure-identity: STYLE (default|chained|workload) SCOPE [LATER]. */
public final class AzureIdentity {
    private AzureIdentity() {}

    public static void main(String[] arguments) throws Exception {
        String first = Answer.assertion();
        TokenCredential credential = made(arguments[0]);
        String secret = Answer.secret(credential);
        String version = CoreUtils.getProperties("azure-identity.properties").get("version");
        Answer.say("secret", secret, "audience", audience(credential, arguments[1]), "version", version);
        if (arguments.length > 2) {
            Answer.waitForAnother(first);
            Answer.say("later", audience(credential, arguments[2]));
        }
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    static TokenCredential made(String style) {
        if (style.equals("default")) {
            DefaultAzureCredentialBuilder builder = new DefaultAzureCredentialBuilder();
            return Answer.DIRECT ? builder.disableInstanceDiscovery().build() : builder.build();
        }
        if (style.equals("chained")) {
            return new ChainedTokenCredentialBuilder()
                    .addLast(new EnvironmentCredentialBuilder().build()).addLast(workload()).build();
        }
        return workload();
    }

    /** In 1.9.0 the builder has no defaults. */
    static WorkloadIdentityCredential workload() {
        WorkloadIdentityCredentialBuilder builder = new WorkloadIdentityCredentialBuilder()
                .tenantId(System.getenv("AZURE_TENANT_ID"))
                .clientId(System.getenv("AZURE_CLIENT_ID"))
                .tokenFilePath(System.getenv("AZURE_FEDERATED_TOKEN_FILE"));
        // Otherwise the library asks the real service whether this authority is known.
        return Answer.DIRECT ? builder.disableInstanceDiscovery().build() : builder.build();
    }

    static String audience(TokenCredential credential, String scope) {
        return Answer.audience(
                credential.getToken(new TokenRequestContext().addScopes(scope)).block().getToken());
    }
}

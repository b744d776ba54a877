import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.IClientCredential;
import java.time.ZoneOffset;
import java.util.Set;
import java.util.concurrent.Callable;
import reactor.core.publisher.Mono;

/** Read the secret and get tokens with msal4j: STYLE (string|callback) SCOPE [LATER]. */
public final class Msal {
    private Msal() {}

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Throwable failed) {
            failed.printStackTrace();
            System.exit(1); // as below
        }
        System.exit(0); // threads of the HTTP client would keep the program running
    }

    private static void run(String[] arguments) throws Exception {
        String first = Answer.assertion();
        ConfidentialClientApplication app = made(arguments[0]);
        // First without Azure's client, which repeats a request whose token was refused.
        String audience = Answer.audience(token(app, arguments[1]).getToken());
        // The credential interface of Azure's clients.
        TokenCredential credential = asked -> Mono.fromCallable(() -> token(app, asked.getScopes().get(0)));
        String secret = Answer.secret(credential);
        Answer.say("secret", secret, "audience", audience, "version", version());
        if (arguments.length > 2) {
            Answer.waitForAnother(first);
            Answer.say("later", Answer.audience(token(app, arguments[2]).getToken()));
        }
    }

    static ConfidentialClientApplication made(String style) throws Exception {
        Callable<String> callback = Answer::assertion;
        IClientCredential assertion = style.equals("callback")
                ? ClientCredentialFactory.createFromCallback(callback)
                : ClientCredentialFactory.createFromClientAssertion(Answer.assertion());
        return ConfidentialClientApplication.builder(System.getenv("AZURE_CLIENT_ID"), assertion)
                .authority(System.getenv("AZURE_AUTHORITY_HOST") + System.getenv("AZURE_TENANT_ID"))
                .instanceDiscovery(!Answer.DIRECT) // otherwise MSAL asks the real service about this authority
                .build();
    }

    static AccessToken token(ConfidentialClientApplication app, String scope) throws Exception {
        IAuthenticationResult answer = app.acquireToken(
                ClientCredentialParameters.builder(Set.of(scope)).build()).get();
        return new AccessToken(answer.accessToken(),
                answer.expiresOnDate().toInstant().atOffset(ZoneOffset.UTC));
    }

    /** The version is in the manifest of the library's jar. */
    static String version() throws Exception {
        return ConfidentialClientApplication.class.getPackage().getImplementationVersion();
    }
}

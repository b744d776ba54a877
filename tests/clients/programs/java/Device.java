import com.microsoft.aad.msal4j.DeviceCode;
import com.microsoft.aad.msal4j.DeviceCodeFlowParameters;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.PublicClientApplication;
import java.util.Set;
import java.util.function.Consumer;

/** Sign a user in with a device code and msal4j: CLIENT SCOPE. */
public final class Device {
    private Device() {}

    public static void main(String[] arguments) throws Exception {
        PublicClientApplication app = PublicClientApplication.builder(arguments[0])
                .authority(System.getenv("AZURE_AUTHORITY_HOST") + System.getenv("AZURE_TENANT_ID"))
                .build();
        Consumer<DeviceCode> shown = code ->
                Answer.say("page", code.verificationUri(), "code", code.userCode());
        IAuthenticationResult answer = app.acquireToken(
                DeviceCodeFlowParameters.builder(Set.of(arguments[1]), shown).build()).get();
        Answer.say("user", answer.account().username(), "audience", Answer.audience(answer.accessToken()),
                "version", Msal.version());
        System.exit(0); // threads of the HTTP client would keep the program running
    }
}

import io.kubernetes.client.openapi.apis.CoreV1Api;
import io.kubernetes.client.util.Config;

/** Prints the namespaces, with the user of KUBECONFIG. */
public class Official {
    public static void main(String[] arguments) throws Exception {
        for (var each : new CoreV1Api(Config.defaultClient()).listNamespace().execute().getItems()) {
            System.out.println(each.getMetadata().getName());
        }
        System.exit(0); // threads of the HTTP client would delay the exit
    }
}

import io.kubernetes.client.Exec;
import io.kubernetes.client.PodLogs;
import io.kubernetes.client.informer.ResourceEventHandler;
import io.kubernetes.client.informer.SharedInformerFactory;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.apis.CoreV1Api;
import io.kubernetes.client.openapi.models.V1ConfigMap;
import io.kubernetes.client.openapi.models.V1ConfigMapList;
import io.kubernetes.client.util.CallGeneratorParams;
import io.kubernetes.client.util.Config;
import java.util.Arrays;

/** Runs the official client: `informer NAMESPACE`, `exec NAMESPACE POD COMMAND...`, `log NAMESPACE POD`. */
public class Official {
    public static void main(String[] words) throws Exception {
        var client = Config.defaultClient();
        switch (words[0]) {
            case "informer" -> inform(client, words[1]);
            case "exec" -> {
                var command = Arrays.copyOfRange(words, 3, words.length);
                var process = new Exec(client).exec(words[1], words[2], command, true, false);
                // A stream that is not open at the end of the connection cannot be opened.
                var output = process.getInputStream();
                var errors = process.getErrorStream();
                // The protocol of the client, v4, cannot close stdin.
                process.getOutputStream().write(System.in.readNBytes(5));
                process.getOutputStream().flush();
                output.transferTo(System.out);
                errors.transferTo(System.err);
                System.out.println("exit " + process.waitFor());
                System.exit(0);
            }
            default -> new PodLogs(client).streamNamespacedPodLog(words[1], words[2], null).transferTo(System.out);
        }
    }

    private static void inform(ApiClient client, String namespace) throws InterruptedException {
        client.setReadTimeout(0);
        var api = new CoreV1Api(client);
        var factory = new SharedInformerFactory(client);
        var informer = factory.sharedIndexInformerFor(
                (CallGeneratorParams given) -> api.listNamespacedConfigMap(namespace)
                        .labelSelector("informer")
                        .resourceVersion(given.resourceVersion)
                        .timeoutSeconds(given.timeoutSeconds)
                        .watch(given.watch)
                        .buildCall(null),
                V1ConfigMap.class,
                V1ConfigMapList.class);
        informer.addEventHandler(new ResourceEventHandler<V1ConfigMap>() {
            @Override
            public void onAdd(V1ConfigMap found) {
                print("add", found);
            }

            @Override
            public void onUpdate(V1ConfigMap before, V1ConfigMap found) {
                // A list after a lost connection repeats objects that did not change.
                if (!before.getMetadata().getResourceVersion().equals(found.getMetadata().getResourceVersion())) {
                    print("update", found);
                }
            }

            @Override
            public void onDelete(V1ConfigMap found, boolean isUnknown) {
                print("delete", found);
            }
        });
        factory.startAllRegisteredInformers();
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void print(String event, V1ConfigMap found) {
        System.out.println(event + " " + found.getMetadata().getName() + " " + found.getData().get("value"));
    }
}

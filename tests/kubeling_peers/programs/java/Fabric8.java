import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderCallbacks;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderElectionConfigBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import java.time.Duration;
import java.util.Arrays;

/** Runs Fabric8: `informer NAMESPACE`, `exec NAMESPACE POD COMMAND...`, `log NAMESPACE POD`, `elect NAMESPACE NAME`. */
public class Fabric8 {
    public static void main(String[] words) throws Exception {
        try (var client = new KubernetesClientBuilder().build()) {
            var namespace = words[1];
            switch (words[0]) {
                case "informer" -> inform(client, namespace);
                case "elect" -> elect(client, namespace, words[2]);
                case "exec" -> {
                    var command = Arrays.copyOfRange(words, 3, words.length);
                    var pod = client.pods().inNamespace(namespace).withName(words[2]);
                    var exec = pod.readingInput(System.in).writingOutput(System.out).writingError(System.err);
                    try (var running = exec.exec(command)) {
                        System.out.println("exit " + running.exitCode().get());
                    }
                }
                default -> {
                    var pod = client.pods().inNamespace(namespace).withName(words[2]);
                    // Without waiting, the end of the program closes the connection.
                    try (var log = pod.watchLog(System.out)) {
                        log.onClose().toCompletableFuture().get();
                    }
                }
            }
        }
    }

    private static void inform(KubernetesClient client, String namespace) throws InterruptedException {
        client.configMaps().inNamespace(namespace).withLabel("informer").inform(new ResourceEventHandler<>() {
            @Override
            public void onAdd(ConfigMap found) {
                print("add", found);
            }

            @Override
            public void onUpdate(ConfigMap before, ConfigMap found) {
                // A list after a lost connection repeats objects that did not change.
                if (!before.getMetadata().getResourceVersion().equals(found.getMetadata().getResourceVersion())) {
                    print("update", found);
                }
            }

            @Override
            public void onDelete(ConfigMap found, boolean isUnknown) {
                print("delete", found);
            }
        });
        Thread.sleep(Long.MAX_VALUE);
    }

    private static void elect(KubernetesClient client, String namespace, String identity) {
        var callbacks = new LeaderCallbacks(
                () -> System.out.println("leading"), () -> System.out.println("not leading"), leader -> {});
        var config = new LeaderElectionConfigBuilder()
                .withName(identity)
                .withLock(new LeaseLock(namespace, "elected", identity))
                .withLeaseDuration(Duration.ofSeconds(6))
                .withRenewDeadline(Duration.ofSeconds(4))
                .withRetryPeriod(Duration.ofSeconds(1))
                .withLeaderCallbacks(callbacks)
                .build();
        client.leaderElector().withConfig(config).build().run();
    }

    private static void print(String event, ConfigMap found) {
        System.out.println(event + " " + found.getMetadata().getName() + " " + found.getData().get("value"));
    }
}

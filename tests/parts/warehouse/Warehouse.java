import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Starts Trino's own server with JWT authentication over TLS, configured by the environment: the same command serves on
 * a machine and in a pod. `environment()` in __init__.py says what the variables mean.
 */
public class Warehouse {
    private static final String VERSION = "435"; // what the server reports of itself
    private static final String JWT = "http-server.authentication.jwt.";

    public static void main(String[] args) throws IOException {
        Path folder = Files.createDirectories(Path.of(required("WAREHOUSE_FOLDER")).toAbsolutePath());
        Path config = folder.resolve("config.properties");
        Files.write(config, settings(folder));
        System.setProperty("config", config.toString());
        System.setProperty("node.data-dir", Files.createDirectories(folder.resolve("data")).toString());
        new io.trino.server.Server().start(VERSION);
    }

    private static List<String> settings(Path folder) throws IOException {
        String internalPort = required("WAREHOUSE_INTERNAL_PORT");
        List<String> lines = new ArrayList<>(List.of(
                "node.environment=test",
                "node.id=one",
                "node.bind-ip=" + required("WAREHOUSE_ADDRESS"),
                "node.internal-address=127.0.0.1",
                "coordinator=true",
                "node-scheduler.include-coordinator=true",
                // for the node's talk with itself; it refuses everybody else
                "http-server.http.enabled=true",
                "http-server.http.port=" + internalPort,
                "discovery.uri=http://127.0.0.1:" + internalPort,
                "internal-communication.shared-secret=only-for-tests-only-for-tests-only",
                "http-server.https.enabled=true",
                "http-server.https.port=" + required("WAREHOUSE_PORT"),
                "http-server.https.keystore.path=" + keyStore(folder),
                "http-server.log.enabled=false", // it would be written to the working directory
                "http-server.authentication.type=JWT",
                JWT + "key-file=" + required("WAREHOUSE_JWKS"),
                JWT + "required-issuer=" + required("WAREHOUSE_ISSUER"),
                JWT + "required-audience=" + required("WAREHOUSE_AUDIENCE"),
                "plugin.dir=" + Files.createDirectories(folder.resolve("plugin")),
                "catalog.config-dir=" + Files.createDirectories(folder.resolve("catalog"))));
        String authority = System.getenv("WAREHOUSE_JWKS_CA");
        if (authority != null) {
            lines.add("jwk.http-client.trust-store-path=" + authority);
        }
        return lines;
    }

    /** Trino reads certificate and key from one PEM file; Kubernetes hands out two. */
    private static Path keyStore(Path folder) throws IOException {
        String both = Files.readString(Path.of(required("WAREHOUSE_TLS_KEY")))
                + "\n" + Files.readString(Path.of(required("WAREHOUSE_TLS_CERT")));
        return Files.writeString(folder.resolve("tls.pem"), both);
    }

    private static String required(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalArgumentException(name + " is not set");
        }
        return value;
    }
}

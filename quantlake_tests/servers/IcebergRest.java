import com.fasterxml.jackson.annotation.JsonAutoDetect;
import com.fasterxml.jackson.annotation.PropertyAccessor;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import org.apache.iceberg.catalog.Namespace;
import org.apache.iceberg.catalog.TableIdentifier;
import org.apache.iceberg.exceptions.AlreadyExistsException;
import org.apache.iceberg.exceptions.CommitFailedException;
import org.apache.iceberg.exceptions.NoSuchNamespaceException;
import org.apache.iceberg.exceptions.NoSuchTableException;
import org.apache.iceberg.exceptions.NotAuthorizedException;
import org.apache.iceberg.exceptions.ValidationException;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.CatalogHandlers;
import org.apache.iceberg.rest.RESTCatalogProperties.SnapshotMode;
import org.apache.iceberg.rest.RESTSerializers;
import org.apache.iceberg.rest.requests.CreateNamespaceRequest;
import org.apache.iceberg.rest.requests.CreateTableRequest;
import org.apache.iceberg.rest.requests.UpdateTableRequest;
import org.apache.iceberg.rest.responses.ErrorResponse;

/**
 * An Iceberg REST catalogue: Iceberg's own handlers over its own JDBC catalogue, behind the JDK's HTTP server on loopback.
 *
 * <p>Arguments: the port, the bearer token that clients must show, then name=value properties of the JDBC catalogue. Namespaces and
 * tables only; the routes that QuantLake's client uses.
 */
public final class IcebergRest {
    private final JdbcCatalog catalog = new JdbcCatalog();
    private final ObjectMapper json = new ObjectMapper();
    private final String authorization;

    private IcebergRest(String token, Map<String, String> properties) {
        authorization = "Bearer " + token;
        catalog.initialize("rest", properties);
        json.setVisibility(PropertyAccessor.FIELD, JsonAutoDetect.Visibility.ANY);
        json.configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);
        json.setPropertyNamingStrategy(PropertyNamingStrategies.KEBAB_CASE);
        RESTSerializers.registerAll(json);
    }

    public static void main(String[] arguments) throws IOException {
        Map<String, String> properties = new TreeMap<>();
        Arrays.stream(arguments).skip(2).map(a -> a.split("=", 2)).forEach(p -> properties.put(p[0], p[1]));
        IcebergRest rest = new IcebergRest(arguments[1], properties);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/v1/", rest::serve);
        server.start();
    }

    private void serve(HttpExchange exchange) throws IOException {
        int status = 200;
        Object answer;
        try (InputStream body = exchange.getRequestBody()) {
            byte[] asked = body.readAllBytes();
            if (!authorization.equals(exchange.getRequestHeaders().getFirst("Authorization"))) {
                throw new NotAuthorizedException("The bearer token is not this catalogue's");
            }
            String path = exchange.getRequestURI().getRawPath().substring("/v1/".length());
            List<String> parts = Arrays.stream(path.split("/")).map(p -> URLDecoder.decode(p, StandardCharsets.UTF_8)).toList();
            answer = answered(exchange.getRequestMethod(), parts, asked);
            status = answer == null ? 204 : 200;
        } catch (Exception error) {
            error.printStackTrace();
            status = statusOf(error);
            answer = ErrorResponse.builder().responseCode(status).withType(error.getClass().getSimpleName()).withMessage(error.getMessage()).build();
        }
        boolean empty = answer == null || exchange.getRequestMethod().equals("HEAD");
        byte[] content = empty ? new byte[0] : json.writeValueAsBytes(answer);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, empty ? -1 : content.length);
        if (!empty) {
            exchange.getResponseBody().write(content);
        }
        exchange.close();
    }

    private Object answered(String method, List<String> parts, byte[] asked) throws IOException {
        Namespace namespace = parts.size() > 1 ? Namespace.of(parts.get(1).split("\u001f")) : Namespace.empty();
        TableIdentifier table = parts.size() > 3 ? TableIdentifier.of(namespace, parts.get(3)) : null;
        String route = method + " " + parts.get(0) + (parts.size() > 1 ? "/{}" : "") + (parts.size() > 2 ? "/" + parts.get(2) : "") + (table == null ? "" : "/{}");
        switch (route) {
            case "GET config":
                return Map.of("defaults", Map.of(), "overrides", Map.of());
            case "GET namespaces":
                return CatalogHandlers.listNamespaces(catalog, namespace);
            case "POST namespaces":
                return CatalogHandlers.createNamespace(catalog, json.readValue(asked, CreateNamespaceRequest.class));
            case "GET namespaces/{}":
            case "HEAD namespaces/{}":
                return CatalogHandlers.loadNamespace(catalog, namespace);
            case "GET namespaces/{}/tables":
                return CatalogHandlers.listTables(catalog, namespace);
            case "POST namespaces/{}/tables":
                CreateTableRequest wanted = json.readValue(asked, CreateTableRequest.class);
                return wanted.stageCreate() ? CatalogHandlers.stageTableCreate(catalog, namespace, wanted) : CatalogHandlers.createTable(catalog, namespace, wanted);
            case "GET namespaces/{}/tables/{}":
            case "HEAD namespaces/{}/tables/{}":
                return CatalogHandlers.loadTable(catalog, table, SnapshotMode.ALL);
            case "POST namespaces/{}/tables/{}":
                return CatalogHandlers.updateTable(catalog, table, json.readValue(asked, UpdateTableRequest.class));
            case "DELETE namespaces/{}/tables/{}":
                CatalogHandlers.dropTable(catalog, table);
                return null;
            default:
                throw new IllegalArgumentException("There is no " + route + " here");
        }
    }

    private static int statusOf(Exception error) {
        if (error instanceof NotAuthorizedException) {
            return 401;
        }
        if (error instanceof NoSuchNamespaceException || error instanceof NoSuchTableException) {
            return 404;
        }
        if (error instanceof AlreadyExistsException || error instanceof CommitFailedException) {
            return 409;
        }
        return error instanceof IllegalArgumentException || error instanceof ValidationException ? 400 : 500;
    }
}

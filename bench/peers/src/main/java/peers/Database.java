package peers;

import java.net.URI;
import javax.sql.XADataSource;

/** Where a database is, and its driver's XA data source with the settings that its makers advise. */
record Database(String host, int port, String name, String user, String password, String scheme) {
    static Database at(String url) {
        URI uri = URI.create(url);
        String[] login = uri.getUserInfo().split(":", 2);
        return new Database(uri.getHost(), uri.getPort(), uri.getPath().substring(1), login[0], login[1], uri.getScheme());
    }

    /** The server's flavour is not in a MySQL URL: the peers speak to each with its makers' driver. */
    Database of(String flavour) {
        return new Database(host, port, name, user, password, flavour);
    }

    String jdbcUrl() {
        String place = host + ":" + port + "/" + name;
        return switch (scheme) {
            case "postgres" -> "jdbc:postgresql://" + place;
            // MariaDB ends a prepared branch only on the connection that prepared it.
            case "mariadb" -> "jdbc:mariadb://" + place + "?pinGlobalTxToPhysicalConnection=true";
            case "mysql" -> "jdbc:mysql://" + place + "?pinGlobalTxToPhysicalConnection=true&useSSL=false"
                + "&allowPublicKeyRetrieval=true&cachePrepStmts=true&useLocalSessionState=true"
                + "&elideSetAutoCommits=true&cacheServerConfiguration=true&cacheResultSetMetadata=true"
                + "&maintainTimeStats=false";
            default -> throw new IllegalArgumentException(scheme);
        };
    }

    Class<? extends XADataSource> driver() {
        return switch (scheme) {
            case "postgres" -> org.postgresql.xa.PGXADataSource.class;
            case "mariadb" -> org.mariadb.jdbc.MariaDbDataSource.class;
            case "mysql" -> com.mysql.cj.jdbc.MysqlXADataSource.class;
            default -> throw new IllegalArgumentException(scheme);
        };
    }
}

package peers;

import com.atomikos.icatch.config.UserTransactionServiceImp;
import com.atomikos.icatch.jta.UserTransactionManager;
import com.atomikos.jdbc.AtomikosDataSourceBean;
import java.util.Properties;
import javax.sql.DataSource;

/** Atomikos over its own pools, with the limits that its makers' own performance tests lift. */
final class Atomikos implements Peer {
    private final UserTransactionServiceImp service;
    private final UserTransactionManager manager = new UserTransactionManager();
    private final AtomikosDataSourceBean ledger;
    private final AtomikosDataSourceBean shop;

    Atomikos(String directory, Database ledger, Database shop, int connections) throws Exception {
        Properties settings = new Properties();
        settings.setProperty("com.atomikos.icatch.log_base_dir", directory);
        settings.setProperty("com.atomikos.icatch.tm_unique_name", "peer");
        settings.setProperty("com.atomikos.icatch.enable_logging", "true");
        settings.setProperty("com.atomikos.icatch.max_actives", "-1");
        settings.setProperty("com.atomikos.icatch.checkpoint_interval", "20000");
        settings.setProperty("com.atomikos.icatch.registered", "true");
        service = new UserTransactionServiceImp(settings);
        service.init();
        manager.setForceShutdown(true);
        manager.init();
        this.ledger = pool("ledger", ledger, connections);
        this.shop = pool("shop", shop, connections);
    }

    private static AtomikosDataSourceBean pool(String name, Database database, int connections) throws Exception {
        Properties settings = new Properties();
        settings.setProperty("url", database.jdbcUrl());
        settings.setProperty("user", database.user());
        settings.setProperty("password", database.password());
        AtomikosDataSourceBean pool = new AtomikosDataSourceBean();
        pool.setUniqueResourceName(name);
        pool.setXaDataSourceClassName(database.driver().getName());
        pool.setXaProperties(settings);
        pool.setMaxPoolSize(connections);
        pool.init();
        return pool;
    }

    @Override public DataSource ledger() { return ledger; }

    @Override public DataSource shop() { return shop; }

    @Override public void begin() throws Exception { manager.begin(); }

    @Override public void commit() throws Exception { manager.commit(); }

    @Override public void rollback() throws Exception { manager.rollback(); }

    @Override public void close() {
        ledger.close();
        shop.close();
        manager.close();
        service.shutdown(true);
    }
}

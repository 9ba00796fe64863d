package peers;

import com.arjuna.ats.arjuna.common.ObjectStoreEnvironmentBean;
import com.arjuna.ats.arjuna.common.arjPropertyManager;
import com.arjuna.ats.internal.arjuna.objectstore.hornetq.HornetqJournalEnvironmentBean;
import com.arjuna.ats.internal.arjuna.objectstore.hornetq.HornetqObjectStoreAdaptor;
import com.arjuna.ats.internal.jta.transaction.arjunacore.TransactionSynchronizationRegistryImple;
import com.arjuna.common.internal.util.propertyservice.BeanPopulator;
import io.agroal.api.AgroalDataSource;
import io.agroal.api.configuration.supplier.AgroalDataSourceConfigurationSupplier;
import io.agroal.api.security.NamePrincipal;
import io.agroal.api.security.SimplePassword;
import io.agroal.narayana.NarayanaTransactionIntegration;
import jakarta.transaction.TransactionManager;
import java.sql.SQLException;
import java.time.Duration;
import javax.sql.DataSource;

/** Narayana over Agroal's pools: what WildFly and Quarkus put together. One store for each process. */
final class Narayana implements Peer {
    private final TransactionManager manager;
    private final AgroalDataSource ledger;
    private final AgroalDataSource shop;

    Narayana(boolean journal, String directory, Database ledger, Database shop, int connections) throws Exception {
        arjPropertyManager.getCoreEnvironmentBean().setNodeIdentifier("1");
        arjPropertyManager.getCoordinatorEnvironmentBean().setTransactionStatusManagerEnable(false);
        for (String store : new String[] {null, "communicationStore", "stateStore"}) {
            BeanPopulator.getNamedInstance(ObjectStoreEnvironmentBean.class, store).setObjectStoreDir(directory);
        }
        if (journal) {
            BeanPopulator.getDefaultInstance(HornetqJournalEnvironmentBean.class).setStoreDir(directory);
            arjPropertyManager.getObjectStoreEnvironmentBean().setObjectStoreType(HornetqObjectStoreAdaptor.class.getName());
        }
        manager = com.arjuna.ats.jta.TransactionManager.transactionManager();
        this.ledger = pool(ledger, connections);
        this.shop = pool(shop, connections);
    }

    private AgroalDataSource pool(Database database, int connections) throws SQLException {
        var registry = new TransactionSynchronizationRegistryImple();
        return AgroalDataSource.from(new AgroalDataSourceConfigurationSupplier()
            .connectionPoolConfiguration(pool -> pool
                .maxSize(connections)
                .acquisitionTimeout(Duration.ofSeconds(30))
                .transactionIntegration(new NarayanaTransactionIntegration(manager, registry))
                .connectionFactoryConfiguration(connection -> connection
                    .connectionProviderClass(database.driver())
                    .jdbcUrl(database.jdbcUrl())
                    .trackJdbcResources(false)
                    // Else each transfer tells MySQL to leave autocommit, and to take it up again: two trips.
                    .autoCommit(false)
                    .principal(new NamePrincipal(database.user()))
                    .credential(new SimplePassword(database.password())))));
    }

    @Override public DataSource ledger() { return ledger; }

    @Override public DataSource shop() { return shop; }

    @Override public void begin() throws Exception { manager.begin(); }

    @Override public void commit() throws Exception { manager.commit(); }

    @Override public void rollback() throws Exception { manager.rollback(); }

    @Override public void close() {
        ledger.close();
        shop.close();
    }
}

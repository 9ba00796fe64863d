package peers;

import javax.sql.DataSource;

/** A transaction manager with a pool for each database, as its makers mean it to be used. */
interface Peer {
    DataSource ledger();

    DataSource shop();

    void begin() throws Exception;

    void commit() throws Exception;

    void rollback() throws Exception;

    void close() throws Exception;
}

package peers;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.logging.Level;
import java.util.logging.LogManager;
import javax.sql.DataSource;

/**
 * One peer in a process of its own. Commands come on the standard input, a line each, and each is
 * answered by a line of JSON:
 *
 *   turn CALLERS MS    transfers by so many callers for so long
 *   proof COUNT        so many transfers that leave their number on both sides; each third rolls back
 */
public final class Main {
    private static final String LEDGER = "update bench_account set balance = balance - ? where id = ?";
    private static final String SHOP = "update bench_account set balance = balance + ? where id = ?";
    private static final String NOTE = "insert into bench_proof values (?, ?)";

    private final String name;
    private final Peer peer;
    private final int rowsOfCaller;
    private final ExecutorService threads;

    private Main(String name, Peer peer, int connections, int rowsOfCaller) {
        this.name = name;
        this.peer = peer;
        this.rowsOfCaller = rowsOfCaller;
        this.threads = Executors.newFixedThreadPool(connections);
    }

    /** PEER DIRECTORY LEDGER-URL SHOP-URL FLAVOUR CONNECTIONS ROWS-OF-A-CALLER */
    public static void main(String[] words) throws Exception {
        PrintStream answers = System.out;
        // Libraries greet on the standard output.
        System.setOut(System.err);
        LogManager.getLogManager().reset();
        java.util.logging.Logger.getLogger("").setLevel(Level.OFF);
        Database ledger = Database.at(words[2]);
        Database shop = Database.at(words[3]).of(words[4]);
        int connections = Integer.parseInt(words[5]);
        Peer peer = switch (words[0]) {
            case "narayana" -> new Narayana(false, words[1], ledger, shop, connections);
            case "narayana-journal" -> new Narayana(true, words[1], ledger, shop, connections);
            case "atomikos" -> new Atomikos(words[1], ledger, shop, connections);
            default -> throw new IllegalArgumentException(words[0]);
        };
        Main main = new Main(words[0], peer, connections, Integer.parseInt(words[6]));
        answers.println("{\"ready\":true}");
        var commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] command = line.split(" ");
            answers.println(switch (command[0]) {
                case "turn" -> main.turn(Integer.parseInt(command[1]), Long.parseLong(command[2]));
                case "proof" -> main.proof(Integer.parseInt(command[1]));
                default -> throw new IllegalArgumentException(line);
            });
        }
        peer.close();
        System.exit(0);
    }

    private String turn(int callers, long forMs) throws Exception {
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long cpu = system.getProcessCpuTime();
        long started = System.nanoTime();
        List<Callable<long[]>> tasks = new ArrayList<>();
        for (int caller = 0; caller < callers; caller += 1) {
            int first = caller * rowsOfCaller;
            tasks.add(() -> callUntil(started + forMs * 1_000_000, first));
        }
        List<long[]> parts = new ArrayList<>();
        for (var part : threads.invokeAll(tasks)) parts.add(part.get());
        double tookMs = (System.nanoTime() - started) / 1e6;
        double cpuUs = (system.getProcessCpuTime() - cpu) / 1e3;
        long[] took = parts.stream().flatMapToLong(Arrays::stream).sorted().toArray();
        return String.format(
            "{\"count\":%d,\"tookMs\":%f,\"p50Ms\":%f,\"cpuUs\":%f}",
            took.length, tookMs, took[(took.length - 1) / 2] / 1e6, cpuUs / took.length);
    }

    /** At least one transfer. @return how long each took, in ns */
    private long[] callUntil(long end, int firstRow) throws Exception {
        long[] took = new long[1024];
        int count = 0;
        do {
            long asked = System.nanoTime();
            peer.begin();
            move(firstRow + count % rowsOfCaller);
            peer.commit();
            if (count == took.length) took = Arrays.copyOf(took, 2 * count);
            took[count] = System.nanoTime() - asked;
            count += 1;
        } while (System.nanoTime() < end);
        return Arrays.copyOf(took, count);
    }

    private void move(int row) throws SQLException {
        update(peer.ledger(), LEDGER, row);
        update(peer.shop(), SHOP, row);
    }

    private static void update(DataSource pool, String sql, int row) throws SQLException {
        try (Connection connection = pool.getConnection(); PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setInt(1, 1);
            statement.setInt(2, row);
            statement.executeUpdate();
        }
    }

    private String proof(int count) throws Exception {
        int committed = 0;
        for (int number = 0; number < count; number += 1) {
            peer.begin();
            move(0);
            note(peer.ledger(), number);
            note(peer.shop(), number);
            if (number % 3 == 2) {
                peer.rollback();
            } else {
                peer.commit();
                committed += 1;
            }
        }
        return String.format("{\"committed\":%d}", committed);
    }

    private void note(DataSource pool, int number) throws SQLException {
        try (Connection connection = pool.getConnection(); PreparedStatement statement = connection.prepareStatement(NOTE)) {
            statement.setString(1, name);
            statement.setInt(2, number);
            statement.executeUpdate();
        }
    }
}

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** What the JDBC driver says: prepared and batched statements, generated plans after the fifth use, metadata, a cursor, an error. */
public class Jdbc {
    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/laminardb?user=traffic";
        try (Connection connection = DriverManager.getConnection(url)) {
            try (Statement statement = connection.createStatement()) {
                statement.execute("CREATE TABLE beans (id BIGINT PRIMARY KEY, name VARCHAR, price DECIMAL(10,2))");
            }
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO beans VALUES (?, ?, ?)")) {
                for (int i = 1; i <= 3; i++) {
                    insert.setLong(1, i);
                    insert.setString(2, "bean " + i);
                    insert.setBigDecimal(3, new java.math.BigDecimal("1.50"));
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            try (PreparedStatement select = connection.prepareStatement("SELECT name, price FROM beans WHERE id = ?")) {
                for (int use = 0; use < 7; use++) {
                    select.setLong(1, 2);
                    try (ResultSet rows = select.executeQuery()) {
                        check(rows.next() && rows.getString(1).equals("bean 2"), "the second bean");
                    }
                }
            }
            try (ResultSet tables = connection.getMetaData().getTables(null, "public", "beans", new String[] {"TABLE"})) {
                check(tables.next() && tables.getString("TABLE_NAME").equals("beans"), "the table is listed");
            }
            try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "beans", "%")) {
                check(columns.next() && columns.getString("COLUMN_NAME").equals("id"), "the columns are listed");
            }
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(2);
                int count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT id FROM beans ORDER BY id")) {
                    while (rows.next()) count++;
                }
                check(count == 3, "three rows through a cursor");
                try {
                    statement.executeQuery("SELECT nope FROM beans");
                    check(false, "an unknown column is an error");
                } catch (SQLException error) {
                    check(error.getSQLState().equals("42703"), error.getSQLState());
                }
            }
            connection.rollback();
        }
    }
}

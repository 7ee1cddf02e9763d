//! Lives of one sink: killed, cut off, followed (K6).

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use laminar_core::connector::Fault;
use laminar_core::ids::CheckpointNumber;

use super::*;
use crate::error::Place;
use crate::options::PostgresSinkOptions;
use crate::session::Session;

const PATIENCE: Duration = Duration::from_secs(30);

/// Another connection, which keeps rows from a table until it is asked to stop.
struct Gate(Database);

/// Rows wait before they are inserted.
const AT_INSERT: &str = "CREATE TRIGGER gate BEFORE INSERT ON";
/// The transaction waits when COMMIT has arrived.
const AT_COMMIT: &str = "CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON";

impl Gate {
    fn close(cluster: &Cluster, table: &str, number: u64, place: &str) -> Self {
        let database = Database::of(cluster);
        let deferred = if place == AT_COMMIT { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
        database.run(&format!(
            "CREATE FUNCTION {table}_gate() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_advisory_xact_lock({number}); RETURN new; END $$;
             {place} {table} {deferred} FOR EACH ROW EXECUTE FUNCTION {table}_gate();
             SELECT pg_advisory_lock({number})"
        ));
        Self(database)
    }

    fn open(&self) {
        self.0.run("SELECT pg_advisory_unlock_all()");
    }
}

/// Waits until a connection of this name waits so; returns its process.
fn await_blocked(database: &Database, name: SinkIdentity, event: &str) -> String {
    let sql = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event = '{event}'");
    let began = Instant::now();
    loop {
        if let Some(pid) = database.rows(&sql).pop() {
            return pid;
        }
        assert!(began.elapsed() < PATIENCE, "nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_takeover_waits_for_the_commit_that_is_under_way_and_sees_its_marker() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE waits (k bigint, v text)");
    let spec = spec(&cluster, "waits", Delivery::ExactlyOnce, Envelope::Plain);
    let mut first = applier(&spec, identity(20));
    first.start(NEWEST).unwrap();
    // The first life's commit stands still behind its marker, before its rows.
    let gate = Gate::close(&cluster, "waits", 20, AT_INSERT);
    let committing = std::thread::spawn(move || first.commit(CheckpointNumber(5), &frames(&[(1, Some("\"a\""))])));
    await_blocked(&database, identity(20), "advisory");
    let taking = std::thread::spawn(move || applier(&spec, identity(20)).start(NEWEST).unwrap());
    await_blocked(&database, identity(20), "transactionid");
    gate.open();
    committing.join().unwrap().unwrap();
    assert_eq!(taking.join().unwrap(), Some(CheckpointNumber(5)));
    assert_eq!(database.rows("SELECT k FROM waits"), ["1"]);
}

#[test]
fn a_data_directory_that_is_behind_waits_for_the_commit_under_way_and_takes_nothing() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE behind (k bigint, v text)");
    let spec = spec(&cluster, "behind", Delivery::ExactlyOnce, Envelope::Plain);
    let mut first = applier(&spec, identity(25));
    first.start(NEWEST).unwrap();
    let gate = Gate::close(&cluster, "behind", 25, AT_INSERT);
    let committing = std::thread::spawn(move || {
        first.commit(CheckpointNumber(5), &frames(&[(1, Some("\"a\""))])).unwrap();
        first
    });
    await_blocked(&database, identity(25), "advisory");
    let taking = std::thread::spawn(move || applier(&spec, identity(25)).start(CheckpointNumber(4)).unwrap());
    await_blocked(&database, identity(25), "transactionid");
    gate.open();
    let mut first = committing.join().unwrap();
    assert_eq!(taking.join().unwrap(), Some(CheckpointNumber(5)), "it is told what it does not know");
    first.commit(CheckpointNumber(6), &frames(&[(2, Some("\"b\""))])).unwrap();
    assert_eq!(database.rows("SELECT k FROM behind ORDER BY k"), ["1", "2"]);
}

#[test]
fn a_commit_whose_connection_breaks_leaves_neither_rows_nor_marker() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE broken (k bigint, v text)");
    let spec = spec(&cluster, "broken", Delivery::ExactlyOnce, Envelope::Plain);
    let mut first = applier(&spec, identity(21));
    first.start(NEWEST).unwrap();
    first.commit(CheckpointNumber(4), &frames(&[(1, Some("\"a\""))])).unwrap();
    let gate = Gate::close(&cluster, "broken", 21, AT_INSERT);
    let committing = std::thread::spawn(move || first.commit(CheckpointNumber(5), &frames(&[(2, Some("\"b\""))])));
    let pid = await_blocked(&database, identity(21), "advisory");
    database.run(&format!("SELECT pg_terminate_backend({pid})"));
    let error = committing.join().unwrap().unwrap_err();
    assert_eq!(error.fault, Fault::External, "{error}");
    gate.open();
    let mut second = applier(&spec, identity(21));
    assert_eq!(second.start(NEWEST).unwrap(), Some(CheckpointNumber(4)));
    assert_eq!(database.rows("SELECT k FROM broken"), ["1"]);
    second.commit(CheckpointNumber(5), &frames(&[(2, Some("\"b\""))])).unwrap();
    assert_eq!(database.rows("SELECT k FROM broken ORDER BY k"), ["1", "2"]);
}

/// A socket between a sink and the server, which can lose the server's answers.
struct Wire {
    directory: tempfile::TempDir,
    clients: Arc<Mutex<Vec<UnixStream>>>,
}

impl Wire {
    fn to(cluster: &Cluster) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let server = format!("{}/.s.PGSQL.5432", cluster.host());
        let clients = Arc::new(Mutex::new(Vec::new()));
        let known = clients.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = UnixStream::connect(&server).unwrap();
                known.lock().unwrap().push(client.try_clone().unwrap());
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    // An end of one side is not told to the other: the server goes on with what it has.
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
        Self { directory, clients }
    }

    fn cut(&self) {
        for client in self.clients.lock().unwrap().drain(..) {
            client.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
}

#[test]
fn after_a_commit_whose_answer_was_lost_the_marker_decides_and_no_row_comes_twice() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE unanswered (k bigint, v text)");
    let spec = spec(&cluster, "unanswered", Delivery::ExactlyOnce, Envelope::Plain);
    let wire = Wire::to(&cluster);
    let mut through = spec.clone();
    through.options.insert("host".to_string(), wire.directory.path().display().to_string());
    let mut first = applier(&through, identity(24));
    first.start(NEWEST).unwrap();
    let gate = Gate::close(&cluster, "unanswered", 24, AT_COMMIT);
    let committing = std::thread::spawn(move || first.commit(CheckpointNumber(5), &frames(&[(1, Some("\"a\""))])));
    await_blocked(&database, identity(24), "advisory");
    wire.cut();
    let error = committing.join().unwrap().unwrap_err();
    assert_eq!(error.fault, Fault::External, "{error}");
    assert_eq!(database.rows("SELECT k FROM unanswered").len(), 0, "nobody knows yet");
    let taking = std::thread::spawn(move || applier(&spec, identity(24)).start(NEWEST).unwrap());
    await_blocked(&database, identity(24), "transactionid");
    gate.open();
    assert_eq!(taking.join().unwrap(), Some(CheckpointNumber(5)), "it was committed");
    assert_eq!(database.rows("SELECT k FROM unanswered"), ["1"]);
}

#[test]
fn an_answered_commit_survives_the_end_of_the_server_and_of_the_connection() {
    let mut cluster = Cluster::start();
    let database = Database::of(&cluster);
    database.run(
        "CREATE TABLE survives (k bigint, v text); ALTER ROLE test SET synchronous_commit = off;
         ALTER ROLE test SET default_transaction_read_only = on",
    );
    let spec = spec(&cluster, "survives", Delivery::ExactlyOnce, Envelope::Plain);
    let options = PostgresSinkOptions::read(&spec.options, spec.delivery).unwrap();
    let place = Place { server: options.place(), table: options.table.clone(), keyed: false };
    let session = Session::open(&options, place, "look").unwrap();
    let kept = session.run(async |client| client.query_one("SHOW synchronous_commit", &[]).await).unwrap();
    assert_eq!(kept.get::<_, String>(0), "on", "a default that loses commits is not taken");
    let mut sink = applier(&spec, identity(22));
    sink.start(NEWEST).unwrap();
    for round in 1..=3_u32 {
        sink.commit(CheckpointNumber(round.into()), &frames(&[(round.into(), Some("\"a\""))])).unwrap();
        cluster.restart_immediately();
        let error = sink.commit(CheckpointNumber(100), &frames(&[(100, Some("\"b\""))])).unwrap_err();
        assert_eq!(error.fault, Fault::External, "{error}");
        sink = applier(&spec, identity(22));
        assert_eq!(sink.start(NEWEST).unwrap(), Some(CheckpointNumber(round.into())));
    }
    assert_eq!(Database::of(&cluster).rows("SELECT k FROM survives ORDER BY k"), ["1", "2", "3"]);
}

#[test]
fn a_progress_row_that_was_removed_stops_the_commit_and_is_made_anew() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE removed (k bigint, v text)");
    let spec = spec(&cluster, "removed", Delivery::ExactlyOnce, Envelope::Plain);
    let mut sink = applier(&spec, identity(23));
    sink.start(NEWEST).unwrap();
    database.run("DELETE FROM laminardb_progress WHERE sink LIKE '%-23'");
    let error = sink.commit(CheckpointNumber(5), &frames(&[(1, Some("\"a\""))])).unwrap_err();
    assert_eq!((error.code, error.fault), ("LDB-6609", Fault::External), "{error}");
    assert_eq!(database.rows("SELECT * FROM removed").len(), 0);
    assert_eq!(applier(&spec, identity(23)).start(NEWEST).unwrap(), None);
}

#[test]
fn sinks_that_start_together_make_one_table_of_markers() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE crowd (k bigint, v text)");
    let mut spec = spec(&cluster, "crowd", Delivery::ExactlyOnce, Envelope::Plain);
    spec.options.insert("progress.table".to_string(), "crowd_progress".to_string());
    let starts: Vec<_> = (0..8)
        .map(|sink| {
            let spec = spec.clone();
            std::thread::spawn(move || applier(&spec, identity(30 + sink)).start(NEWEST))
        })
        .collect();
    for start in starts {
        assert_eq!(start.join().unwrap().unwrap(), None);
    }
    assert_eq!(database.rows("SELECT count(*), sum(life) FROM crowd_progress"), ["8|8"]);
}

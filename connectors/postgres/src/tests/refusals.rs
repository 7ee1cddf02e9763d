//! What cannot be written, and what the sink says then.

use laminar_core::connector::{ConnectorError, Fault};
use laminar_core::ids::CheckpointNumber;

use super::*;

#[track_caller]
fn says(error: &ConnectorError, code: &str, fault: Fault, words: &[&str]) {
    assert_eq!((error.code, error.fault), (code, fault), "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_table_that_cannot_take_the_rows_is_told_with_what_to_do_until_it_can() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    let spec = spec(&cluster, "grows", Delivery::ExactlyOnce, Envelope::Upsert);
    let mut sink = applier(&spec, identity(40));
    let steps: &[(&str, &str, Fault, &[&str])] = &[
        ("", "LDB-6603", Fault::External, &["\"grows\" does not exist", "create it with the columns \"k\", \"v\""]),
        ("CREATE TABLE grows (k bigint)", "LDB-6604", Fault::User, &["column \"v\" is missing", "ADD COLUMN \"v\""]),
        (
            "ALTER TABLE grows ADD COLUMN v date[]",
            "LDB-6604",
            Fault::User,
            &["key column \"k\" may be NULL", "SET NOT NULL"],
        ),
        (
            "ALTER TABLE grows ALTER COLUMN k SET NOT NULL; CREATE UNIQUE INDEX ON grows (k) WHERE k > 0;
             CREATE UNIQUE INDEX ON grows (k, v)",
            "LDB-6604",
            Fault::User,
            &["no primary key and no unique index over exactly the key (\"k\")", "ADD PRIMARY KEY (\"k\")"],
        ),
        (
            "ALTER TABLE grows ADD PRIMARY KEY (k), DROP COLUMN v, ADD COLUMN v text GENERATED ALWAYS AS ('x') STORED",
            "LDB-6604",
            Fault::User,
            &["column \"v\" is generated"],
        ),
        (
            "ALTER TABLE grows DROP COLUMN k, ADD COLUMN k boolean PRIMARY KEY, DROP COLUMN v, ADD COLUMN v text",
            "LDB-6604",
            Fault::User,
            &["column \"k\" is boolean, and the values are Int64", "CAST"],
        ),
    ];
    for (change, code, fault, words) in steps {
        database.run(change);
        says(&sink.start(NEWEST).unwrap_err(), code, *fault, words);
    }
    database.run("ALTER TABLE grows DROP COLUMN k, ADD COLUMN k int PRIMARY KEY");
    assert_eq!(sink.start(NEWEST).unwrap(), None);
    sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\""))])).unwrap();
    assert_eq!(database.rows("SELECT k, v FROM grows"), ["1|a"]);
}

#[test]
fn a_row_that_postgres_refuses_is_told_in_its_words_and_nothing_of_its_commit_is_there() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE strict (k smallint CHECK (k < 100), v text)");
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let spec = spec(&cluster, "strict", delivery, Envelope::Plain);
        for (key, words) in [(100, "strict_k_check"), (100_000, "out of range")] {
            let rows = frames(&[(1, Some("\"a\"")), (key, Some("\"b\""))]);
            let mut sink = applier(&spec, identity(41));
            assert_eq!(sink.start(NEWEST).unwrap(), None);
            let error = match delivery {
                Delivery::ExactlyOnce => sink.commit(CheckpointNumber(1), &rows).unwrap_err(),
                Delivery::AtLeastOnce => {
                    sink.send(&rows[0]).unwrap();
                    let mut safe = Vec::new();
                    let error = sink.acknowledged(std::time::Duration::ZERO, &mut safe).unwrap_err();
                    assert_eq!(safe, []);
                    error
                }
            };
            says(&error, "LDB-6606", Fault::User, &["\"strict\"", words, "nothing is skipped"]);
            assert_eq!(database.rows("SELECT k FROM strict"), [""; 0]);
        }
    }
}

#[test]
fn a_server_that_is_away_or_refuses_us_is_told_with_what_to_do() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run(
        "CREATE TABLE forbidden (k bigint PRIMARY KEY, v text); CREATE ROLE poor LOGIN PASSWORD 'poor';
         CREATE TABLE poor_progress (sink text PRIMARY KEY, life bigint NOT NULL, checkpoint bigint, number text,
           changed timestamptz NOT NULL DEFAULT now()); GRANT ALL ON poor_progress TO poor;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    );
    let with = |options: &[(&str, &str)]| {
        let mut spec = spec(&cluster, "forbidden", Delivery::ExactlyOnce, Envelope::Upsert);
        spec.options.extend(options.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        applier(&spec, identity(42))
    };
    let nowhere = tempfile::tempdir().unwrap();
    let nowhere = nowhere.path().display().to_string();
    let away = with(&[("host", &nowhere)]).start(NEWEST).unwrap_err();
    says(&away, "LDB-6602", Fault::External, &["cannot be reached", &nowhere, "tried again"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let away = with(&[("host", "127.0.0.1"), ("port", &port)]).start(NEWEST).unwrap_err();
    says(&away, "LDB-6602", Fault::External, &["cannot be reached", "refused"]);
    database.run("CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 'right'");
    assert_eq!(with(&[("user", "guarded"), ("password", "right")]).start(NEWEST).unwrap(), None);
    let stranger = with(&[("user", "guarded"), ("password", "wrong")]).start(NEWEST).unwrap_err();
    says(&stranger, "LDB-6605", Fault::User, &["password authentication failed", "check user and password"]);
    assert!(!stranger.message.contains("wrong"), "{stranger}");
    let lost = with(&[("database", "nowhere")]).start(NEWEST).unwrap_err();
    says(&lost, "LDB-6605", Fault::User, &["\"nowhere\" does not exist", "create the database"]);
    let poor = [("user", "poor"), ("password", "poor")];
    let denied = with(&[poor[0], poor[1], ("progress.table", "unmade")]).start(NEWEST).unwrap_err();
    says(&denied, "LDB-6605", Fault::User, &["permission denied", "create \"unmade\" as its owner", "progress.table"]);
    database.run("CREATE TABLE rich_progress (LIKE poor_progress INCLUDING ALL)");
    let denied = with(&[poor[0], poor[1], ("progress.table", "rich_progress")]).start(NEWEST).unwrap_err();
    says(
        &denied,
        "LDB-6605",
        Fault::User,
        &["for table rich_progress", "grant SELECT, INSERT and UPDATE on \"rich_progress\""],
    );
    let mut sink = with(&[poor[0], poor[1], ("progress.table", "poor_progress")]);
    sink.start(NEWEST).unwrap();
    let denied = sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\""))])).unwrap_err();
    says(&denied, "LDB-6605", Fault::User, &["permission denied for table forbidden", "grant SELECT, INSERT"]);
}

#[test]
fn a_statement_that_takes_too_long_is_broken_off_and_tried_again() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE slow (k bigint, v text)");
    let mut spec = spec(&cluster, "slow", Delivery::ExactlyOnce, Envelope::Plain);
    spec.options.insert("statement.timeout".to_string(), "200 ms".to_string());
    let mut sink = applier(&spec, identity(43));
    sink.start(NEWEST).unwrap();
    database.run("BEGIN; LOCK TABLE slow");
    let error = sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\""))])).unwrap_err();
    says(&error, "LDB-6607", Fault::External, &["statement timeout", "tried again"]);
    database.run("ROLLBACK");
    assert_eq!(sink.start(NEWEST).unwrap(), None);
    sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\""))])).unwrap();
    assert_eq!(database.rows("SELECT k FROM slow"), ["1"]);
}

#[test]
fn rows_and_markers_go_exactly_once_only_into_tables_that_last() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run(
        "CREATE UNLOGGED TABLE lost (k bigint, v text);
         CREATE TABLE cut (k bigint, v text) PARTITION BY RANGE (k);
         CREATE TABLE cut_low PARTITION OF cut FOR VALUES FROM (0) TO (10);
         CREATE UNLOGGED TABLE cut_high PARTITION OF cut FOR VALUES FROM (10) TO (20);
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE elsewhere (k bigint, v text) SERVER nowhere;
         CREATE VIEW seen AS SELECT k, v FROM lost;
         CREATE TABLE lasts (k bigint, v text);
         CREATE UNLOGGED TABLE lost_progress (sink text PRIMARY KEY, life bigint NOT NULL, checkpoint bigint, number text,
           changed timestamptz NOT NULL DEFAULT now())",
    );
    let spec_of = |table: &str, delivery: Delivery, more: &[(&str, &str)]| {
        let mut spec = spec(&cluster, table, delivery, Envelope::Plain);
        spec.options.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        spec
    };
    for (table, more, words) in [
        ("lost", &[][..], &["table \"lost\"", "lost is not logged", "SET LOGGED", "at_least_once"][..]),
        ("cut", &[], &["table \"cut\"", "cut_high is not logged"]),
        ("elsewhere", &[], &["elsewhere is a foreign table", "at_least_once"]),
        ("seen", &[], &["seen is no table"]),
        ("lasts", &[("progress.table", "lost_progress")], &["table \"lost_progress\"", "is not logged"]),
        ("lasts", &[("progress.table", "seen")], &["table \"seen\"", "seen is no table"]),
    ] {
        let error = applier(&spec_of(table, Delivery::ExactlyOnce, more), identity(44)).start(NEWEST).unwrap_err();
        says(&error, "LDB-6604", Fault::User, words);
    }
    for table in ["lost", "cut", "seen"] {
        applier(&spec_of(table, Delivery::AtLeastOnce, &[]), identity(44)).start(NEWEST).unwrap();
    }
    database.run("ALTER TABLE cut_high SET LOGGED");
    applier(&spec_of("cut", Delivery::ExactlyOnce, &[]), identity(44)).start(NEWEST).unwrap();
}

#[test]
fn a_table_of_markers_that_somebody_else_made_is_refused_by_what_it_lacks() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE marked (k bigint, v text)");
    let mut spec = spec(&cluster, "marked", Delivery::ExactlyOnce, Envelope::Plain);
    spec.options.insert("progress.table".to_string(), "made".to_string());
    let whole =
        "sink varchar(80) PRIMARY KEY, life bigint NOT NULL, checkpoint bigint, number text, changed timestamptz";
    for (from, to, words) in [
        ("life bigint", "life int", &["its column life is integer, not bigint", "progress.table"][..]),
        ("checkpoint bigint", "checkpoint numeric", &["its column checkpoint is numeric"]),
        ("sink varchar(80)", "sink int", &["its column sink is integer, not text"]),
        ("PRIMARY KEY", "", &["table \"made\"", "no unique index over its column sink alone", "progress.table"]),
        ("PRIMARY KEY", "UNIQUE DEFERRABLE", &["no unique index over its column sink alone"]),
        (", number text", "", &["it has no column number", "CREATE TABLE \"made\" (sink text PRIMARY KEY"]),
    ] {
        database.run(&format!("DROP TABLE IF EXISTS made; CREATE TABLE made ({})", whole.replace(from, to)));
        let error = applier(&spec, identity(45)).start(NEWEST).unwrap_err();
        says(&error, "LDB-6604", Fault::User, words);
    }
    database.run(&format!("DROP TABLE made; CREATE TABLE made ({whole})"));
    let mut sink = applier(&spec, identity(45));
    assert_eq!(sink.start(NEWEST).unwrap(), None);
    sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\""))])).unwrap();
    assert_eq!(applier(&spec, identity(45)).start(NEWEST).unwrap(), Some(CheckpointNumber(1)));
}

#[test]
fn rows_that_may_come_again_need_a_table_that_takes_them_again() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE again (k bigint, v text, place bigserial PRIMARY KEY); CREATE UNIQUE INDEX once_each ON again (k, v)");
    let of = |delivery, envelope| applier(&spec(&cluster, "again", delivery, envelope), identity(46));
    let error = of(Delivery::AtLeastOnce, Envelope::Plain).start(NEWEST).unwrap_err();
    let words = ["unique index once_each", "sent again", "state key = ", "delivery = 'exactly_once'"];
    says(&error, "LDB-6604", Fault::User, &words);
    of(Delivery::ExactlyOnce, Envelope::Plain).start(NEWEST).unwrap();
    database.run("DROP INDEX once_each; CREATE UNIQUE INDEX once_each ON again (lower(v))");
    says(&of(Delivery::AtLeastOnce, Envelope::Plain).start(NEWEST).unwrap_err(), "LDB-6604", Fault::User, &words);
    database.run(
        "DROP INDEX once_each; CREATE UNIQUE INDEX ON again (k, place); CREATE UNIQUE INDEX ON again ((place + 1));
         CREATE UNIQUE INDEX ON again (v, abs(place))",
    );
    of(Delivery::AtLeastOnce, Envelope::Plain).start(NEWEST).unwrap();
    database.run("ALTER TABLE again DROP COLUMN place, ADD PRIMARY KEY (k)");
    of(Delivery::AtLeastOnce, Envelope::Upsert).start(NEWEST).unwrap();
}

#[test]
fn a_value_that_comes_twice_is_told_with_advice_that_fits_the_sink() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE twice (k bigint PRIMARY KEY, v text UNIQUE)");
    let rows = frames(&[(1, Some("\"a\"")), (2, Some("\"a\""))]);
    for (envelope, advice) in [(Envelope::Plain, "state key = "), (Envelope::Upsert, "DEFERRABLE INITIALLY DEFERRED")] {
        let mut sink = applier(&spec(&cluster, "twice", Delivery::ExactlyOnce, envelope), identity(47));
        sink.start(NEWEST).unwrap();
        let error = sink.commit(CheckpointNumber(1), &rows).unwrap_err();
        says(&error, "LDB-6606", Fault::User, &["twice_v_key", advice]);
    }
}

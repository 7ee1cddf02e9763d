//! What is refused at CREATE, without a server.

use laminar_connector_kit::Options;

use super::*;

fn sink(options: &[(&str, &str)], delivery: Delivery, envelope: Envelope, format: &str) -> SinkSpec {
    let base = [("database", "d"), ("user", "u"), ("table", "t")];
    let options: Options = base.iter().chain(options).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    SinkSpec {
        id: ObjectId(2),
        name: "out".to_string(),
        from: ObjectId(1),
        connector: "postgres".to_string(),
        format: Some(format.to_string()),
        options,
        delivery,
        envelope,
        key: None,
        schema: StreamSchema {
            columns: Arc::new(Schema::empty()),
            mode: ChangeMode::Append,
            key: None,
            time: Vec::new(),
        },
    }
}

type Given = &'static [(&'static str, &'static str)];

#[test]
fn what_this_connector_cannot_keep_is_refused_by_name() {
    let (often, once) = (Delivery::AtLeastOnce, Delivery::ExactlyOnce);
    let cases: [(Given, Delivery, Envelope, &str, &str); 9] = [
        (&[("sslmode", "require")], often, Envelope::Plain, "json", "'sslmode' = 'require' is refused"),
        (&[("host", "db.example.com")], often, Envelope::Plain, "json", "state sslmode = 'disable'"),
        (&[("table", "a.b.c")], often, Envelope::Plain, "json", "'a.b.c' is not the name of a table"),
        (&[("progress.table", "p")], often, Envelope::Plain, "json", "belongs to delivery = 'exactly_once'"),
        (&[("progress.table", "T")], once, Envelope::Plain, "json", "\"t\" is the table of the rows"),
        (&[("statement.timeout", "0 s")], once, Envelope::Plain, "json", "100 ms to 1 h"),
        (&[], once, Envelope::Changelog, "json", "envelope = 'upsert'"),
        (&[], once, Envelope::Debezium, "json", "envelope = 'upsert'"),
        (&[], once, Envelope::Plain, "csv", "format 'csv' cannot be written to PostgreSQL"),
    ];
    for (options, delivery, envelope, format, words) in cases {
        let error = PostgresSinkFactory.check(&sink(options, delivery, envelope, format)).unwrap_err();
        assert!(error.code == "LDB-6601" && error.message.contains(words), "{words}: {error}");
    }
}

#[test]
fn local_servers_and_networks_that_are_trusted_in_words_are_taken() {
    for options in [
        &[][..],
        &[("host", "127.0.0.1")],
        &[("host", "::1")],
        &[("host", "/run/postgresql")],
        &[("host", "db.example.com"), ("sslmode", "Disable")],
    ] {
        PostgresSinkFactory.check(&sink(options, Delivery::ExactlyOnce, Envelope::Upsert, "json")).unwrap();
    }
}

//! What every sink promises.

use laminar_connector_kit::contract;
use laminar_core::ids::CheckpointNumber;

use super::*;

/// The columns of the contract's records, of which `row` is a word of SQL.
fn columns(mut spec: SinkSpec) -> SinkSpec {
    let fields = ["shard", "frame", "row"].map(|name| Field::new(name, DataType::Int64, true));
    spec.schema.columns = Arc::new(Schema::new(fields.to_vec()));
    spec
}

const BODIES: &str = "SELECT format('{\"shard\":%s,\"frame\":%s,\"row\":%s}', shard, frame, \"row\") FROM ";

#[test]
fn contract_holds_at_least_once() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE often (shard int, frame int, \"row\" int, place bigserial)");
    let spec = columns(spec(&cluster, "often", Delivery::AtLeastOnce, Envelope::Plain));
    contract::sink(&mut || applier(&spec, identity(1)), &mut || {
        let rows = database.rows(&format!("{BODIES} often ORDER BY place"));
        Some(rows.into_iter().map(|row| (None, Some(row.into_bytes()))).collect())
    });
}

#[test]
fn contract_holds_exactly_once() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE once (shard int, frame int, \"row\" int)");
    let spec = columns(spec(&cluster, "once", Delivery::ExactlyOnce, Envelope::Plain));
    contract::exact_sink(&mut || applier(&spec, identity(2)), &mut || {
        database.rows(&format!("{BODIES} once")).into_iter().map(String::into_bytes).collect()
    });
    let marker = "SELECT life, number FROM laminardb_progress WHERE sink LIKE '%-2'";
    assert_eq!(database.rows(marker), ["3|1.12"], "three lives, the newest checkpoint as people read it");
}

#[test]
fn a_checkpoint_larger_than_a_statement_is_one_transaction() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE large (k bigint PRIMARY KEY, v text)");
    let spec = spec(&cluster, "large", Delivery::ExactlyOnce, Envelope::Upsert);
    let mut sink = applier(&spec, identity(3));
    sink.start(NEWEST).unwrap();
    let pad = format!("\"{}\"", "x".repeat(1000));
    let records: Vec<_> = (0..20_000).map(|key| (key, Some(pad.as_str()))).collect();
    sink.commit(CheckpointNumber(1), &frames(&records)).unwrap();
    assert_eq!(database.rows("SELECT count(*), count(DISTINCT xmin::text) FROM large"), ["20000|1"]);
}

//! What arrives in the table.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use laminar_core::connector::EncoderFactory as _;
use laminar_core::data::Batch;
use laminar_core::ids::{CheckpointNumber, Epoch};
use laminar_formats::JsonEncoderFactory;

use super::*;

#[test]
fn values_of_every_type_arrive_as_they_are() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run(
        "CREATE TABLE kinds (b boolean, i bigint, f double precision, d numeric(20,4), t text, ts timestamp, \
         tz timestamptz, day date, raw bytea, \"Upper Case\" int, made timestamptz NOT NULL DEFAULT '2000-01-01Z')",
    );
    let moment = TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_456), None]);
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("f", Arc::new(Float64Array::from(vec![Some(1.0e-300), None]))),
        ("d", Arc::new(Decimal128Array::from(vec![Some(-123_450), None]).with_precision_and_scale(20, 4).unwrap())),
        ("t", Arc::new(StringArray::from(vec![Some("a \"quoted\" \\ back\nslash, 漢字 ', $1"), None]))),
        ("ts", Arc::new(moment.clone())),
        ("tz", Arc::new(moment.with_timezone("UTC"))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_675), None]))),
        ("raw", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255, b'\\'][..]), None]))),
        ("Upper Case", Arc::new(Int64Array::from(vec![Some(7), None]))),
    ];
    let rows = RecordBatch::try_from_iter(arrays).unwrap();
    let mut spec = spec(&cluster, "kinds", Delivery::ExactlyOnce, Envelope::Plain);
    spec.schema.columns = rows.schema();
    let mut encoder = JsonEncoderFactory.create(rows.schema(), Envelope::Plain, None, &spec.options).unwrap();
    let mut records = Vec::new();
    encoder
        .encode(&Batch::new(rows), Epoch::from_u64(1), &mut |record| {
            records.push(FrameRecord { key: None, value: record.value.map(<[u8]>::to_vec), timestamp_ms: None });
        })
        .unwrap();
    let mut sink = applier(&spec, identity(10));
    sink.start(NEWEST).unwrap();
    sink.commit(CheckpointNumber(1), &[Arc::new(Frame { shard: ShardId(0), sequence: 0, records })]).unwrap();
    database.run("SET TimeZone = 'UTC'");
    assert_eq!(
        database.rows("SELECT * FROM kinds ORDER BY i"),
        [
            "t|-9223372036854775808|1e-300|-12.3450|a \"quoted\" \\ back\nslash, 漢字 ', $1|2023-11-14 22:13:20.123456|\
             2023-11-14 22:13:20.123456+00|2023-11-14|\\x00ff5c|7|2000-01-01 00:00:00+00",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|2000-01-01 00:00:00+00",
        ]
    );
}

#[test]
fn rows_are_replaced_and_removed_by_key_and_other_columns_are_kept() {
    for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
        let cluster = Cluster::shared();
        let database = Database::of(&cluster);
        let table = if delivery == Delivery::ExactlyOnce { "keyed_once" } else { "keyed_often" };
        database.run(&format!(
            "CREATE TABLE {table} (v text UNIQUE, k bigint PRIMARY KEY, note text DEFAULT 'new');
             INSERT INTO {table} VALUES ('mine', 100, 'not ours')"
        ));
        let mut sink = applier(&spec(&cluster, table, delivery, Envelope::Upsert), identity(11));
        sink.start(NEWEST).unwrap();
        let mut checkpoint = 0;
        let mut write = |records: &[(i64, Option<&str>)]| {
            let frames = frames(records);
            checkpoint += 1;
            if delivery == Delivery::ExactlyOnce {
                return sink.commit(CheckpointNumber(checkpoint), &frames).unwrap();
            }
            sink.send(&frames[0]).unwrap();
            let mut safe = Vec::new();
            sink.acknowledged(std::time::Duration::ZERO, &mut safe).unwrap();
            assert_eq!(safe, [(ShardId(0), 0)]);
        };
        let shown = || database.rows(&format!("SELECT k, v, note FROM {table} ORDER BY k"));
        write(&[(1, Some("\"a\"")), (2, Some("\"b\"")), (1, Some("\"c\"")), (3, None), (4, Some("\"d\"")), (4, None)]);
        assert_eq!(shown(), ["1|c|new", "2|b|new", "100|mine|not ours"]);
        database.run(&format!("UPDATE {table} SET note = 'kept' WHERE k = 1"));
        // What row 2 leaves row 1 may take at once.
        write(&[(1, Some("\"b\"")), (2, None), (5, None)]);
        assert_eq!(shown(), ["1|b|kept", "100|mine|not ours"]);
        write(&[(1, Some("null"))]);
        assert_eq!(shown(), ["1|NULL|kept", "100|mine|not ours"]);
    }
}

#[test]
fn a_table_of_keys_only_takes_them_once() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run(
        "CREATE SCHEMA \"Other\"; CREATE TABLE \"Other\".\"Keys\" (k bigint NOT NULL, v text NOT NULL, UNIQUE (v, k))",
    );
    let mut spec = spec(&cluster, "\"Other\".\"Keys\"", Delivery::ExactlyOnce, Envelope::Upsert);
    spec.key = Some(vec![0, 1]);
    spec.options.insert("progress.table".to_string(), "\"Other\".progress".to_string());
    let mut sink = applier(&spec, identity(12));
    sink.start(NEWEST).unwrap();
    for checkpoint in 1..=2 {
        sink.commit(CheckpointNumber(checkpoint), &frames(&[(1, Some("\"a\"")), (2, Some("\"b\""))])).unwrap();
    }
    assert_eq!(database.rows("SELECT k, v FROM \"Other\".\"Keys\" ORDER BY k"), ["1|a", "2|b"]);
    assert_eq!(database.rows("SELECT checkpoint FROM \"Other\".progress"), ["2"]);
}

#[test]
fn a_unique_value_moves_between_rows_where_its_constraint_waits_for_the_end_and_else_it_is_said() {
    let cluster = Cluster::shared();
    let database = Database::of(&cluster);
    database.run("CREATE TABLE swapped (k bigint PRIMARY KEY, v text CONSTRAINT one_each UNIQUE)");
    let spec = spec(&cluster, "swapped", Delivery::ExactlyOnce, Envelope::Upsert);
    let mut sink = applier(&spec, identity(13));
    sink.start(NEWEST).unwrap();
    sink.commit(CheckpointNumber(1), &frames(&[(1, Some("\"a\"")), (2, Some("\"b\""))])).unwrap();
    let swap = frames(&[(1, Some("\"b\"")), (2, Some("\"a\""))]);
    let error = sink.commit(CheckpointNumber(2), &swap).unwrap_err();
    assert!(error.message.contains("one_each") && error.message.contains("DEFERRABLE INITIALLY DEFERRED"), "{error}");
    database.run(
        "ALTER TABLE swapped DROP CONSTRAINT one_each, ADD CONSTRAINT one_each UNIQUE (v) DEFERRABLE INITIALLY DEFERRED",
    );
    assert_eq!(sink.start(NEWEST).unwrap(), Some(CheckpointNumber(1)));
    sink.commit(CheckpointNumber(2), &swap).unwrap();
    assert_eq!(database.rows("SELECT k, v FROM swapped ORDER BY k"), ["1|b", "2|a"]);
}

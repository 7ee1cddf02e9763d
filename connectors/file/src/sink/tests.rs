use std::sync::Arc;

use arrow::datatypes::Schema;
use laminar_connector_kit::contract::{self, NEWEST};
use laminar_core::connector::FrameRecord;
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::ids::ObjectId;

use super::*;

pub fn spec(path: &Path, options: &[(&str, &str)]) -> SinkSpec {
    let mut all: std::collections::BTreeMap<String, String> =
        options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    all.insert("path".to_string(), path.display().to_string());
    SinkSpec {
        id: ObjectId(2),
        name: "out".to_string(),
        from: ObjectId(1),
        connector: "file".to_string(),
        format: Some("json".to_string()),
        options: all,
        delivery: Delivery::AtLeastOnce,
        envelope: Envelope::Plain,
        key: None,
        schema: StreamSchema {
            columns: Arc::new(Schema::empty()),
            mode: ChangeMode::Append,
            key: None,
            time: Vec::new(),
        },
    }
}

pub fn factory(root: &Path) -> FileSinkFactory {
    FileSinkFactory::new(Roots::new([root.to_path_buf()]))
}

fn frame(sequence: u64, text: &str) -> Arc<Frame> {
    let record = FrameRecord { key: None, value: Some(text.as_bytes().to_vec()), timestamp_ms: None };
    Arc::new(Frame { shard: ShardId(0), sequence, records: vec![record] })
}

fn write(sink: &mut dyn Applier, sequence: u64, text: &str) {
    assert_eq!(sink.send(&frame(sequence, text)).unwrap(), Readiness::Accepted);
    let mut acknowledged = Vec::new();
    sink.acknowledged(Duration::ZERO, &mut acknowledged).unwrap();
    assert_eq!(acknowledged, [(ShardId(0), sequence)]);
}

#[test]
fn contract_holds() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out.jsonl");
    let spec = spec(&path, &[]);
    contract::sink(&mut || factory(root.path()).create(&spec, SinkIdentity::default()).unwrap(), &mut || {
        let text = std::fs::read(&path).unwrap();
        Some(text.split(|byte| *byte == b'\n').map(|line| (None, Some(line.to_vec()))).collect())
    });
}

#[test]
fn torn_line_is_cut_at_start() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out");
    std::fs::write(&path, format!("whole\n{}", "x".repeat(100_000))).unwrap();
    let mut sink = factory(root.path()).create(&spec(&path, &[]), SinkIdentity::default()).unwrap();
    sink.start(NEWEST).unwrap();
    write(sink.as_mut(), 0, "next");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nnext\n");
}

#[test]
fn full_file_is_put_aside_under_the_next_number() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out");
    let mut sink = factory(root.path()).create(&spec(&path, &[("rotate", "10 B")]), SinkIdentity::default()).unwrap();
    sink.start(NEWEST).unwrap();
    for (sequence, text) in ["123456789", "abcdefghij", "rest"].iter().enumerate() {
        write(sink.as_mut(), sequence as u64, text);
    }
    let read = |name: &str| std::fs::read_to_string(root.path().join(name)).unwrap();
    assert_eq!(
        (read("out.000001"), read("out.000002"), read("out")),
        ("123456789\n".into(), "abcdefghij\n".into(), "rest\n".into())
    );
}

#[test]
fn what_a_file_cannot_promise_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut exactly = spec(&root.path().join("out"), &[("rotate", "1 MiB")]);
    exactly.delivery = Delivery::ExactlyOnce;
    let error = factory(root.path()).check(&exactly).unwrap_err();
    assert!(error.code == "LDB-6410" && error.message.contains("'rotate'"), "{error}");
    let mut upsert = spec(&root.path().join("out"), &[]);
    upsert.envelope = Envelope::Upsert;
    assert_eq!(factory(root.path()).check(&upsert).unwrap_err().code, "LDB-6411");
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = spec(&outside.path().join("out"), &[]);
    assert_eq!(factory(root.path()).create(&elsewhere, SinkIdentity::default()).err().unwrap().code, "LDB-6402");
    for path in [outside.path().join("out"), outside.path().join("no/such/out"), root.path().join("../out")] {
        let error = factory(root.path()).check(&spec(&path, &[])).unwrap_err();
        assert!(error.code == "LDB-6402" && error.message.contains(path.to_str().unwrap()), "{error}");
    }
    // What is missing today may be there tomorrow: the applier says so, and waits.
    factory(root.path()).check(&spec(&root.path().join("no/such/out"), &[])).unwrap();
    let unmounted = root.path().join("unmounted");
    factory(&unmounted).check(&spec(&unmounted.join("out"), &[])).unwrap();
}

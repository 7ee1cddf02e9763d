use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use laminar_connector_kit::contract;
use laminar_core::connector::{Budget, Fault, Ingest, Polled, RawRecord};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::ids::ObjectId;

use super::*;

fn spec(format: &str, path: &Path, options: &[(&str, &str)]) -> SourceSpec {
    let mut all: Options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    all.insert("path".to_string(), path.display().to_string());
    SourceSpec {
        id: ObjectId(1),
        name: "s".to_string(),
        connector: Some("file".to_string()),
        format: Some(format.to_string()),
        options: all,
        schema: StreamSchema {
            columns: Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)])),
            mode: ChangeMode::Append,
            key: None,
            time: Vec::new(),
        },
        columns: Vec::new(),
        watermark: None,
    }
}

fn factory(root: &Path) -> FileSourceFactory {
    FileSourceFactory::new(Roots::new([root.to_path_buf()]))
}

/// Passes each wake on.
struct Bell(SyncSender<()>);
impl Wake for Bell {
    fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

#[derive(Default)]
struct Lines1(Vec<(u64, String)>);
impl Ingest for Lines1 {
    fn record(&mut self, record: RawRecord<'_>) {
        self.0.push((record.offset, String::from_utf8(record.payload.to_vec()).unwrap()));
    }
    fn rows(&mut self, _rows: arrow::array::RecordBatch, _first_offset: u64) {
        panic!("files bring records");
    }
}

struct Followed {
    reader: Box<dyn SplitReader>,
    bell: Receiver<()>,
    seen: Lines1,
}

impl Followed {
    fn open(spec: &SourceSpec, root: &Path) -> Self {
        let mut source = factory(root).create(spec).unwrap();
        let split = source.splits().unwrap().remove(0);
        let (ring, bell) = sync_channel(64);
        let reader = source.open(&split, StartFrom::Option, Arc::new(Bell(ring))).unwrap();
        Self { reader, bell, seen: Lines1::default() }
    }

    fn poll(&mut self) -> Result<Polled, ConnectorError> {
        self.reader.poll(Budget { records: 100, bytes: 1 << 20, now_us: 0 }, &mut self.seen)
    }

    /// Polls until `stop` holds, waiting for a wake when nothing is ready.
    fn until(&mut self, stop: impl Fn(&Lines1, Polled) -> bool) {
        loop {
            let polled = self.poll().unwrap();
            if stop(&self.seen, polled) {
                return;
            }
            if let Polled::Pending { .. } = polled {
                self.bell.recv_timeout(Duration::from_secs(20)).expect("a pending reader is woken");
            }
        }
    }
}

#[test]
fn contract_holds_for_a_directory_of_json_lines() {
    let root = tempfile::tempdir().unwrap();
    let lines = |name: &str, count: usize| {
        let text: String = (0..count).map(|n| format!("{{\"x\":{n}}}\n")).collect();
        std::fs::write(root.path().join(name), text).unwrap();
    };
    lines("b.jsonl", 40);
    lines("a.jsonl", 3);
    lines("c.other", 9);
    std::fs::write(root.path().join("empty.jsonl"), "").unwrap();
    let spec = spec("json", &root.path().join("*.jsonl"), &[]);
    contract::source(&mut || factory(root.path()).create(&spec).unwrap(), &[3, 40, 0], true);
}

#[test]
fn contract_holds_for_a_followed_file_and_for_large_ones() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("large.csv");
    let text: String = (0..12_000).map(|n| format!("{n},\"{}\n\"\"{n}\"\n", "padding ".repeat(9))).collect();
    assert!(text.len() > 3 * 256 * 1024, "several chunks");
    std::fs::write(&path, text).unwrap();
    let follow = [("follow", "true"), ("follow.interval", "1 ms")];
    let spec = spec("csv", &path, &follow);
    contract::source(&mut || factory(root.path()).create(&spec).unwrap(), &[12_000], false);
}

#[test]
fn lines_lose_their_ends_and_empty_ones_are_no_records() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x");
    std::fs::write(&path, "\u{feff}one\r\n\n\r\ntwo\nlast").unwrap();
    let mut file = Followed::open(&spec("json", &path, &[]), root.path());
    file.until(|_, polled| polled == Polled::End);
    let expected = [(0, "one".to_string()), (3, "two".to_string()), (4, "last".to_string())];
    assert_eq!(file.seen.0, expected);
}

#[test]
fn followed_file_waits_for_the_end_of_a_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    std::fs::write(&path, "one\ntw").unwrap();
    let mut file =
        Followed::open(&spec("json", &path, &[("follow", "true"), ("follow.interval", "1 ms")]), root.path());
    file.until(|_, polled| polled == Polled::Pending { caught_up: true });
    assert_eq!(file.seen.0, [(0, "one".to_string())], "the unfinished line waits");
    let mut writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(b"o\nthree\n").unwrap();
    file.until(|seen, _| seen.0.len() == 3);
    assert_eq!(file.seen.0[1..], [(1, "two".to_string()), (2, "three".to_string())]);
}

#[test]
fn truncated_file_is_lost_data() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let spec = spec("json", &path, &[("follow", "true"), ("follow.interval", "1 ms")]);
    let mut file = Followed::open(&spec, root.path());
    file.until(|seen, _| seen.0.len() == 2);
    std::fs::write(&path, "1\n").unwrap();
    let error = loop {
        match file.poll() {
            Ok(_) => file.bell.recv_timeout(Duration::from_secs(20)).expect("the reader is woken"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.fault), ("LDB-6404", Fault::Lost));
    assert!(error.message.contains("truncated"), "{error}");
}

#[test]
fn header_comes_first_again_when_a_file_is_opened_in_the_middle() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("h.csv");
    std::fs::write(&path, "x,y\n1,2\n3,4\n").unwrap();
    let spec = spec("csv", &path, &[("csv.header", "true")]);
    let mut source = factory(root.path()).create(&spec).unwrap();
    let split = source.splits().unwrap().remove(0);
    let whole = contract::drain(source.as_mut(), &split, StartFrom::Beginning, 3, 1);
    let (done, position) = whole.positions[2].clone();
    assert_eq!(done, 2);
    let rest = contract::drain_from(source.as_mut(), &split, &position, 2, 10);
    let bodies: Vec<&[u8]> = rest.items.iter().map(|item| item.body.as_slice()).collect();
    assert_eq!(bodies, [&b"x,y"[..], b"3,4"]);
}

#[test]
fn record_beyond_the_limit_and_missing_file_are_errors_that_say_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("long");
    std::fs::write(&path, "x".repeat(400_000)).unwrap();
    let mut file = Followed::open(&spec("json", &path, &[("max_line", "1 KiB")]), root.path());
    let error = loop {
        match file.poll() {
            Ok(_) => file.bell.recv_timeout(Duration::from_secs(20)).expect("the reader is woken"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, "LDB-6403");
    let missing = factory(root.path()).create(&spec("json", &root.path().join("absent"), &[])).err().unwrap();
    assert_eq!((missing.code, missing.fault), ("LDB-6401", Fault::User));
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = spec("json", &outside.path().join("in"), &[]);
    assert_eq!(factory(root.path()).check(&elsewhere).unwrap_err().code, "LDB-6402");
}

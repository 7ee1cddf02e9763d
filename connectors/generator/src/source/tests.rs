use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use laminar_connector_kit::contract;
use laminar_core::connector::{Budget, Ingest, Polled, RawRecord};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::graph::{ColumnSource, SourceColumn};
use laminar_core::ids::ObjectId;

use super::*;
use crate::write_json;

fn spec(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> SourceSpec {
    let fields: Vec<Field> = columns.iter().map(|(name, ty)| Field::new(*name, ty.clone(), false)).collect();
    SourceSpec {
        id: ObjectId(1),
        name: "s".to_string(),
        connector: Some("generator".to_string()),
        format: None,
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        schema: StreamSchema {
            columns: Arc::new(Schema::new(fields)),
            mode: ChangeMode::Append,
            key: None,
            time: Vec::new(),
        },
        columns: columns
            .iter()
            .map(|(name, _)| SourceColumn { from: ColumnSource::Field(name.to_string()), max_chars: None })
            .collect(),
        watermark: None,
    }
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn trades(options: &[(&str, &str)]) -> SourceSpec {
    let columns = [
        ("ts", MICROS),
        ("symbol", DataType::Utf8),
        ("price", DataType::Float64),
        ("qty", DataType::Int64),
        ("side", DataType::Utf8View),
        ("id", DataType::Int64),
    ];
    spec(&columns, options)
}

struct Deaf;
impl Wake for Deaf {
    fn wake(&self) {}
}

#[derive(Default)]
struct Kept(Vec<RecordBatch>);
impl Ingest for Kept {
    fn record(&mut self, _record: RawRecord<'_>) {
        panic!("the generator brings typed rows");
    }
    fn rows(&mut self, rows: RecordBatch, _first_offset: u64) {
        self.0.push(rows);
    }
}

impl Kept {
    fn count(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }
}

fn open(spec: &SourceSpec, split: &str) -> Box<dyn SplitReader> {
    let mut source = GeneratorFactory.create(spec).unwrap();
    source.open(&SplitKey(split.to_string()), StartFrom::Beginning, Arc::new(Deaf)).unwrap()
}

fn all(spec: &SourceSpec, split: &str) -> RecordBatch {
    let mut reader = open(spec, split);
    let mut kept = Kept::default();
    let mut now_us = 0;
    loop {
        match reader.poll(Budget { records: 100_000, bytes: 1 << 30, now_us }, &mut kept).unwrap() {
            Polled::End => break,
            Polled::Ready => {}
            Polled::Pending { .. } => now_us = reader.due_us().unwrap(),
        }
    }
    arrow::compute::concat_batches(&kept.0[0].schema(), &kept.0).unwrap()
}

#[test]
fn contract_holds_unpaced_and_paced() {
    for rate in ["0", "100"] {
        let spec = trades(&[("rows", "100"), ("splits", "3"), ("rate", rate), ("disorder", "2 s")]);
        contract::source(&mut || GeneratorFactory.create(&spec).unwrap(), &[34, 33, 33], true);
    }
    let endless = spec(&[("ts", MICROS), ("k", DataType::Int64)], &[("kind", "sequence"), ("rate", "5000")]);
    let make = || GeneratorFactory.create(&endless).unwrap();
    let some = contract::drain(make().as_mut(), &SplitKey("0".into()), StartFrom::Beginning, 200, 64);
    assert!(some.items.len() >= 200 && !some.ended);
    let (done, position) = some.positions[some.positions.len() / 2].clone();
    let rest = contract::drain_from(make().as_mut(), &SplitKey("0".into()), &position, 50, 64);
    let shared = rest.items.len().min(some.items.len() - done);
    assert_eq!(rest.items[..shared], some.items[done..done + shared], "a restart goes on identically");
}

#[test]
fn pace_follows_the_clock() {
    let mut reader = open(&trades(&[("rate", "1000")]), "0");
    let mut kept = Kept::default();
    let mut now_us = 5_000_000;
    while now_us < 7_000_000 {
        let budget = Budget { records: 10_000, bytes: 1 << 30, now_us };
        if let Polled::Pending { .. } = reader.poll(budget, &mut kept).unwrap() {
            now_us = reader.due_us().unwrap();
        }
    }
    assert!((1995..=2005).contains(&kept.count()), "two seconds at 1000 rows/s made {}", kept.count());
}

#[test]
fn event_time_runs_at_its_own_speed() {
    let batch = all(&trades(&[("rows", "1001"), ("rate", "1000"), ("speed", "60")]).clone(), "0");
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), 1_704_067_200_000_000, "the default start is 2024-01-01");
    assert_eq!(
        times.value(1000) - times.value(0),
        60_000_000,
        "1000 rows are a second of the clock, a minute of event time"
    );
}

#[test]
fn disorder_and_lateness_stay_in_their_bounds() {
    let options =
        [("rows", "20000"), ("event_rate", "1000"), ("rate", "0"), ("disorder", "3 s"), ("late_ratio", "0.01")];
    let batch = all(&trades(&options), "0");
    let start = 1_704_067_200_000_000;
    let behind: Vec<i64> = batch
        .column(0)
        .as_primitive::<TimestampMicrosecondType>()
        .values()
        .iter()
        .enumerate()
        .map(|(row, ts)| start + row as i64 * 1000 - ts)
        .collect();
    let late = behind.iter().filter(|behind| **behind == 60_000_000).count();
    assert!((100..300).contains(&late), "1 % of 20000 rows are late: {late}");
    let others = || behind.iter().filter(|behind| **behind != 60_000_000);
    assert!(others().all(|behind| (0..=3_000_000).contains(behind)));
    assert!(others().max().is_some_and(|most| *most > 2_900_000));
}

#[test]
fn splits_share_the_rows_and_ids_are_unique() {
    let spec = trades(&[("rows", "1000"), ("splits", "3"), ("rate", "0")]);
    let mut ids: Vec<i64> = (0..3)
        .flat_map(|split| all(&spec, &split.to_string()).column(5).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..1000).collect::<Vec<i64>>());
}

#[test]
fn seeds_decide_the_rows() {
    let with = |seed| all(&trades(&[("rows", "100"), ("rate", "0"), ("seed", seed)]), "0");
    assert_eq!(with("1"), with("1"));
    assert_ne!(with("1"), with("2"));
}

#[test]
fn json_holds_the_same_rows() {
    let spec = trades(&[("rows", "50"), ("rate", "0"), ("splits", "2")]);
    let typed = all(&spec, "1");
    let names: Vec<String> = typed.schema().fields().iter().map(|field| field.name().clone()).collect();
    let options = [("json.timestamp".to_string(), "millis".to_string())].into();
    let factory = laminar_formats::JsonDecoderFactory;
    let mut decoder =
        laminar_core::connector::DecoderFactory::create(&factory, &names, typed.schema(), &options).unwrap();
    let rows = Rows::from_options(&spec.options).unwrap();
    for row in 0..typed.num_rows() as u64 {
        let mut json = Vec::new();
        write_json(&rows, 1, row, &mut json);
        decoder.push(&RawRecord { payload: &json, ..RawRecord::default() }).unwrap();
    }
    let decoded = decoder.finish().unwrap();
    for column in 1..6 {
        assert_eq!(decoded.column(column), typed.column(column));
    }
}

#[test]
fn wrong_columns_types_and_numbers_are_refused_with_what_there_is() {
    let refuse = |columns: &[(&str, DataType)], options: &[(&str, &str)]| {
        GeneratorFactory.check(&spec(columns, options)).unwrap_err()
    };
    let error = refuse(&[("simbol", DataType::Utf8)], &[]);
    assert_eq!(error.code, "LDB-6302");
    assert!(error.message.contains("did you mean \"symbol\"?") && error.message.contains("venue"), "{error}");
    assert_eq!(refuse(&[("price", DataType::Utf8)], &[]).code, "LDB-6303");
    assert_eq!(refuse(&[("k", DataType::Int64)], &[]).code, "LDB-6302", "k belongs to kind 'sequence'");
    for (name, value) in [("rate", "-1"), ("speed", "0"), ("late_ratio", "2"), ("splits", "0"), ("start", "now-ish")] {
        let error = refuse(&[("ts", MICROS)], &[(name, value)]);
        assert_eq!(error.code, "LDB-6301", "{name}");
        assert!(error.message.contains(name), "{error}");
    }
    assert!(GeneratorFactory.bounded(&[("rows".to_string(), "5".to_string())].into()).unwrap());
    assert!(!GeneratorFactory.bounded(&Options::new()).unwrap());
}

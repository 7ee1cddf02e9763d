//! How fast do rows change reactors by key, cut by hash and sent over the lanes, against DataFusion's RepartitionExec?

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use laminar_core::data::Batch;
use laminar_core::engine::{Lanes, SendRouter, mesh};
use laminar_core::ids::{Epoch, ReactorId};
use laminar_core::lane::{EdgeId, LaneMessage};
use laminar_core::operator::Barrier;
use laminar_core::reactor::{Bell, Parker, Unpark};
use laminar_core::shard::ShardMap;

use crate::harness::{Settings, Side, compare};

const ROWS: usize = 16_000_000;
const BATCH: usize = 8192;
const KEYS: i64 = 10_000;
const EDGE: EdgeId = EdgeId(0);

/// Moves the same batches both ways from one side to two and compares the sum of a column.
pub fn run(settings: &Settings) {
    let batches = batches(settings.rows(ROWS));
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    println!("  {rows} rows of 3 BIGINT in batches of {BATCH}, {KEYS} keys, to two receivers");
    let own: Vec<Batch> = batches.iter().cloned().map(Batch::new).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    compare(
        settings,
        rows,
        vec![
            Side::new("laminar exchange over lanes", || ours(&own)),
            Side::new("DataFusion RepartitionExec", || runtime.block_on(theirs(&batches))),
        ],
    );
}

fn batches(rows: usize) -> Vec<RecordBatch> {
    let mut rng = fastrand::Rng::with_seed(42);
    let field = |name: &str| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field("key"), field("value"), field("at")]));
    (0..rows.div_ceil(BATCH))
        .map(|batch| {
            let column = |of: &mut dyn FnMut(usize) -> i64| Arc::new((0..BATCH).map(of).collect::<Int64Array>()) as _;
            let columns = vec![
                column(&mut |_| rng.i64(0..KEYS)),
                column(&mut |row| row as i64 % 100),
                column(&mut |row| (batch * BATCH + row) as i64),
            ];
            RecordBatch::try_new(schema.clone(), columns).expect("columns fit")
        })
        .collect()
}

fn sum(batch: &RecordBatch) -> u64 {
    arrow::compute::sum(batch.column(1).as_primitive::<Int64Type>()).unwrap_or(0) as u64 + batch.num_rows() as u64
}

/// One thread cuts and keeps its own half, another takes the other half from the lane.
fn ours(batches: &[Batch]) -> u64 {
    let parkers: Vec<Arc<Parker>> = (0..2).map(|_| Arc::new(Parker::default())).collect();
    let bells: Vec<Arc<Bell>> =
        parkers.iter().map(|parker| Arc::new(Bell::new(parker.clone() as Arc<dyn Unpark>))).collect();
    let mut lanes = mesh(&bells).into_iter();
    let (Some(mut here), Some(there)) = (lanes.next(), lanes.next()) else { return 0 };
    let receiver = std::thread::spawn(move || receive_all(there));
    here.open(EDGE);
    let map = ShardMap::new(8, 2);
    let schema = batches[0].rows.schema();
    let mut router = SendRouter::new(&schema, &[0]).expect("a key");
    let mut total = 0;
    for batch in batches {
        while here.blocked(EDGE) {
            total += take(&mut here, 0, 0);
            total += take(&mut here, 1, 0);
            std::thread::yield_now();
        }
        for (to, message) in router.cut(batch, EDGE, &map).expect("rows are cut") {
            here.send(EDGE, to, message);
        }
        total += take(&mut here, 0, 0);
        here.flush();
    }
    while here.blocked(EDGE) || here.busy() {
        total += take(&mut here, 0, 0) + take(&mut here, 1, 0);
        here.flush();
    }
    here.send(
        EDGE,
        ReactorId(1),
        LaneMessage::Barrier { edge: EDGE, barrier: Barrier { epoch: Epoch::default(), checkpoint: None } },
    );
    here.flush();
    total + receiver.join().expect("the receiver ends")
}

/// Takes all rows that have come from one side.
fn take(lanes: &mut Lanes, from: usize, me: usize) -> u64 {
    let mut total = 0;
    while let Some(message) = lanes.receive(from) {
        if let LaneMessage::Rows { batch, .. } = message {
            total += sum(&batch.rows);
            lanes.pay(EDGE, if from == me { me } else { from }, 1);
        }
    }
    total
}

fn receive_all(mut lanes: Lanes) -> u64 {
    lanes.open(EDGE);
    let mut total = 0;
    loop {
        match lanes.receive(0) {
            Some(LaneMessage::Rows { batch, .. }) => {
                total += sum(&batch.rows);
                lanes.pay(EDGE, 0, 1);
                lanes.flush();
            }
            Some(LaneMessage::Barrier { .. }) => return total,
            Some(LaneMessage::Watermark { .. } | LaneMessage::Credit { .. }) => {}
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

async fn theirs(batches: &[RecordBatch]) -> u64 {
    let schema = batches[0].schema();
    let input = MemorySourceConfig::try_new_exec(&[batches.to_vec()], schema.clone(), None).expect("a source");
    let by_key = Partitioning::Hash(vec![col("key", &schema).expect("a column")], 2);
    let plan = RepartitionExec::try_new(input, by_key).expect("a plan");
    let context = SessionContext::new().task_ctx();
    let sides: Vec<_> = (0..2)
        .map(|side| {
            let mut stream = plan.execute(side, context.clone()).expect("a stream");
            tokio::spawn(async move {
                let mut total = 0;
                while let Some(batch) = stream.next().await {
                    total += sum(&batch.expect("a batch"));
                }
                total
            })
        })
        .collect();
    let mut total = 0;
    for side in sides {
        total += side.await.expect("a side ends");
    }
    total
}

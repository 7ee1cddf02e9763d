//! Writes trades to Kafka at an even rate, from a thread of its own.
//!
//! Invariant: a trade counts (for the proof and the figures) only when the broker acknowledged it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use laminar_connector_kafka::{Bootstrap, KafkaSinkFactory};
use laminar_core::connector::{Applier, Frame, FrameRecord, Readiness};
use laminar_core::ids::{CheckpointNumber, ShardId};

use crate::Failure;
use crate::bars::Bars;
use crate::broker::PARTITIONS;
use crate::latency::{self, Shared};
use crate::market::{DISORDER_MS, Market, SPEED, TOPIC, Trade};

/// The pause between two writes; the rate is kept over them.
const BEAT: Duration = Duration::from_millis(20);

/// What the feed has done so far.
#[derive(Default)]
pub struct Progress {
    /// Trades that the broker has.
    pub acknowledged: AtomicU64,
    /// Event time before which no trade will come any more (milliseconds since 1970 UTC).
    pub complete_ms: AtomicI64,
    /// The bars of all acknowledged trades.
    pub bars: Mutex<Bars>,
    stop: AtomicBool,
}

/// The running feed; stops when dropped.
pub struct Feed {
    /// What it has done.
    pub progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts to write `rate` trades a second to the broker.
    ///
    /// # Errors
    /// The broker is not there.
    pub fn start(address: &str, rate: u64, latency: Shared) -> Result<Self, Failure> {
        let mut writer = writer(address)?;
        writer.start(CheckpointNumber(0)).map_err(|error| format!("the feed: {error}"))?;
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        let thread = std::thread::Builder::new().name("feed".into()).spawn(move || {
            if let Err(failure) = run(writer.as_mut(), rate, &shared, &latency) {
                tracing_line(&failure.to_string());
            }
        })?;
        Ok(Self { progress, thread: Some(thread) })
    }

    /// Whether it is still writing.
    pub fn alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The same writer that a Kafka sink is.
fn writer(address: &str) -> Result<Box<dyn Applier>, Failure> {
    let options = BTreeMap::from([
        ("bootstrap.servers".to_string(), address.to_string()),
        ("topic".to_string(), TOPIC.to_string()),
    ]);
    Ok(KafkaSinkFactory::new(Bootstrap::real_only()).applier("feed", &options)?)
}

fn run(writer: &mut dyn Applier, rate: u64, progress: &Progress, latency: &Shared) -> Result<(), Failure> {
    let began = Instant::now();
    let began_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut market = Market::new(began_ms.unsigned_abs());
    let mut on_the_way: VecDeque<(u64, i64, Vec<Trade>)> = VecDeque::new();
    let (mut made, mut sequence) = (0, 0);
    let mut safe = Vec::new();
    while !progress.stop.load(Ordering::Acquire) {
        let elapsed = began.elapsed();
        let due = rate * elapsed.as_millis() as u64 / 1000;
        let now_ms = began_ms + elapsed.as_millis() as i64 * SPEED;
        let trades: Vec<Trade> = (made..due).map(|_| market.trade(now_ms)).collect();
        made = due.max(made);
        if !trades.is_empty() {
            let records = trades.iter().map(record).collect::<Result<_, _>>()?;
            {
                let mut latency = latency::lock(latency);
                for trade in &trades {
                    latency.written(trade.symbol, trade.event_time, PARTITIONS.unsigned_abs());
                }
            }
            let frame = Arc::new(Frame { shard: ShardId(0), sequence, records });
            while writer.send(&frame)? == Readiness::Busy {
                writer.acknowledged(BEAT, &mut safe)?;
            }
            on_the_way.push_back((sequence, now_ms, trades));
            sequence += 1;
        }
        writer.acknowledged(BEAT, &mut safe)?;
        let newest = safe.drain(..).map(|(_, sequence)| sequence).max();
        while let Some((_, now_ms, trades)) = on_the_way.pop_front_if(|(sequence, ..)| Some(*sequence) <= newest) {
            let mut bars = progress.bars.lock().unwrap_or_else(PoisonError::into_inner);
            trades.iter().for_each(|trade| bars.add(trade));
            progress.acknowledged.fetch_add(trades.len() as u64, Ordering::AcqRel);
            progress.complete_ms.store(now_ms - DISORDER_MS, Ordering::Release);
        }
        std::thread::sleep(BEAT.saturating_sub(began.elapsed().saturating_sub(elapsed)));
    }
    Ok(())
}

fn record(trade: &Trade) -> Result<FrameRecord, serde_json::Error> {
    Ok(FrameRecord {
        key: Some(trade.symbol.as_bytes().to_vec()),
        value: Some(serde_json::to_vec(trade)?),
        timestamp_ms: Some(trade.event_time),
    })
}

/// The terminal belongs to the screen; what goes wrong here is said when the screen is gone.
fn tracing_line(line: &str) {
    eprintln!("laminardb-demo: the feed stopped: {line}\r");
}

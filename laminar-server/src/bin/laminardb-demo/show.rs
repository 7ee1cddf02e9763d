//! The demo's course: broker, feed, server; then the live table, or 20 rows and the end.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bars::MINUTE_MS;
use crate::broker::Broker;
use crate::feed::Feed;
use crate::keys::{Keys, Wish};
use crate::latency::{self, Latency, Listener, Shared};
use crate::market::DISORDER_MS;
use crate::proof::{self, Verdict};
use crate::screen::{self, Screen, Status};
use crate::server::{LOG, Server, Setup};
use crate::{Arguments, Failure, figures, ports};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(250);
/// How long `--once` waits for its rows, and the proof for what is still on its way.
const PATIENCE: Duration = Duration::from_secs(60);
const ONCE_ROWS: usize = 20;
/// Rows of the live table: the open bar and the one before of each symbol.
const TABLE_ROWS: usize = 16;
const FEWEST_ROWS: usize = 4;
/// Lines around the table: three above, status, commands, keys and messages below, one free.
const AROUND_TABLE: usize = 12;

/// Everything that runs; fields drop in this order.
struct Demo {
    server: Server,
    _listener: Option<Listener>,
    feed: Feed,
    broker: Option<Broker>,
    setup: Setup,
    _directory: Directory,
    latency: Shared,
    messages: Vec<String>,
    counted: Option<(Instant, u64)>,
    per_second: u64,
}

/// The data directory of this run; it goes with the demo.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the demo.
///
/// # Errors
/// What could not be started, or is gone.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut demo = Demo::start(arguments)?;
    if arguments.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        demo.once()
    } else {
        demo.live()
    }
}

impl Demo {
    fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let broker = if arguments.kafka.is_none() { Some(Broker::start()?) } else { None };
        let kafka = match (&arguments.kafka, &broker) {
            (Some(address), _) => address.clone(),
            (None, Some(broker)) => broker.address.clone(),
            (None, None) => return Err("there is no broker".into()),
        };
        let latency: Shared = Arc::new(Mutex::new(Latency::empty()?));
        let feed = Feed::start(&kafka, arguments.rate, latency.clone())?;
        let _directory = Directory(std::env::temp_dir().join(format!("laminardb-demo-{}", std::process::id())));
        std::fs::create_dir_all(&_directory.0)?;
        let setup = Setup {
            config: arguments.config.clone(),
            kafka,
            data_dir: _directory.0.join("data"),
            addresses: ports::choose()?,
        };
        let (server, took) = Server::start(&setup)?;
        let mut messages = setup.addresses.notes.clone();
        messages.push(format!("server ready after {} ms", took.as_millis()));
        let _listener = Listener::start(&setup.kafka, "ohlc_1m", latency.clone()).ok();
        // What ended while the server started says nothing about the server.
        latency::lock(&latency).forget();
        let (counted, per_second) = (None, 0);
        Ok(Self { server, _listener, feed, broker, setup, _directory, latency, messages, counted, per_second })
    }

    /// Prints 20 rows of the view and ends.
    fn once(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        for note in &self.setup.addresses.notes {
            println!("{note}");
        }
        loop {
            let bars = proof::read(self.setup.addresses.http, ONCE_ROWS)?;
            if bars.len() == ONCE_ROWS {
                println!("{}", screen::head());
                let newest = bars.iter().map(|((_, start), _)| *start).max();
                for (key, bar) in &bars {
                    println!("{}", screen::row(key, bar, Some(key.1) == newest));
                }
                let status = self.status();
                println!("{}", screen::status(&status));
                return Ok(());
            }
            self.must_run()?;
            if began.elapsed() > PATIENCE {
                return Err(format!("only {} rows after {PATIENCE:?}; see {LOG}", bars.len()).into());
            }
            std::thread::sleep(FRAME);
        }
    }

    fn live(&mut self) -> Result<(), Failure> {
        let keys = Keys::take()?;
        let screen = Screen::take()?;
        loop {
            screen.show(&self.frame())?;
            match keys.wait(FRAME)? {
                Some(Wish::Quit) => break,
                Some(Wish::Kill) => self.kill(&screen)?,
                None => self.must_run()?,
            }
        }
        self.messages = vec!["stopping: the server takes its last checkpoint".to_string()];
        screen.show(&self.frame())?;
        Ok(())
    }

    fn must_run(&mut self) -> Result<(), Failure> {
        if !self.feed.alive() {
            return Err("the feed stopped: the broker is gone".into());
        }
        if !self.server.alive() {
            return Err(format!("the server ended; the reason stands at the end of {LOG}").into());
        }
        Ok(())
    }

    fn frame(&mut self) -> Vec<String> {
        let broker = if self.broker.is_some() { "embedded broker, for trying out" } else { "Apache Kafka" };
        let mut lines = vec![
            format!("LaminarDB: Kafka -> one-minute bars -> Kafka  ({broker})"),
            "Event time runs 60 times faster: a bar closes each second; * is still open.".to_string(),
            screen::head(),
        ];
        let room = screen::rows().saturating_sub(AROUND_TABLE).clamp(FEWEST_ROWS, TABLE_ROWS);
        match proof::read(self.setup.addresses.http, room) {
            Ok(bars) => {
                let newest = bars.iter().map(|((_, start), _)| *start).max();
                lines.extend(bars.iter().map(|(key, bar)| screen::row(key, bar, Some(key.1) == newest)));
                lines.extend((bars.len()..room).map(|_| String::new()));
            }
            Err(failure) => lines.push(format!("the view does not answer: {failure}")),
        }
        let status = self.status();
        lines.push(screen::status(&status));
        lines.extend(screen::commands(&self.setup.addresses));
        lines.push(format!("k = kill -9 the server and start it again   q = quit   log: {LOG}"));
        lines.extend(self.messages.iter().rev().take(3).rev().cloned());
        lines
    }

    fn status(&mut self) -> Status {
        let mut status = figures::read(self.setup.addresses.http);
        status.p99 = latency::lock(&self.latency).p99();
        let now = Instant::now();
        if let Some((before, rows)) = self.counted
            && now.duration_since(before) >= Duration::from_secs(1)
        {
            let seconds = now.duration_since(before).as_secs_f64();
            self.per_second = (status.rows.saturating_sub(rows) as f64 / seconds) as u64;
            self.counted = Some((now, status.rows));
        }
        self.counted.get_or_insert((now, status.rows));
        status.rows_per_second = self.per_second;
        status
    }

    /// kill -9, start again, and compare.
    fn kill(&mut self, screen: &Screen) -> Result<(), Failure> {
        self.server.kill()?;
        self.messages = vec!["killed with kill -9; starting it again ...".to_string()];
        screen.show(&self.frame())?;
        let (server, took) = Server::start(&self.setup)?;
        self.server = server;
        latency::lock(&self.latency).forget();
        self.messages.push(format!("ready again after {} ms; comparing all closed bars ...", took.as_millis()));
        screen.show(&self.frame())?;
        let verdict = self.prove(screen)?;
        let Verdict { bars, lost, twice, wrong } = verdict;
        self.messages
            .push(format!("{bars} bars against a second computation: lost = {lost}, twice = {twice}, wrong = {wrong}"));
        Ok(())
    }

    /// Waits until the view holds everything that was fed before now, or the patience ends.
    fn prove(&mut self, screen: &Screen) -> Result<Verdict, Failure> {
        let began = Instant::now();
        // What ends one minute later is closed by trades that are written already.
        let until = self.feed.progress.complete_ms.load(Ordering::Acquire) - DISORDER_MS - MINUTE_MS;
        loop {
            let verdict = {
                let bars = self.feed.progress.bars.lock().unwrap_or_else(PoisonError::into_inner);
                proof::compare(self.setup.addresses.http, &bars, until)?
            };
            if verdict.is_clean() || began.elapsed() > PATIENCE {
                return Ok(verdict);
            }
            self.must_run()?;
            screen.show(&self.frame())?;
            std::thread::sleep(FRAME);
        }
    }
}

//! Reads of several views at one epoch, under load.
//!
//! Money moves between accounts: each INSERT holds both halves of a transfer. One view adds up what
//! came in, the other what went out, each in its own pipeline and by its own key. Their sum over all accounts is zero
//! in every epoch, so a read that joined two epochs would be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::process::Server;

const DEFINE: &str = "
    CREATE SOURCE moves (account BIGINT, partner BIGINT, amount BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);
    CREATE MATERIALIZED VIEW came AS
      SELECT account, count(*) AS n, sum(amount) AS total FROM moves WHERE amount > 0 GROUP BY account;
    CREATE MATERIALIZED VIEW went AS
      SELECT partner, count(*) AS n, sum(amount) AS total FROM moves WHERE amount < 0 GROUP BY partner;";

/// What a reader asks; every answer is one row, and its first column is zero whenever the read is of one epoch.
const READS: [&str; 3] = [
    "SELECT CAST(c.total + w.total AS BIGINT) AS off, CAST(c.n AS BIGINT) AS n
     FROM (SELECT coalesce(sum(total), 0) AS total, coalesce(sum(n), 0) AS n FROM came) c
     CROSS JOIN (SELECT coalesce(sum(total), 0) AS total FROM went) w",
    "SELECT CAST(coalesce(sum(total), 0) AS BIGINT) AS off,
            CAST(coalesce(sum(n), 0) AS BIGINT) / 2 AS n
     FROM (SELECT total, n FROM came UNION ALL SELECT total, n FROM went) a",
    "SELECT CAST(coalesce(sum(c.n), 0) - coalesce(sum(w.n), 0) AS BIGINT) AS off, CAST(coalesce(sum(c.n), 0) AS BIGINT) AS n
     FROM came c FULL JOIN went w ON c.account = w.partner AND c.n <> w.n",
];

const WRITERS: u64 = 4;
const READERS: usize = 3;
/// Reads that each reader makes at least, and the transfers that must have happened meanwhile.
const READS_EACH: usize = 60;
const TRANSFERS: u64 = 400;
const DEADLINE: Duration = Duration::from_secs(120);

async fn write(client: tokio_postgres::Client, writer: u64, over: Arc<AtomicBool>, transfers: Arc<AtomicU64>) {
    let mut random = fastrand::Rng::with_seed(writer);
    let mut at = 0;
    while !over.load(Ordering::Relaxed) {
        let count = random.u64(1..6);
        let mut rows = Vec::new();
        for _ in 0..count {
            at += 1;
            let (account, amount) = (random.u64(0..8), random.u64(1..1000));
            rows.push(format!("({account}, {account}, {amount}, '2026-01-01 00:00:00')"));
            rows.push(format!("({account}, {account}, -{amount}, '2026-01-01 00:00:00')"));
        }
        let insert = format!("INSERT INTO moves VALUES {}", rows.join(", "));
        assert_eq!(client.execute(&insert, &[]).await.expect("an INSERT"), 2 * count);
        transfers.fetch_add(count, Ordering::Relaxed);
    }
    assert!(at > 0);
}

async fn read(client: tokio_postgres::Client, reader: usize, transfers: Arc<AtomicU64>, began: Instant) {
    let mut seen = 0;
    for round in 0.. {
        let rows = client.query(READS[(reader + round) % READS.len()], &[]).await.expect("a SELECT");
        let (off, n): (i64, i64) = (rows[0].get(0), rows[0].get(1));
        assert_eq!(off, 0, "reader {reader}, round {round}: a read of two epochs, {n} transfers in");
        if (reader + round) % READS.len() != 2 {
            assert!(n >= seen, "reader {reader}, round {round}: time went back from {seen} to {n} transfers");
            seen = n;
        }
        if round >= READS_EACH && transfers.load(Ordering::Relaxed) >= TRANSFERS {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{} transfers so far", transfers.load(Ordering::Relaxed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sum_over_two_views_of_one_source_is_constant_in_every_read_under_load() {
    let server = Server::start();
    let client = server.connect().await;
    client.batch_execute(DEFINE).await.expect("objects");
    let (over, transfers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(tokio::spawn(write(server.connect().await, writer, over.clone(), transfers.clone())));
    }
    let mut readers = Vec::new();
    for reader in 0..READERS {
        readers.push(tokio::spawn(read(server.connect().await, reader, transfers.clone(), began)));
    }
    for reader in readers {
        reader.await.expect("a reader whose every read holds");
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    // Nothing was lost on the way either.
    let rows = client.query(READS[0], &[]).await.expect("a SELECT");
    assert_eq!(rows[0].get::<_, i64>(1) as u64, transfers.load(Ordering::Relaxed));
}

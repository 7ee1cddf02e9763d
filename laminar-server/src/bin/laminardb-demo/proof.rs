//! Does the server's view hold what was fed? Bar by bar, against the second computation.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::bars::{Bar, BarKey, Bars};
use crate::{Failure, http, moment};

/// The columns of the view, in the order that `bar` reads.
const COLUMNS: &str = "symbol, window_start, open, high, low, close, vwap, volume, trades";

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Bars that were compared.
    pub bars: usize,
    /// Trades that are missing in them.
    pub lost: u64,
    /// Trades that are counted more than once.
    pub twice: u64,
    /// Bars with the right number of trades and a wrong value.
    pub wrong: usize,
}

impl Verdict {
    /// Whether all is as it must be.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.wrong == 0
    }
}

/// Reads bars from the view: the newest ones first, at most `limit`.
///
/// # Errors
/// The server is away, or answers something else.
pub fn read(server: SocketAddr, limit: usize) -> Result<Vec<(BarKey, Bar)>, Failure> {
    let statement = format!("SELECT {COLUMNS} FROM ohlc_1m ORDER BY window_start DESC, symbol LIMIT {limit}");
    http::sql(server, &statement)?
        .iter()
        .map(|row| bar(row).ok_or_else(|| format!("a bar reads {row:?}").into()))
        .collect()
}

/// Compares all bars that end at `until_ms` or before.
///
/// # Errors
/// The server is away.
pub fn compare(server: SocketAddr, expected: &Bars, until_ms: i64) -> Result<Verdict, Failure> {
    let found: BTreeMap<BarKey, Bar> = read(server, 100_000)?.into_iter().collect();
    let mut verdict = Verdict::default();
    for (key, bar) in expected.closed(until_ms) {
        verdict.bars += 1;
        match found.get(key) {
            None => verdict.lost += bar.trades,
            Some(there) => {
                verdict.lost += bar.trades.saturating_sub(there.trades);
                verdict.twice += there.trades.saturating_sub(bar.trades);
                verdict.wrong += usize::from(there.trades == bar.trades && !bar.agrees(there));
            }
        }
    }
    Ok(verdict)
}

fn bar(row: &[Value]) -> Option<(BarKey, Bar)> {
    let [symbol, start, open, high, low, close, vwap, volume, trades] = row else { return None };
    let key = (symbol.as_str()?.to_string(), moment::parse(start.as_str()?)?);
    let bar = Bar {
        open: number(open)?,
        high: number(high)?,
        low: number(low)?,
        close: number(close)?,
        vwap: number(vwap)?,
        volume: number(volume)? as i64,
        trades: number(trades)? as u64,
    };
    Some((key, bar))
}

/// Decimals come as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

//! What is seen: one table, one status line, the commands. Lines of at most 80 columns.

use std::io::{Write, stdout};
use std::time::Duration;

use crate::bars::{Bar, BarKey};
use crate::moment;
use crate::ports::Addresses;

/// The figures of the status line.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Trades in the view.
    pub rows: u64,
    /// Trades that came into it in the last second.
    pub rows_per_second: u64,
    /// From the trade that ends a minute to its bar in the output topic, 99th percentile.
    pub p99: Option<Duration>,
    /// Trades that came after their minute was over.
    pub late: Option<u64>,
    /// Event time up to which all has been seen (milliseconds since 1970 UTC).
    pub watermark_ms: Option<i64>,
}

/// One row of the table.
pub fn row((symbol, start): &BarKey, bar: &Bar, open: bool) -> String {
    format!(
        "{symbol:<6} {}{} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.3} {:>8} {:>6}",
        &moment::time_of_day(*start)[..5],
        if open { "*" } else { " " },
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.vwap,
        bar.volume,
        bar.trades
    )
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "{:<6} {:<6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6}",
        "symbol", "minute", "open", "high", "low", "close", "vwap", "volume", "trades"
    )
}

/// The status line.
pub fn status(status: &Status) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    format!(
        "rows {}  rows/s {}  p99 {}  late {}  watermark {}",
        status.rows,
        status.rows_per_second,
        or_dash(status.p99.map(|p99| format!("{:.1} ms", p99.as_secs_f64() * 1000.0))),
        or_dash(status.late.map(|late| late.to_string())),
        or_dash(status.watermark_ms.map(moment::time_of_day)),
    )
}

/// Three commands to paste.
pub fn commands(addresses: &Addresses) -> Vec<String> {
    let (pgwire, http) = (addresses.pgwire.port(), addresses.http);
    vec![
        format!("psql -h 127.0.0.1 -p {pgwire} -d laminardb -c 'SELECT * FROM ohlc_1m LIMIT 5'"),
        format!("psql -h 127.0.0.1 -p {pgwire} -d laminardb -c 'EXPLAIN WATERMARK ohlc_1m'"),
        format!("curl -s http://{http}/api/v1/pipelines"),
    ]
}

/// Lines of the terminal.
pub fn rows() -> usize {
    crossterm::terminal::size().map_or(24, |(_, rows)| usize::from(rows))
}

/// The terminal as a screen; as it was before when dropped.
pub struct Screen(());

impl Screen {
    /// Clears the terminal and hides the cursor.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn take() -> std::io::Result<Self> {
        write!(stdout(), "\x1b[2J\x1b[?25l")?;
        stdout().flush()?;
        Ok(Self(()))
    }

    /// Shows lines from the top; longer ones are cut at the terminal's edge.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn show(&self, lines: &[String]) -> std::io::Result<()> {
        let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
        let mut frame = String::from("\x1b[H");
        for line in lines.iter().take(usize::from(rows).saturating_sub(1)) {
            frame.extend(line.chars().take(usize::from(columns)));
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        stdout().write_all(frame.as_bytes())?;
        stdout().flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(stdout(), "\x1b[?25h");
        let _ = stdout().flush();
    }
}

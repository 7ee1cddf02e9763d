//! The server's own figures for the status line.

use std::net::SocketAddr;

use crate::http;
use crate::screen::Status;

/// Reads them; what the server does not say stays empty.
pub fn read(server: SocketAddr) -> Status {
    let mut status = Status::default();
    if let Ok(rows) = http::sql(server, "SELECT sum(trades) AS rows FROM ohlc_1m")
        && let Some(count) = rows.first().and_then(|row| row.first())
    {
        status.rows = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
    }
    if let Ok(metrics) = http::get(server, "/metrics") {
        let late = samples(&metrics, "laminardb_operator_rows_late_dropped_total{pipeline=\"ohlc_1m\"");
        status.late = late.into_iter().reduce(|sum, value| sum + value).map(|late| late as u64);
        let watermarks = samples(&metrics, "laminardb_source_watermark_seconds{source=\"trades\"");
        status.watermark_ms = watermarks.into_iter().reduce(f64::min).map(|seconds| (seconds * 1000.0) as i64);
    }
    status
}

/// The values of the samples that begin so.
fn samples(metrics: &str, begin: &str) -> Vec<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(begin));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn only_the_samples_asked_for_are_read() {
        let text = "# TYPE a counter\na{p=\"x\",n=\"1\"} 2\na{p=\"y\",n=\"1\"} 7\na{p=\"x\",n=\"2\"} 3.5\n";
        assert_eq!(samples(text, "a{p=\"x\""), [2.0, 3.5]);
    }
}

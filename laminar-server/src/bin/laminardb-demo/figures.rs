//! The server's own figures for the status line.

use std::net::SocketAddr;

use serde_json::Value;

use crate::screen::Status;
use crate::{http, moment};

/// Reads them; what the server does not say stays empty.
pub fn read(server: SocketAddr) -> Status {
    let mut status = Status::default();
    if let Ok(rows) = http::sql(server, "SELECT sum(trades) AS rows FROM ohlc_1m")
        && let Some(count) = rows.first().and_then(|row| row.first())
    {
        status.rows = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
    }
    if let Ok(metrics) = http::get(server, "/metrics") {
        status.late = sum(&metrics, "rows_late_dropped");
    }
    if let Ok(pipelines) = http::get(server, "/api/v1/pipelines") {
        status.watermark_ms = serde_json::from_str(&pipelines).ok().as_ref().and_then(watermark);
    }
    status
}

/// The sum of a metric's samples; none when there is no such metric.
fn sum(metrics: &str, name: &str) -> Option<u64> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#') && line.contains(name));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.fold(None, |sum, value| Some(sum.unwrap_or(0) + value as u64))
}

/// The watermark of the view.
fn watermark(pipelines: &Value) -> Option<i64> {
    let view = pipelines.as_array()?.iter().find(|pipeline| pipeline["name"] == "ohlc_1m")?;
    match &view["watermark"] {
        Value::String(text) => moment::parse(text),
        Value::Number(micros) => micros.as_i64().map(|micros| micros.div_euclid(1000)),
        _ => None,
    }
}

//! `laminardb-server checkpoint list` and `verify`: what a stopped server keeps.

use std::path::Path;

use laminar_db::kept::{KeptCheckpoint, Verified, inspect};

use crate::boot;
use crate::exit::{Exit, Reason};

/// Prints the checkpoints of the configured data directory, oldest first.
///
/// # Errors
/// The directory cannot be looked at, or a start would refuse its newest checkpoint.
pub fn print(config: &Path, verify: bool) -> Result<(), Exit> {
    let directory = boot::read(config)?.config.server.data_dir;
    let kept = inspect(&directory, verify).map_err(|error| Exit::new(Reason::Data, error.to_string()))?;
    if kept.is_empty() {
        println!("{} holds no checkpoint yet", directory.display());
    }
    for (index, checkpoint) in kept.iter().enumerate() {
        describe(checkpoint, index + 1 == kept.len());
    }
    match kept.last().and_then(|newest| newest.verified.as_ref()) {
        Some(Verified::Refused(reason)) => {
            Err(Exit::new(Reason::Data, format!("the newest checkpoint cannot be used: {reason}")))
        }
        _ => Ok(()),
    }
}

fn describe(checkpoint: &KeptCheckpoint, newest: bool) {
    let epoch = checkpoint.epoch.map_or_else(|| "?".to_owned(), |epoch| epoch.to_string());
    let mark = if newest { ", the newest" } else { "" };
    println!("checkpoint {} (epoch {epoch}{mark})", checkpoint.number);
    match &checkpoint.verified {
        Some(Verified::Usable { state_bytes, replayed }) => {
            let logs = if newest { format!("; {replayed} records of pushed rows are replayed") } else { String::new() };
            println!("  usable: {state_bytes} bytes of state{logs}");
        }
        Some(Verified::Refused(reason)) => println!("  NOT usable: {reason}"),
        None => {}
    }
    let objects = checkpoint.objects.join(", ");
    println!("  holds: {}", if objects.is_empty() { "nothing" } else { &objects });
    for (reader, split, offset) in &checkpoint.positions {
        let offset = offset.map_or_else(|| "a position of its own kind".to_owned(), |offset| offset.to_string());
        println!("  {reader} reads on: {split} at {offset}");
    }
    if checkpoint.staged_bytes > 0 {
        println!("  staged for targets: {} bytes", checkpoint.staged_bytes);
    }
}

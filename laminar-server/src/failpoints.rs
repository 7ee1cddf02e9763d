//! Crash points as the command line and the environment know them; in builds for tests only.
//!
//! Invariant: a release binary has neither the option nor the variable.

use laminar_core::crash_point::{self, CrashPoint};

use crate::exit::{Exit, Reason};

/// `NAME` or `NAME:N`: the process dies when the point is reached the Nth time.
const VARIABLE: &str = "LAMINAR_CRASH_AT";

/// Prints every point with what has happened when it is reached.
pub fn list() {
    for point in CrashPoint::ALL {
        println!("{}\t{}", point.name(), point.when());
    }
}

/// Arms the point that the environment names.
///
/// # Errors
/// There is no such point.
pub fn arm() -> Result<(), Exit> {
    let Ok(wanted) = std::env::var(VARIABLE) else { return Ok(()) };
    let (point, times) = CrashPoint::parse(&wanted).map_err(|problem| {
        Exit::new(
            Reason::Config,
            format!("{VARIABLE}: {problem}; `laminardb-server --list-failpoints` lists the points"),
        )
    })?;
    crash_point::arm(point, times);
    Ok(())
}

//! `make demo` without a terminal: twenty rows, then the end.

use std::process::Command;

#[test]
fn demo_once_prints_twenty_rows_and_ends_with_exit_0() {
    let directory = tempfile::tempdir().unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../laminardb.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_laminardb-demo"))
        .current_dir(directory.path())
        .args(["--config", config, "--once"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let bars = text.lines().skip_while(|line| !line.starts_with("symbol")).skip(1);
    let bars: Vec<&str> = bars.take_while(|line| !line.starts_with("rows ")).collect();
    assert_eq!(bars.len(), 20, "{text}");
    assert!(bars.iter().all(|bar| bar.len() <= 80 && bar.split_whitespace().count() == 9), "{text}");
    assert!(bars.iter().any(|bar| bar.contains('*')), "the open bar is there: {text}");
}

//! The SQL reference that runs: every file in `tests/slt`, each against its own server.
//!
//! Besides SQL, a statement may be `RESTART SERVER` (SIGTERM, then start), `CRASH SERVER` (kill -9,
//! then start), `APPEND name` (the lines after it go to the end of `files/name`) or `FILE name` (its lines
//! as rows). Values are compared as PostgreSQL writes them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio::sync::Mutex;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::process::Server;

/// How long one statement may take; far above what any takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server and how often it was started.
struct Shared {
    server: Server,
    starts: u32,
}

/// One connection; made again after a restart.
struct Database {
    shared: Arc<Mutex<Shared>>,
    client: Option<(u32, Client)>,
}

#[derive(Debug)]
enum Failed {
    /// The server's answer, or a lost connection.
    Answer(tokio_postgres::Error),
    /// No answer before [`DEADLINE`]; with what the server logged.
    Silent(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer = match self {
            Self::Answer(answer) => answer,
            Self::Silent(log) => return write!(f, "no answer within {DEADLINE:?}; the server's log:\n{log}"),
        };
        match answer.as_db_error() {
            Some(error) => {
                write!(f, "{}: {}", error.code().code(), error.message())?;
                error.detail().map_or(Ok(()), |d| write!(f, " DETAIL: {d}"))?;
                error.hint().map_or(Ok(()), |h| write!(f, " HINT: {h}"))
            }
            None => write!(f, "{answer}"),
        }
    }
}

impl std::error::Error for Failed {}

impl Database {
    async fn client(&mut self) -> &Client {
        let shared = self.shared.lock().await;
        if self.client.as_ref().is_none_or(|(start, _)| *start != shared.starts) {
            self.client = Some((shared.starts, shared.server.connect().await));
        }
        match &self.client {
            Some((_, client)) => client,
            None => unreachable!("just made"),
        }
    }

    async fn control(&self, word: &str) {
        let mut shared = self.shared.lock().await;
        if word == "CRASH" {
            shared.server.crash();
        } else {
            let status = shared.server.stop();
            assert_eq!(status.code(), Some(0), "{}", shared.server.log());
        }
        shared.server.resume();
        shared.starts += 1;
    }
}

#[async_trait::async_trait]
impl AsyncDB for Database {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        if let Some(word) = sql.trim().strip_suffix(" SERVER") {
            self.control(word).await;
            return Ok(DBOutput::StatementComplete(0));
        }
        let file = |name: &str| format!("files/{}", name.trim());
        if let Some((name, lines)) = sql.trim().strip_prefix("APPEND ").and_then(|rest| rest.split_once('\n')) {
            let path = self.shared.lock().await.server.directory().join(file(name));
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
            std::io::Write::write_all(&mut file, format!("{lines}\n").as_bytes()).expect("a write");
            return Ok(DBOutput::StatementComplete(0));
        }
        if let Some(name) = sql.trim().strip_prefix("FILE ") {
            let path = self.shared.lock().await.server.directory().join(file(name));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let rows = text.lines().map(|line| vec![line.to_owned()]).collect();
            return Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any], rows });
        }
        let answer = async { self.client().await.simple_query(sql).await };
        let messages = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(Failed::Answer)?,
            Err(_) => return Err(Failed::Silent(self.shared.lock().await.server.log())),
        };
        let (mut rows, mut columns, mut complete) = (Vec::new(), None, 0);
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(description) => columns = Some(description.len()),
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| shown(row.get(i))).collect::<Vec<_>>());
                }
                SimpleQueryMessage::CommandComplete(count) => complete = count,
                _ => {}
            }
        }
        Ok(match columns {
            Some(count) => DBOutput::Rows { types: vec![DefaultColumnType::Any; count], rows },
            None => DBOutput::StatementComplete(complete),
        })
    }

    async fn shutdown(&mut self) {
        self.client = None;
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failed) -> Option<String> {
        match error {
            Failed::Answer(answer) => answer.code().map(|c| c.code().to_owned()),
            Failed::Silent(_) => None,
        }
    }
}

fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}

fn files() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the directory of the files")
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_slt_file_holds() {
    let only = std::env::var("SLT").ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut failures = Vec::new();
    let mut ran = 0;
    for file in files() {
        let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        ran += 1;
        let outcome = runtime.block_on(async {
            let server = Server::with("[files]\nroots = [\"files\"]\n");
            std::fs::create_dir(server.directory().join("files")).expect("a directory");
            let shared = Arc::new(Mutex::new(Shared { server, starts: 0 }));
            let connections = shared.clone();
            let mut runner = Runner::new(move || {
                let shared = connections.clone();
                async move { Ok(Database { shared, client: None }) }
            });
            let outcome = runner.run_file_async(&file).await;
            drop(runner);
            outcome.map_err(|error| error.display(false).to_string())
        });
        if let Err(error) = outcome {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(ran > 0, "no file ran");
    assert!(failures.is_empty(), "{} of {ran} files fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

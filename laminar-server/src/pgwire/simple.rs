//! The simple protocol: a script, each statement run in order, everything as text.

use laminar_db::Response;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::fault::{Fault, put_notice};
use super::row::Rows;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Runs a script up to its first failure.
    pub async fn query(&mut self, sql: &str) -> Result<(), Fault> {
        // The unnamed statement and portal do not survive a simple query.
        self.portals.remove("");
        self.statements.remove("");
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            self.wire.put(&EmptyQueryResponse::new());
        }
        for statement in &statements {
            let response = Self::attended(&mut self.wire, self.session.execute(statement, &[])).await??;
            self.respond(response).await?;
            self.forget(&statement.text);
        }
        Ok(())
    }

    async fn respond(&mut self, response: Response) -> Result<(), Fault> {
        match response {
            Response::Rows { schema, batches, tag, notices } => {
                self.notices(&notices);
                let mut rows = Rows::new(&schema, batches, &[])?;
                self.wire.put(&rows.description());
                let count = self.send_rows(&mut rows, usize::MAX).await?.count();
                self.complete(&row_tag(tag, count));
            }
            Response::Done { tag, notices } => {
                self.notices(&notices);
                self.complete(&tag);
            }
            Response::CopyIn(copy) => self.copy_in(*copy).await?,
            Response::CopyOut { schema, batches, .. } => self.copy_out(&schema, batches).await?,
        }
        Ok(())
    }

    /// Drops prepared statements that a DEALLOCATE or a DISCARD ALL names: they live with the connection.
    pub fn forget(&mut self, sql: &str) {
        let words: Vec<String> = sql.split_whitespace().map(str::to_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["DISCARD", "ALL"] | ["DEALLOCATE", "ALL"] | ["DEALLOCATE", "PREPARE", "ALL"] => self.statements.clear(),
            ["DEALLOCATE", .., _] => {
                let name = sql.split_whitespace().next_back().unwrap_or_default();
                let quoted = name.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
                self.statements.remove(&quoted.map_or_else(|| name.to_lowercase(), str::to_owned));
            }
            _ => {}
        }
    }

    /// Sends notices.
    pub fn notices(&mut self, notices: &[laminar_db::Notice]) {
        for notice in notices {
            put_notice(&mut self.wire.output, notice);
        }
    }

    /// Says that a statement is done, and which settings it changed.
    pub fn complete(&mut self, tag: &str) {
        let word = tag.split(' ').next().unwrap_or_default();
        if matches!(word, "SET" | "RESET" | "DISCARD" | "ROLLBACK") {
            self.reported.changes(&mut self.wire.output, &self.session);
        }
        self.wire.put(&CommandComplete::new(tag.to_owned()));
    }
}

/// The tag of a statement with rows: only some carry their count.
pub fn row_tag(tag: &str, count: usize) -> String {
    match tag {
        "SELECT" | "FETCH" | "INSERT" => format!("{tag} {count}"),
        other => other.to_owned(),
    }
}

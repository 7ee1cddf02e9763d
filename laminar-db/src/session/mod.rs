//! A session: one client's settings, transaction and running statement.
//!
//! Invariant: every statement of every protocol passes [`Session::execute`], the one gate.

mod transaction;

use std::sync::Arc;

use laminar_core::ids::Epoch;
use laminar_sql::parse::{self, Statement, StatementKind};
use laminar_sql::plan::{Param, Planned, SessionSettings, Transaction};

use crate::cancel::CancelHandle;
use crate::database::Inner;
use crate::error::{DbError, Notice};
use crate::execute;
use crate::response::{Description, Response, TransactionState};
use crate::statement::Running;

pub(crate) use transaction::Block;

/// One client's session.
pub struct Session {
    pub(crate) inner: Arc<Inner>,
    pub(crate) user: String,
    pub(crate) settings: SessionSettings,
    pub(crate) cancel: CancelHandle,
    /// The newest epoch that holds this session's own writes.
    pub(crate) last_write: Option<Epoch>,
    block: Option<Block>,
}

impl Session {
    pub(crate) fn new(inner: Arc<Inner>, user: &str) -> Self {
        Self {
            inner,
            user: user.to_owned(),
            settings: SessionSettings::default(),
            cancel: CancelHandle::default(),
            last_write: None,
            block: None,
        }
    }

    /// Parses a text of one or more statements.
    ///
    /// # Errors
    /// A syntax error, with its position in the text.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>, DbError> {
        Ok(parse::parse(sql)?)
    }

    /// What a statement takes and gives.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub async fn describe(&mut self, statement: &Statement) -> Result<Description, DbError> {
        execute::describe(self, statement).await
    }

    /// Executes one statement; `params` are the values of `$1`, `$2`, … as text. The statement runs until its answer is
    /// taken whole or dropped; a time-out meanwhile is the last thing that its rows give.
    ///
    /// # Errors
    /// Whatever is wrong with it, a failed transaction block, a cancel or a time-out.
    pub async fn execute(&mut self, statement: &Statement, params: &[Option<String>]) -> Result<Response, DbError> {
        self.refuse_in_failed_block(statement)?;
        let cancel = self.cancel.clone();
        let mut running = Running::begin(&self.inner.statements, self.inner.options.statement_timeout);
        let work = execute::statement(self, statement, text_params(params));
        let done = running.within(cancel.guard(work)).await;
        if done.is_err() {
            self.fail();
        }
        Ok(done?.of(running))
    }

    /// Fails the transaction, if one is open: for whoever finds an error outside of [`Session::execute`], in a text that
    /// cannot be parsed or in rows on their way.
    pub fn fail(&mut self) {
        if let Some(block) = &mut self.block {
            block.fail();
        }
    }

    /// Where the session's transaction stands.
    pub fn transaction(&self) -> TransactionState {
        match &self.block {
            None => TransactionState::Idle,
            Some(block) if block.failed() => TransactionState::Failed,
            Some(_) => TransactionState::Open,
        }
    }

    /// Cancels this session's statements from elsewhere.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// The value of a setting, if there is one of that name.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name)
    }

    fn open_block(&mut self, what: &str) -> Result<&mut Block, DbError> {
        let missing = || DbError::new("LDB-4046", "25P01", format!("{what} can only be used in transaction blocks"));
        self.block.as_mut().ok_or_else(missing)
    }

    pub(crate) fn block(&mut self) -> Option<&mut Block> {
        self.block.as_mut()
    }

    fn refuse_in_failed_block(&self, statement: &Statement) -> Result<(), DbError> {
        let ends =
            matches!(statement.kind, StatementKind::Commit | StatementKind::Rollback | StatementKind::RollbackTo(_));
        if self.transaction() == TransactionState::Failed && !ends {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(DbError::new("LDB-4040", "25P02", message));
        }
        Ok(())
    }

    pub(crate) async fn transact(&mut self, what: Transaction) -> Result<Response, DbError> {
        match what {
            Transaction::Begin => {
                let notices = match &self.block {
                    Some(_) => vec![warning("25001", "there is already a transaction in progress")],
                    None => Vec::new(),
                };
                self.block.get_or_insert_default();
                Ok(Response::Done { tag: "BEGIN".to_owned(), notices })
            }
            Transaction::Savepoint(name) => {
                self.open_block("SAVEPOINT")?.save(&name);
                Ok(Response::done("SAVEPOINT"))
            }
            Transaction::Release(name) => {
                self.open_block("RELEASE SAVEPOINT")?.release(&name)?;
                Ok(Response::done("RELEASE"))
            }
            Transaction::RollbackTo(name) => {
                self.open_block("ROLLBACK TO SAVEPOINT")?.roll_back_to(&name)?;
                Ok(Response::done("ROLLBACK"))
            }
            Transaction::Rollback => Ok(match self.block.take() {
                Some(_) => Response::done("ROLLBACK"),
                None => no_block("ROLLBACK"),
            }),
            Transaction::Commit => match self.block.take() {
                None => Ok(no_block("COMMIT")),
                Some(block) if block.failed() => Ok(Response::done("ROLLBACK")),
                Some(block) => {
                    let notices = block.commit(self).await?;
                    Ok(Response::Done { tag: "COMMIT".to_owned(), notices })
                }
            },
        }
    }

    /// Plans a statement against the catalog as this session sees it: with the uncommitted objects of its block.
    pub(crate) async fn plan(&mut self, statement: &Statement, params: Vec<Param>) -> Result<Planned, DbError> {
        let catalog = match self.block.as_ref().and_then(Block::catalog) {
            Some(catalog) => catalog.clone(),
            None => self.inner.catalog(),
        };
        let (statement, settings) = (statement.clone(), self.settings.clone());
        self.inner.plan(move |planner| Ok(planner.plan(&statement, &catalog, &settings, &params)?)).await
    }
}

fn text_params(params: &[Option<String>]) -> Vec<Param> {
    params.iter().map(|p| p.as_ref().map_or(Param::Null, |text| Param::Text(text.clone()))).collect()
}

fn warning(sqlstate: &str, message: &str) -> Notice {
    let mut notice = Notice::new(message);
    notice.severity = crate::error::Severity::Warning;
    sqlstate.clone_into(&mut notice.sqlstate);
    notice
}

fn no_block(tag: &str) -> Response {
    Response::Done { tag: tag.to_owned(), notices: vec![warning("25P01", "there is no transaction in progress")] }
}

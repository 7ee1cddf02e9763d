//! One client from hello to goodbye.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use laminar_db::{DbError, Session, TransactionState};
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::cancel::{Cancels, Running};
use super::extended::{Portal, Prepared};
use super::fault::{Fault, put_error};
use super::frontend::{Frontend, Malformed, decode};
use super::server::Limits;
use super::settings::Reported;
use super::startup::{Hello, greet};
use super::wire::Wire;
use crate::gate::{Gate, Phase};

/// A client with its session.
pub struct Connection<S> {
    pub wire: Wire<S>,
    pub session: Session,
    pub statements: HashMap<String, Arc<Prepared>>,
    pub portals: HashMap<String, Portal>,
    pub reported: Reported,
    /// Changes when a cancel request arrives.
    pub cancelled: watch::Receiver<()>,
    pub gate: Gate,
    /// After an error in the extended protocol everything up to Sync is skipped.
    skipping: bool,
}

/// An encoding's name as PostgreSQL compares it: letters and digits only (`'utf-8'` is `utf8`).
fn encoding(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

/// Serves a client until either side ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>, gate: Gate, cancels: Cancels, limits: Limits) {
    let hello = tokio::time::timeout(limits.startup_timeout, greet(&mut wire)).await;
    let ended = match hello {
        Ok(Ok(Hello::Cancel(key))) => {
            cancels.cancel(key);
            Ok(())
        }
        Ok(Ok(Hello::Session { user, settings })) => {
            return run(wire, gate, &cancels, &user, settings).await;
        }
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(Fault::fatal("57014", format!("no startup message within {:?}", limits.startup_timeout))),
    };
    if let Err(fault) = ended {
        farewell(&mut wire.output, &fault);
    }
    let _ = tokio::time::timeout(limits.startup_timeout, wire.close()).await;
}

fn farewell(out: &mut bytes::BytesMut, fault: &Fault) {
    match fault {
        Fault::Sql(error) | Fault::Fatal(error) => put_error(out, "FATAL", error),
        Fault::Gone => {}
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut wire: Wire<S>,
    gate: Gate,
    cancels: &Cancels,
    user: &str,
    settings: std::collections::BTreeMap<String, String>,
) {
    let database = match gate.phase() {
        Phase::Ready(database) => database,
        Phase::Starting { step, .. } => {
            farewell(&mut wire.output, &Fault::fatal("57P03", format!("the database system is starting up: {step}")));
            return wire.close().await;
        }
        Phase::Stopping => {
            farewell(&mut wire.output, &Fault::fatal("57P03", "the database system is shutting down"));
            return wire.close().await;
        }
    };
    let session = database.session(user);
    let (rows, cancelled) = watch::channel(());
    let running = Running { statement: session.cancel_handle(), rows };
    let registration = match cancels.register(running) {
        Ok(registration) => registration,
        Err(error) => {
            farewell(&mut wire.output, &Fault::fatal("58000", format!("no random bytes for the cancel key: {error}")));
            return wire.close().await;
        }
    };
    let mut connection = Connection {
        wire,
        session,
        statements: HashMap::new(),
        portals: HashMap::new(),
        reported: Reported::default(),
        cancelled,
        gate,
        skipping: false,
    };
    let ended = connection.live(user, settings, registration.key).await;
    if let Err(fault) = ended {
        farewell(&mut connection.wire.output, &fault);
    }
    connection.wire.close().await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn live(
        &mut self,
        user: &str,
        settings: std::collections::BTreeMap<String, String>,
        (number, secret): (i32, i32),
    ) -> Result<(), Fault> {
        self.wire.put(&Authentication::Ok);
        for (name, value) in settings {
            let value = if name == "client_encoding" { encoding(&value) } else { value };
            let sql = format!("SET {} = '{}'", laminar_sql::quoted(&name), value.replace('\'', "''"));
            self.quietly(&sql).await?;
        }
        self.reported.all(&mut self.wire.output, &self.session, user);
        self.wire.put(&BackendKeyData::new(number, SecretKey::I32(secret)));
        self.ready().await?;
        loop {
            let (tag, body) = tokio::select! {
                message = self.wire.message() => message?,
                () = self.gate.stop().cancelled() => {
                    return Err(Fault::fatal("57P01", "terminating connection due to administrator command"));
                }
            };
            // Passwords come only after a request for one, and none was made.
            let message = decode(tag, body).map_err(|Malformed(what)| Fault::fatal("08P01", what))?;
            if matches!(message, Frontend::Terminate) {
                return Ok(());
            }
            self.message(message).await?;
        }
    }

    /// Applies a setting of the start-up packet; one that fails is fatal, as in PostgreSQL.
    async fn quietly(&mut self, sql: &str) -> Result<(), Fault> {
        let fatal = |error: DbError| Fault::Fatal(Box::new(error));
        for statement in self.session.parse(sql).map_err(fatal)? {
            self.session.execute(&statement, &[]).await.map_err(fatal)?;
        }
        Ok(())
    }

    async fn message(&mut self, message: Frontend) -> Result<(), Fault> {
        if self.skipping && !matches!(message, Frontend::Sync) {
            return Ok(());
        }
        let extended = !matches!(message, Frontend::Query(_));
        // A cancel request that came too late for the last statement must not hit this one.
        self.cancelled.mark_unchanged();
        let done = match message {
            Frontend::Query(sql) => self.query(&sql).await,
            Frontend::Sync => {
                self.skipping = false;
                return self.sync().await;
            }
            Frontend::Flush => self.wire.flush().await,
            Frontend::Parse { name, sql, types } => self.parse(name, sql, types).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(target) => self.describe(&target),
            Frontend::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Frontend::Close(target) => self.close(&target),
            // What a COPY that failed has still sent.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) | Frontend::Terminate => Ok(()),
        };
        match done {
            Ok(()) => {}
            Err(Fault::Sql(error)) => {
                put_error(&mut self.wire.output, "ERROR", &error);
                self.session.fail();
                self.skipping = extended;
            }
            Err(fault) => return Err(fault),
        }
        if extended { self.wire.relieve().await } else { self.ready().await }
    }

    /// Ends a group of messages: outside a transaction, portals end with it.
    async fn sync(&mut self) -> Result<(), Fault> {
        if self.session.transaction() == TransactionState::Idle {
            self.portals.clear();
        }
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), Fault> {
        let status = match self.session.transaction() {
            TransactionState::Idle => TransactionStatus::Idle,
            TransactionState::Open => TransactionStatus::Transaction,
            TransactionState::Failed => TransactionStatus::Error,
        };
        self.wire.put(&ReadyForQuery::new(status));
        self.wire.flush().await
    }

    /// Waits for `work`, unless the client goes away first: then it is dropped.
    pub async fn attended<T>(wire: &mut Wire<S>, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = wire.closed() => Err(Fault::Gone),
        }
    }
}

//! One connection with a small runtime of its own, used from the applier's thread.
//!
//! Invariants: every wait for the server has an end; a commit that was answered is on the server's
//! disk, whatever its default says; on the server no statement of ours takes longer than `statement.timeout`,
//! and no transaction of ours waits longer than that for its next one.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls};

use crate::error::{Failure, Place, Trouble};
use crate::options::PostgresSinkOptions;

/// How much longer than the server's own limit we wait for an answer.
const GRACE: Duration = Duration::from_secs(5);

/// A connection.
pub struct Session {
    runtime: Option<Runtime>,
    client: Client,
    /// How long an answer may take.
    limit: Duration,
    place: Place,
}

impl Session {
    /// Connects and sets what the sink relies on; `name` is what the server's administrator sees, `place` what errors
    /// name.
    ///
    /// # Errors
    /// The server is away or refuses us.
    pub fn open(options: &PostgresSinkOptions, place: Place, name: &str) -> Result<Self, Trouble> {
        let mut config = Config::new();
        config
            .host(options.host.trim())
            .port(options.port)
            .dbname(&options.database)
            .user(&options.user)
            .application_name(name)
            .connect_timeout(options.connect_timeout)
            .tcp_user_timeout(options.statement_timeout + GRACE);
        if let Some(password) = &options.password {
            config.password(password.expose());
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::Client(format!("no runtime for the connection: {error}")))?;
        let connected = runtime.block_on(within(options.connect_timeout, config.connect(NoTls)));
        let (client, connection) = connected.map_err(|failure| Trouble::of(&failure, &place))?;
        runtime.spawn(async move {
            // The end of the connection is seen by the client.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to postgres has ended");
            }
        });
        let session = Self { runtime: Some(runtime), client, limit: options.statement_timeout + GRACE, place };
        let limit = options.statement_timeout.as_millis();
        let settings = format!(
            "SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; SET TimeZone = 'UTC'; \
             SET default_transaction_read_only = off; SET DateStyle = 'ISO, YMD'; SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'"
        );
        session.run(async |client| client.batch_execute(&settings).await)?;
        Ok(session)
    }

    /// Runs one request to its end.
    ///
    /// # Errors
    /// It fails, or is not answered in time.
    pub fn run<T>(&self, request: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, Trouble> {
        let runtime = self.runtime()?;
        let answer = runtime.block_on(within(self.limit, request(&self.client)));
        answer.map_err(|failure| Trouble::of(&failure, &self.place))
    }

    /// Begins a transaction, in which each statement sees what was committed before it.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn begin(&self) -> Result<(), Trouble> {
        self.run(async |client| client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await)
    }

    /// Ends the transaction; after an error nobody knows whether it is committed.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn commit(&self) -> Result<(), Trouble> {
        self.run(async |client| client.batch_execute("COMMIT").await)
    }

    /// Where the rows go.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn runtime(&self) -> Result<&Runtime, Trouble> {
        self.runtime.as_ref().ok_or_else(|| Trouble::Client("the connection is closed".into()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A name that is still being looked up must not hold back the applier's thread.
            runtime.shutdown_background();
        }
    }
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Failure::Postgres),
        Err(_) => Err(Failure::Silent(limit)),
    }
}

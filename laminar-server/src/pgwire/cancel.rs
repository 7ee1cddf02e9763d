//! Cancel requests: a second connection that knows the secret of the first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use laminar_db::CancelHandle;
use tokio::sync::watch;

/// What a cancel request reaches.
#[derive(Clone)]
pub struct Running {
    /// Stops the statement inside the database.
    pub statement: CancelHandle,
    /// Stops rows on their way to the client.
    pub rows: watch::Sender<()>,
}

/// All connections that can be cancelled.
#[derive(Clone, Default)]
pub struct Cancels {
    next: Arc<AtomicI32>,
    by_key: Arc<Mutex<HashMap<(i32, i32), Running>>>,
}

/// A connection's entry; removed when dropped.
pub struct Registration {
    cancels: Cancels,
    /// Number and secret, as sent to the client.
    pub key: (i32, i32),
}

impl Cancels {
    /// Registers a connection under a number and a secret nobody can guess.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn register(&self, running: Running) -> std::io::Result<Registration> {
        let number = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
        let key = (number, secret()?);
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).insert(key, running);
        Ok(Registration { cancels: self.clone(), key })
    }

    /// Cancels what the connection with this key is doing; an unknown key does nothing.
    pub fn cancel(&self, key: (i32, i32)) {
        let running = self.by_key.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(running) = running {
            running.statement.cancel();
            running.rows.send_replace(());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cancels.by_key.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn secret() -> std::io::Result<i32> {
    use std::io::Read as _;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

//! Where the brokers are: addresses as given, or the word `embedded`.
//!
//! Invariant: the embedded broker starts at most once a process, only where the configuration allows
//! it, and only when an object asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use laminar_core::connector::options::Options;

use crate::embedded::EmbeddedBroker;
use crate::error::Trouble;

/// The value of `bootstrap.servers` that means the embedded broker.
pub const EMBEDDED: &str = "embedded";
/// Partitions of a topic that the embedded broker is asked for.
const PARTITIONS: i32 = 4;

/// Whether objects may use the embedded broker; shared by all factories of a process.
#[derive(Clone, Default)]
pub struct Bootstrap {
    slot: Option<Arc<Mutex<Option<EmbeddedBroker>>>>,
}

impl Bootstrap {
    /// Only real brokers.
    pub fn real_only() -> Self {
        Self::default()
    }

    /// Real brokers, and the embedded one for objects that ask for it.
    pub fn or_embedded() -> Self {
        Self { slot: Some(Arc::default()) }
    }

    /// Refuses the word where the configuration does.
    ///
    /// # Errors
    /// The embedded broker is asked for and not allowed.
    pub fn check(&self, servers: &str) -> Result<(), Trouble> {
        if servers == EMBEDDED && self.slot.is_none() {
            return Err(Trouble::Option(
                "option 'bootstrap.servers' = embedded needs `embedded = true` under [kafka] in the configuration; or \
                 give the address of a broker"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The options with a real address in place of the word; starts the broker and makes the topics if need be.
    ///
    /// # Errors
    /// The embedded broker is not allowed or cannot start.
    pub fn resolve(&self, servers: &str, topics: &[String], options: &Options) -> Result<Options, Trouble> {
        self.check(servers)?;
        let mut options = options.clone();
        if let Some(slot) = self.slot.as_ref().filter(|_| servers == EMBEDDED) {
            let address = Self::address(slot, topics)?;
            for value in options.values_mut().filter(|value| value.trim() == EMBEDDED) {
                value.clone_from(&address);
            }
        }
        Ok(options)
    }

    fn address(slot: &Mutex<Option<EmbeddedBroker>>, topics: &[String]) -> Result<String, Trouble> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let broker = EmbeddedBroker::start()?;
            tracing::warn!(
                address = broker.bootstrap(),
                "embedded kafka broker started: for trying out only, its records are lost with the process"
            );
            *slot = Some(broker);
        }
        let Some(broker) = slot.as_ref() else { return Err(Trouble::Client("no embedded broker".into())) };
        for topic in topics {
            if let Err(error) = broker.create_topic(topic, PARTITIONS) {
                // It exists when another object reads or writes it.
                tracing::debug!(%error, topic, "topic of the embedded broker");
            }
        }
        Ok(broker.bootstrap().to_string())
    }
}

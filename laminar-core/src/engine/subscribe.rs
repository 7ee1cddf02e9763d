//! Subscriptions: the changes of an output, epoch by epoch.
//!
//! Invariants: collection begins at a barrier, the snapshot is as of that barrier, and every later
//! change comes exactly once, with the epoch that made it visible.

use std::collections::VecDeque;

use super::core::Engine;
use super::fragment::FragmentId;
use super::message::Event;
use super::request::Snapshot;
use crate::data::Batch;
use crate::ids::Epoch;

/// One subscription on this reactor.
pub struct Subscription {
    /// Its name.
    pub id: u64,
    /// The output.
    pub fragment: FragmentId,
    snapshot: Snapshot,
    /// The barrier at which it begins; none until a barrier comes.
    begins: Option<Epoch>,
    collecting: bool,
    open: Vec<Batch>,
    /// Closed epochs that are not announced yet.
    closed: VecDeque<(Epoch, Vec<Batch>)>,
}

impl Subscription {
    /// The first barrier after the subscription is where it begins.
    pub fn arm(&mut self, epoch: Epoch) {
        self.begins.get_or_insert(epoch);
    }

    /// Takes rows of the output.
    pub fn rows(&mut self, batch: &Batch) {
        if self.collecting {
            self.open.push(batch.clone());
        }
    }

    /// The output has passed a barrier.
    pub fn barrier(&mut self, epoch: Epoch) {
        if self.collecting {
            self.closed.push_back((epoch, std::mem::take(&mut self.open)));
        } else if self.begins.is_some_and(|begins| epoch >= begins) {
            self.collecting = true;
        }
    }
}

impl Engine {
    /// Adds a subscription that begins at the next barrier.
    pub(super) fn subscribe(&mut self, id: u64, fragment: FragmentId, snapshot: Snapshot) {
        self.subscriptions.push(Subscription {
            id,
            fragment,
            snapshot,
            begins: None,
            collecting: false,
            open: Vec::new(),
            closed: VecDeque::new(),
        });
    }

    /// Hands over what a complete epoch makes visible.
    pub(super) fn give_changes(&mut self, complete: Epoch) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        for subscription in &mut subscriptions {
            let Some(begins) = subscription.begins else { continue };
            if begins == complete && subscription.snapshot == Snapshot::First {
                let batches = self.all_rows(subscription.fragment, complete);
                self.tell(Event::Changes {
                    id: subscription.id,
                    reactor: self.me,
                    epoch: complete,
                    snapshot: true,
                    batches,
                });
            }
            while let Some((epoch, batches)) = subscription.closed.pop_front_if(|(epoch, _)| *epoch <= complete) {
                self.tell(Event::Changes { id: subscription.id, reactor: self.me, epoch, snapshot: false, batches });
            }
        }
        self.subscriptions = subscriptions;
    }

    fn all_rows(&mut self, id: FragmentId, epoch: Epoch) -> Vec<Batch> {
        let width = self.fragment(id).map_or(0, |fragment| fragment.output_width);
        let columns: Vec<usize> = (0..width).collect();
        match self.snapshot(id, &columns, epoch) {
            Ok(rows) => rows.into_iter().map(|(_, batch)| batch).collect(),
            Err(error) => {
                if let Some(fragment) = self.fragment(id) {
                    let pipeline = fragment.pipeline;
                    self.tell(Event::Failed { pipeline, error: error.into() });
                }
                Vec::new()
            }
        }
    }
}

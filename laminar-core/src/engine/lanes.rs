//! One reactor's ends of all lanes, with the credits of every edge.
//!
//! Invariants: messages of one edge to one reactor keep their order, also when they wait for a
//! credit or for a slot of the ring; an edge with waiting rows makes its sender stop.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::ReactorId;
use crate::lane::{Consumer, EDGE_CREDITS, EdgeId, LANE_SLOTS, LaneMessage, Producer, ring};
use crate::reactor::Bell;

/// The end of a lane to another reactor.
struct Out {
    ring: Producer<LaneMessage>,
    overflow: VecDeque<LaneMessage>,
    bell: Arc<Bell>,
}

/// The sender's side of one edge.
#[derive(Debug)]
struct EdgeOut {
    credits: Vec<u32>,
    waiting: VecDeque<(usize, LaneMessage)>,
}

/// All lane ends of one reactor.
pub struct Lanes {
    me: usize,
    out: Vec<Option<Out>>,
    input: Vec<Option<Consumer<LaneMessage>>>,
    edges: Vec<Option<EdgeOut>>,
    /// Messages to this reactor itself.
    own: VecDeque<LaneMessage>,
    touched: Vec<bool>,
}

/// The lane ends of `bells.len()` reactors, each connected with each.
pub fn mesh(bells: &[Arc<Bell>]) -> Vec<Lanes> {
    let count = bells.len();
    let mut lanes: Vec<Lanes> = (0..count)
        .map(|me| Lanes {
            me,
            out: (0..count).map(|_| None).collect(),
            input: (0..count).map(|_| None).collect(),
            edges: Vec::new(),
            own: VecDeque::new(),
            touched: vec![false; count],
        })
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            let (producer, consumer) = ring(LANE_SLOTS);
            lanes[from].out[to] = Some(Out { ring: producer, overflow: VecDeque::new(), bell: bells[to].clone() });
            lanes[to].input[from] = Some(consumer);
        }
    }
    lanes
}

impl Lanes {
    /// Number of reactors.
    pub fn reactors(&self) -> usize {
        self.out.len()
    }

    /// Opens the sender's side of an edge.
    pub fn open(&mut self, edge: EdgeId) {
        if self.edges.len() <= edge.index() {
            self.edges.resize_with(edge.index() + 1, || None);
        }
        self.edges[edge.index()] =
            Some(EdgeOut { credits: vec![EDGE_CREDITS; self.out.len()], waiting: VecDeque::new() });
    }

    /// Closes the sender's side of an edge; what waits is dropped with the pipeline.
    pub fn close(&mut self, edge: EdgeId) {
        if let Some(slot) = self.edges.get_mut(edge.index()) {
            *slot = None;
        }
    }

    /// Whether rows of the edge wait for credits.
    pub fn blocked(&self, edge: EdgeId) -> bool {
        self.edges.get(edge.index()).and_then(Option::as_ref).is_some_and(|edge| !edge.waiting.is_empty())
    }

    /// Sends a message of an open edge; rows wait for a credit if there is none.
    pub fn send(&mut self, edge: EdgeId, to: ReactorId, message: LaneMessage) {
        let to = usize::from(to.0);
        let Some(Some(state)) = self.edges.get_mut(edge.index()) else { return };
        let behind = state.waiting.iter().any(|(target, _)| *target == to);
        let rows = matches!(message, LaneMessage::Rows { .. });
        if behind || (rows && state.credits[to] == 0) {
            state.waiting.push_back((to, message));
            return;
        }
        state.credits[to] -= u32::from(rows);
        self.put(to, message);
    }

    /// Sends a message of an open edge to every reactor.
    pub fn send_all(&mut self, edge: EdgeId, message: impl Fn() -> LaneMessage) {
        for to in 0..self.out.len() {
            self.send(edge, ReactorId(to as u16), message());
        }
    }

    /// Pays row messages back to the sender.
    pub fn pay(&mut self, edge: EdgeId, to: usize, messages: u32) {
        if to == self.me {
            self.credit(edge, to, messages);
        } else {
            self.put(to, LaneMessage::Credit { edge, messages });
        }
    }

    fn credit(&mut self, edge: EdgeId, from: usize, messages: u32) {
        let Some(Some(state)) = self.edges.get_mut(edge.index()) else { return };
        state.credits[from] += messages;
        let mut kept = VecDeque::new();
        let mut stuck = vec![false; self.out.len()];
        let mut free = Vec::new();
        while let Some((to, message)) = state.waiting.pop_front() {
            let rows = matches!(message, LaneMessage::Rows { .. });
            if stuck[to] || (rows && state.credits[to] == 0) {
                stuck[to] = true;
                kept.push_back((to, message));
            } else {
                state.credits[to] -= u32::from(rows);
                free.push((to, message));
            }
        }
        state.waiting = kept;
        for (to, message) in free {
            self.put(to, message);
        }
    }

    fn put(&mut self, to: usize, message: LaneMessage) {
        match &mut self.out[to] {
            None => self.own.push_back(message),
            Some(out) => {
                self.touched[to] = true;
                if !out.overflow.is_empty() {
                    out.overflow.push_back(message);
                } else if let Err(message) = out.ring.push(message) {
                    out.overflow.push_back(message);
                }
            }
        }
    }

    /// Takes the next message that has come in; answers credits itself.
    pub fn receive(&mut self, from: usize) -> Option<LaneMessage> {
        loop {
            let message = match &mut self.input[from] {
                None => self.own.pop_front(),
                Some(ring) => ring.pop(),
            }?;
            match message {
                LaneMessage::Credit { edge, messages } => self.credit(edge, from, messages),
                message => return Some(message),
            }
        }
    }

    /// Moves what did not fit into the rings, and rings the bells of those who got something.
    pub fn flush(&mut self) {
        for (to, out) in self.out.iter_mut().enumerate() {
            let Some(out) = out else { continue };
            while let Some(message) = out.overflow.pop_front() {
                if let Err(message) = out.ring.push(message) {
                    out.overflow.push_front(message);
                    break;
                }
                self.touched[to] = true;
            }
            if std::mem::take(&mut self.touched[to]) {
                out.bell.ring();
            }
        }
    }

    /// Whether a message has come in or could not be sent yet.
    pub fn busy(&mut self) -> bool {
        !self.own.is_empty()
            || self.input.iter_mut().flatten().any(|ring| !ring.is_empty())
            || self.out.iter().flatten().any(|out| !out.overflow.is_empty())
    }
}

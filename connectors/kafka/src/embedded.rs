//! A Kafka broker inside the process: librdkafka's mock cluster, for tests and for trying out.
//!
//! Not a store: nothing is persisted, a partition keeps its newest 5 MB, transactions do nothing.
//! Invariant: the cluster lives and dies on one thread of its own, since its handle is bound to it.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::error::Trouble;

/// What the cluster's thread is asked to do.
enum Request {
    CreateTopic(String, i32),
    Down,
    Up,
    /// The next answers to requests of one kind fail with these errors.
    Fail(RDKafkaApiKey, Vec<RDKafkaRespErr>),
}

type Envelope = (Request, SyncSender<Result<(), Trouble>>);

/// A running broker; stops when dropped.
pub struct EmbeddedBroker {
    bootstrap: String,
    requests: Option<Sender<Envelope>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// Starts a broker on free loopback ports.
    ///
    /// # Errors
    /// librdkafka cannot start it.
    pub fn start() -> Result<Self, Trouble> {
        let (requests, inbox) = channel::<Envelope>();
        let (ready, started) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("kafka-embedded".into())
            .spawn(move || match MockCluster::new(1) {
                Ok(cluster) => {
                    let _ = ready.send(Ok(cluster.bootstrap_servers()));
                    serve(&cluster, &inbox);
                }
                Err(error) => {
                    let _ = ready.send(Err(Trouble::Client(format!("embedded broker: {error}"))));
                }
            })
            .map_err(|error| Trouble::Client(format!("no thread for the embedded broker: {error}")))?;
        let bootstrap =
            started.recv().map_err(|_| Trouble::Client("the embedded broker ended at its start".into()))??;
        Ok(Self { bootstrap, requests: Some(requests), thread: Some(thread) })
    }

    /// Its address, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// It exists already, or its name is illegal.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Trouble> {
        self.ask(Request::CreateTopic(topic.to_string(), partitions))
    }

    /// Cuts all connections and refuses new ones.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn go_down(&self) -> Result<(), Trouble> {
        self.ask(Request::Down)
    }

    /// Accepts connections again; topics and records are still there.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn come_up(&self) -> Result<(), Trouble> {
        self.ask(Request::Up)
    }

    /// Lets the next requests of one kind fail, in order.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn fail_next(&self, requests: RDKafkaApiKey, errors: &[RDKafkaRespErr]) -> Result<(), Trouble> {
        self.ask(Request::Fail(requests, errors.to_vec()))
    }

    fn ask(&self, request: Request) -> Result<(), Trouble> {
        let ended = || Trouble::Client("the embedded broker has ended".into());
        let (reply, answer) = sync_channel(1);
        self.requests.as_ref().ok_or_else(ended)?.send((request, reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(cluster: &MockCluster<'static, DefaultProducerContext>, inbox: &Receiver<Envelope>) {
    while let Ok((request, reply)) = inbox.recv() {
        let done = match request {
            Request::CreateTopic(topic, partitions) => cluster.create_topic(&topic, partitions, 1),
            Request::Down => cluster.broker_down(-1),
            Request::Up => cluster.broker_up(-1),
            Request::Fail(key, errors) => {
                cluster.request_errors(key, &errors);
                Ok(())
            }
        };
        let _ = reply.send(done.map_err(|error| Trouble::Client(format!("embedded broker: {error}"))));
    }
}

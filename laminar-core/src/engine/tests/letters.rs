//! Letters that reach the control thread in an order that reactors on their own threads can bring about:
//! the reactors are played by the test.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use laminar_storage::disk::SimMachine;
use laminar_storage::ids::OutboxPosition;
use laminar_storage::log::DirectoryId;
use laminar_storage::manifest::{IslandState, OutboxMark, PublisherOptions};

use super::durable::{kept, plain_stream};
use super::flow::plain;
use super::kit::*;
use crate::connector::ConnectorError;
use crate::control::{Control, ControlParts};
use crate::data::EventTime;
use crate::engine::message::{Command, ControlLetter, Event, Notice, Request, StoredPart};
use crate::engine::status::{ObjectState, ReactorStatus};
use crate::engine::{
    Boot, ControlStore, Deployment, EngineError, EngineOptions, NewObject, ReadLevel, ReadObject, ReadRequest, Reply,
    RestoreOptions, restore,
};
use crate::epoch::{Coordinator, Pace};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, ObjectId, ReactorId, ShardId};
use crate::reactor::{Bell, Mailbox, Now, Parker, Spawn, SpawnError, Task, Unpark};
use crate::shard::ShardMap;

const REACTORS: u16 = 2;

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

/// Notes which tasks were started, and runs none.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Spawn for Names {
    fn spawn(&self, name: String, _: Arc<Parker>, _: Box<dyn Task>) -> Result<(), SpawnError> {
        self.0.lock().unwrap().push(name);
        Ok(())
    }
}

/// A control thread among reactors that do what they are told at once, but for attaching, which may wait.
struct Stage {
    control: Control,
    letters: Arc<Mailbox<ControlLetter>>,
    reactors: Vec<Arc<Mailbox<Command>>>,
    names: Names,
    micros: u64,
    /// Whether barriers are left unanswered.
    holds_barriers: bool,
    /// Whether plans are left unanswered; their numbers.
    holds_plans: bool,
    plans: Vec<u64>,
    /// What reactors were told to wait for and did not answer.
    drains: Vec<Vec<ObjectId>>,
    /// How many pipelines were parted.
    holds: usize,
    /// What the first reactor reports of its outboxes.
    outboxes: Vec<OutboxMark>,
}

impl Stage {
    fn new(boot: Boot, store: Option<ControlStore>) -> Self {
        let letters = Arc::new(Mailbox::new(Arc::new(Nobody) as Arc<dyn Unpark>));
        let ids = (0..REACTORS).map(ReactorId);
        let reactors: Vec<_> =
            ids.clone().map(|_| Arc::new(Mailbox::new(Arc::new(Nobody) as Arc<dyn Unpark>))).collect();
        let names = Names::default();
        let pace = Pace { epoch_interval: 20_000, checkpoint_interval: None, epoch_timeout: 60_000_000 };
        let newest = CheckpointNumber(store.as_ref().map_or(0, |store| store.publisher.next_number().0 - 1));
        let control = Control::new(ControlParts {
            options: EngineOptions { checkpoint_interval: Duration::from_secs(3600), ..EngineOptions::default() },
            registry: registry(&Feeds::new(1)).sink(TargetFactory(Target::default())).encoder(NumbersFormat),
            spawn: Arc::new(names.clone()),
            mailbox: letters.clone(),
            reactors: reactors.clone(),
            bells: ids.clone().map(|_| Arc::new(Bell::new(Arc::new(Nobody)))).collect(),
            shards: ShardMap::new(4, REACTORS),
            coordinator: Coordinator::new(Incarnation(1), newest, ids.collect(), pace).without_checkpoints(),
            store,
            boot,
            ready: Reply::ignored(),
        });
        Self {
            control,
            letters,
            reactors,
            names,
            micros: 0,
            holds_barriers: false,
            holds_plans: false,
            plans: Vec::new(),
            drains: Vec::new(),
            holds: 0,
            outboxes: Vec::new(),
        }
    }

    fn tell(&self, event: Event) {
        self.letters.post(ControlLetter::Event(event));
    }

    fn ask(&mut self, request: Request) {
        self.letters.post(ControlLetter::Request(request));
        self.settle();
    }

    fn deploy(&mut self, add: Vec<NewObject>) {
        self.ask(Request::Deploy(Deployment { add, drop: vec![] }, Reply::ignored()));
    }

    /// Steps until nobody has anything to say.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.control.step(Now { micros: self.micros, wall: EventTime(0) });
            let mut told = Vec::new();
            for (index, reactor) in self.reactors.iter().enumerate() {
                let mut commands = std::collections::VecDeque::new();
                reactor.take(&mut commands);
                told.extend(commands.into_iter().map(|command| (ReactorId(index as u16), command)));
            }
            for (reactor, command) in told {
                self.obey(reactor, command);
            }
        }
    }

    fn obey(&mut self, reactor: ReactorId, command: Command) {
        let first = reactor == ReactorId(0);
        match command {
            Command::Attach(plan) if self.holds_plans => self.plans.extend(first.then_some(plan.number)),
            Command::Attach(plan) => self.tell(Event::Attached { number: plan.number, reactor, result: Ok(()) }),
            Command::Barrier(_) if self.holds_barriers => {}
            Command::Barrier(barrier) => {
                self.tell(Event::Passed { reactor, barrier, cursors: Vec::new() });
                if barrier.checkpoint.is_some() {
                    let outboxes = if first { self.outboxes.clone() } else { Vec::new() };
                    let part = StoredPart { reactor, outboxes, ..StoredPart::default() };
                    self.tell(Event::Stored { reactor, barrier, part });
                }
            }
            Command::Hold(_) => self.holds += usize::from(first),
            Command::Drain(sinks) if first => self.drains.push(sinks),
            Command::Status(id) => {
                let status = Box::new(ReactorStatus { reactor, ..ReactorStatus::default() });
                self.tell(Event::Status { id, status });
            }
            Command::Shutdown => self.tell(Event::Stopped(reactor)),
            _ => {}
        }
    }

    /// Reactors have built what they held back, or the last one cannot.
    fn build(&mut self, outcome: Result<(), EngineError>) {
        for number in std::mem::take(&mut self.plans) {
            for reactor in (0..REACTORS).map(ReactorId) {
                let result = if reactor.0 + 1 == REACTORS { outcome.clone() } else { Ok(()) };
                self.tell(Event::Attached { number, reactor, result });
            }
        }
        self.settle();
    }

    fn state(&mut self, id: u64) -> ObjectState {
        let (send, receive) = std::sync::mpsc::channel();
        self.ask(Request::Status(Reply::new(move |answer| drop(send.send(answer)))));
        let status = receive.try_recv().unwrap().unwrap();
        status.objects.iter().find(|object| object.id.0 == id).unwrap().state.clone()
    }

    fn started(&self, name: &str) -> usize {
        self.names.0.lock().unwrap().iter().filter(|started| *started == name).count()
    }
}

fn in_memory() -> Stage {
    let mut stage = Stage::new(Boot::default(), None);
    stage.settle();
    stage
}

fn pressed(reactor: u16, full: bool) -> Event {
    Event::Pressed { sink: ObjectId(3), reactor: ReactorId(reactor), full }
}

#[test]
fn a_reactor_that_has_not_heard_of_the_end_of_a_sink_does_not_let_its_feeders_wait_for_it() {
    let mut stage = in_memory();
    stage.deploy(vec![source(1, Some("test"), 0), kept(2, 1), sink(3, 2, plain()), kept(4, 1)]);
    stage.tell(pressed(0, true));
    stage.settle();
    assert!(matches!(stage.state(2), ObjectState::Waiting(_)));
    assert_eq!((stage.state(3), stage.state(4)), (ObjectState::Running, ObjectState::Running));
    stage.tell(Event::Failed { pipeline: ObjectId(3), error: EngineError::NoSpace });
    stage.tell(pressed(1, true));
    stage.settle();
    assert!(matches!(stage.state(3), ObjectState::Failed(_)));
    assert_eq!(stage.state(2), ObjectState::Running);
    stage.tell(Event::Pressed { sink: ObjectId(99), reactor: ReactorId(0), full: true });
    stage.settle();
    assert_eq!((stage.state(2), stage.holds), (ObjectState::Running, 1));
    assert!(matches!(stage.state(3), ObjectState::Failed(_)));
    assert_eq!(stage.state(4), ObjectState::Running);
}

#[test]
fn an_applier_that_is_ending_does_not_bring_a_failed_sink_back() {
    let mut stage = in_memory();
    stage.deploy(vec![source(1, Some("test"), 0), kept(2, 1), sink(3, 2, plain())]);
    stage.tell(Event::Failed { pipeline: ObjectId(3), error: EngineError::NoSpace });
    for trouble in [Some(ConnectorError::external("LDB-0000", "the target is away")), None] {
        stage.letters.post(ControlLetter::Notice(Notice::SinkState { sink: ObjectId(3), trouble }));
        stage.settle();
        assert!(matches!(stage.state(3), ObjectState::Failed(_)));
    }
}

#[test]
fn a_query_that_goes_on_opens_no_source_of_a_create_that_may_yet_be_undone() {
    let mut stage = in_memory();
    stage.deploy(vec![source(1, Some("test"), 0), kept(2, 1)]);
    stage.ask(Request::Pause(ObjectId(2), Reply::ignored()));
    stage.holds_plans = true;
    stage.deploy(vec![source(4, Some("test"), 0), kept(5, 4)]);
    stage.ask(Request::Resume(ObjectId(2), Reply::ignored()));
    assert_eq!((stage.started("source-s1"), stage.started("source-s4")), (2, 0), "its own, anew");
    stage.build(Err(EngineError::NoSpace));
    assert_eq!(stage.started("source-s4"), 0, "nobody would end it");
    stage.holds_plans = false;
    stage.deploy(vec![source(4, Some("test"), 0), kept(5, 4)]);
    assert_eq!(stage.started("source-s4"), 1);
}

/// A directory whose checkpoint holds a stream and its sink; a view is younger.
fn boot() -> Boot {
    let epoch = Epoch { incarnation: Incarnation(1), number: 7 };
    let state = |id: u64| (ObjectId(id), IslandState { island: IslandId(id), epoch, ..IslandState::default() });
    let objects = vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain()), kept(5, 1)];
    Boot {
        objects: objects.into_iter().map(|object| (object, ObjectState::Running)).collect(),
        states: [state(2), state(3)].into(),
        epoch: Some(epoch),
        ..Boot::default()
    }
}

#[test]
fn at_a_start_no_source_is_read_before_the_views_that_are_younger_than_the_checkpoint_have_joined() {
    let mut stage = Stage::new(boot(), None);
    stage.holds_plans = true;
    stage.settle();
    stage.build(Ok(()));
    assert_eq!((stage.state(2), stage.started("source-s1")), (ObjectState::Running, 0), "it has joined and waits");
    stage.build(Ok(()));
    assert_eq!(stage.started("source-s1"), 1, "one place for both");
}

#[test]
fn a_query_that_goes_on_at_a_start_waits_for_the_views_that_are_younger_than_the_checkpoint() {
    let mut stage = Stage::new(boot(), None);
    stage.holds_plans = true;
    stage.settle();
    stage.build(Ok(()));
    // What the checkpoint holds has joined; the younger view is being built.
    stage.tell(pressed(0, true));
    stage.settle();
    assert!(matches!(stage.state(2), ObjectState::Waiting(_)));
    stage.tell(pressed(0, false));
    stage.settle();
    assert_eq!((stage.state(2), stage.holds, stage.started("source-s1")), (ObjectState::Running, 1, 0));
    stage.build(Ok(()));
    assert_eq!(stage.started("source-s1"), 2, "one place each");
}

#[test]
fn a_source_is_not_opened_for_a_query_that_was_parted_before_the_start_came_to_it() {
    let mut objects = boot().objects;
    objects.pop();
    let mut stage = Stage::new(Boot { objects, ..boot() }, None);
    stage.holds_plans = true;
    stage.settle();
    stage.tell(pressed(0, true));
    stage.settle();
    stage.build(Ok(()));
    assert!(matches!(stage.state(2), ObjectState::Waiting(_)));
    assert_eq!((stage.holds, stage.started("source-s1")), (1, 0));
    stage.tell(pressed(0, false));
    stage.settle();
    assert_eq!((stage.state(2), stage.started("source-s1")), (ObjectState::Running, 1), "now it is read");
}

#[test]
fn a_source_that_a_start_cannot_open_costs_its_readers_nothing_and_gets_no_new_ones() {
    let objects = [source(1, Some("gone"), 0), kept(2, 1)].map(|object| (object, ObjectState::Running));
    let mut stage = Stage::new(Boot { objects: objects.into(), ..Boot::default() }, None);
    stage.settle();
    let state = stage.state(1);
    assert!(matches!(&state, ObjectState::Failed(why) if why.contains("connector gone")), "{state:?}");
    assert_eq!(stage.state(2), ObjectState::Running, "it has its place");
    let (reply, answer) = asked();
    stage.ask(Request::Deploy(Deployment { add: vec![kept(3, 1)], drop: vec![] }, reply));
    let answer = answer.try_recv().unwrap();
    assert!(matches!(&answer, Err(EngineError::Refused { name, .. }) if name == "s1"), "{answer:?}");
}

/// A directory on a simulated disk with a source (1), a view (2) and its sink (3).
fn durable() -> (SimMachine, Stage) {
    let machine = SimMachine::new(1);
    let options = RestoreOptions {
        reactors: REACTORS,
        shards: 4,
        state_bytes: 1 << 20,
        request_keys: 1,
        fresh: DirectoryId(1),
        publisher: PublisherOptions { append_bytes: 1 << 16, reserve_bytes: 0 },
        volume_bytes: u64::MAX,
        progress: Arc::default(),
    };
    let restored = restore(&options, Box::new(machine.disk())).unwrap();
    let mut stage = Stage::new(restored.boot, Some(restored.control));
    stage.settle();
    stage.deploy(vec![source(1, Some("test"), 0), kept(2, 1), sink(3, 2, plain())]);
    (machine, stage)
}

/// A target that does not answer is not waited for, and what it had acknowledged by then is kept.
#[test]
fn the_end_of_the_wait_for_targets_asks_how_far_they_are() {
    let (machine, mut stage) = durable();
    let mark = |acknowledged: u64| OutboxMark {
        sink: ObjectId(3),
        shard: ShardId(0),
        position: OutboxPosition(100),
        acknowledged: OutboxPosition(acknowledged),
    };
    stage.outboxes = vec![mark(10)];
    stage.ask(Request::Shutdown(Reply::ignored()));
    assert_eq!(stage.drains, [vec![ObjectId(3)]]);
    stage.tell(Event::Drained { reactor: ReactorId(1), outboxes: Vec::new() });
    stage.micros += 4_900_000;
    stage.settle();
    assert_eq!(stage.drains.len(), 1, "it waits");
    stage.micros += 100_000;
    stage.settle();
    assert_eq!(stage.drains, [vec![ObjectId(3)], vec![]], "it waits for no target any more");
    stage.tell(Event::Drained { reactor: ReactorId(0), outboxes: vec![mark(60)] });
    stage.settle();
    let found = laminar_storage::manifest::read(&mut machine.disk(), DirectoryId(1)).unwrap().unwrap();
    let newest = found.checkpoints.last().unwrap();
    assert_eq!(newest.outboxes().cloned().collect::<Vec<_>>(), [mark(60)]);
}

#[test]
fn the_end_waits_for_the_target_of_a_full_sink_that_is_not_in_trouble() {
    let (_machine, mut stage) = durable();
    stage.tell(pressed(0, true));
    stage.settle();
    stage.ask(Request::Shutdown(Reply::ignored()));
    assert_eq!(stage.drains, [vec![ObjectId(3)]]);
}

/// A reply, and where its answer is found.
fn asked<T: Send + 'static>() -> (Reply<T>, Receiver<Result<T, EngineError>>) {
    let (send, receive) = channel();
    (Reply::new(move |answer| drop(send.send(answer))), receive)
}

#[test]
fn an_end_whose_last_checkpoint_finds_no_room_says_so() {
    let (machine, mut stage) = durable();
    // As in the files of the directory: nothing more is given.
    machine.set_capacity(0);
    let big = vec![
        OutboxMark {
            sink: ObjectId(3),
            shard: ShardId(0),
            position: OutboxPosition(1),
            acknowledged: OutboxPosition(0)
        };
        4_000
    ];
    stage.outboxes = big;
    let (reply, answer) = asked();
    stage.ask(Request::Shutdown(reply));
    let answer = answer.try_recv().unwrap();
    assert!(matches!(&answer, Err(error) if error.to_string().contains("space")), "{answer:?}");
}

#[test]
fn an_end_whose_last_epoch_does_not_complete_says_so() {
    let (_machine, mut stage) = durable();
    stage.holds_barriers = true;
    let (reply, answer) = asked();
    stage.ask(Request::Shutdown(reply));
    assert!(answer.try_recv().is_err(), "it is waited for");
    stage.micros += 60_000_000;
    stage.settle();
    let answer = answer.try_recv().unwrap();
    assert!(matches!(&answer, Err(EngineError::Limit { .. })), "{answer:?}");
}

#[test]
fn when_storage_has_failed_everybody_who_waits_hears_why() {
    let (_machine, mut stage) = durable();
    stage.holds_barriers = true;
    let (checkpoint, checkpoint_answer) = asked();
    stage.ask(Request::Checkpoint(checkpoint));
    let (second, second_answer) = asked();
    stage.ask(Request::Checkpoint(second));
    let (deploy, deploy_answer) = asked();
    let (waits, waits_answer) = asked();
    for reply in [deploy, waits] {
        stage.ask(Request::Deploy(
            Deployment { add: vec![kept(10 + stage.plans.len() as u64, 1)], drop: vec![] },
            reply,
        ));
    }
    let object = |object: u64| ReadRequest {
        objects: vec![ReadObject { object: ObjectId(object), columns: None }],
        level: ReadLevel::Consistent,
        after: None,
    };
    let (read, read_answer) = asked();
    stage.ask(Request::Read(object(2), read));
    let (later, later_answer) = asked();
    let after = Some(Epoch { incarnation: Incarnation(9), number: 9 });
    stage.ask(Request::Read(ReadRequest { after, ..object(2) }, later));
    stage.tell(Event::Fatal(EngineError::Storage("LDB-1001: the disk is gone".into())));
    stage.settle();
    let why = |answer: Option<EngineError>| answer.map(|error| error.code().to_owned());
    let heard = [
        why(checkpoint_answer.try_recv().unwrap().err()),
        why(second_answer.try_recv().unwrap().err()),
        why(deploy_answer.try_recv().unwrap().err()),
        why(waits_answer.try_recv().unwrap().err()),
        why(read_answer.try_recv().unwrap().err()),
        why(later_answer.try_recv().unwrap().err()),
    ];
    assert!(heard.iter().all(|code| code.as_deref() == Some("LDB-1001")), "{heard:?}");
}

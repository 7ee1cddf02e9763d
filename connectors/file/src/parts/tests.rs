use laminar_connector_kit::contract::{self, NEWEST};
use laminar_core::connector::{FrameRecord, SinkFactory};
use laminar_core::graph::Delivery;
use laminar_core::ids::ObjectId;

use super::*;
use crate::sink::tests::{factory, spec};

fn identity(sink: u64) -> SinkIdentity {
    SinkIdentity { directory: 0xfeed, sink: ObjectId(sink) }
}

fn make(root: &Path, identity: SinkIdentity) -> Box<dyn Applier> {
    let mut spec = spec(&root.join("out"), &[]);
    spec.delivery = Delivery::ExactlyOnce;
    factory(root).create(&spec, identity).unwrap()
}

fn frames(text: &str) -> Vec<Arc<Frame>> {
    let record = FrameRecord { key: None, value: Some(text.as_bytes().to_vec()), timestamp_ms: None };
    vec![Arc::new(Frame { shard: ShardId(0), sequence: 0, records: vec![record] })]
}

/// What a reader that follows the rule for names sees: names and contents, sorted.
fn shown(root: &Path) -> Vec<(String, String)> {
    let entries = root.join("out").read_dir().unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let finals = named.filter(|(name, _)| !name.starts_with('.'));
    let mut all: Vec<_> = finals.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect();
    all.sort();
    all
}

fn hidden(root: &Path) -> usize {
    let entries = root.join("out").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().starts_with('.')).count()
}

#[test]
fn contract_holds() {
    let root = tempfile::tempdir().unwrap();
    contract::exact_sink(&mut || make(root.path(), identity(3)), &mut || {
        let files = shown(root.path());
        files.iter().flat_map(|(_, text)| text.lines()).map(|line| line.as_bytes().to_vec()).collect()
    });
    assert_eq!(hidden(root.path()), 0, "nothing is left behind");
}

#[test]
fn name_of_a_part_tells_writer_and_checkpoint_and_sorts_as_they_do() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = make(root.path(), identity(3));
    sink.start(NEWEST).unwrap();
    for (checkpoint, text) in [(9, "a"), (10, "b"), (1 << 32, "c")] {
        sink.commit(CheckpointNumber(checkpoint), &frames(text)).unwrap();
    }
    let of = |checkpoint: u64| format!("{}-{checkpoint:020}.json", identity(3));
    assert_eq!(
        shown(root.path()),
        [(of(9), "a\n".to_string()), (of(10), "b\n".to_string()), (of(1 << 32), "c\n".to_string())]
    );
}

#[test]
fn what_a_killed_life_left_is_never_shown_and_goes_with_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let mut killed = make(root.path(), identity(3));
    killed.start(NEWEST).unwrap();
    killed.commit(CheckpointNumber(4), &frames("whole")).unwrap();
    // As after kill -9 in the middle of a commit: half a file, and nobody who removes it.
    let life = fs::read_dir(root.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let life = life.filter(|path| path.is_dir()).collect::<Vec<_>>();
    fs::write(life[0].join(UNFINISHED), "hal").unwrap();
    std::mem::forget(killed);
    assert_eq!(shown(root.path()).len(), 1);
    let mut next = make(root.path(), identity(3));
    assert_eq!(next.start(NEWEST).unwrap(), Some(CheckpointNumber(4)));
    assert_eq!(hidden(root.path()), 1, "its own directory only");
    next.commit(CheckpointNumber(6), &frames("half and more")).unwrap();
    let texts: Vec<String> = shown(root.path()).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["whole\n", "half and more\n"]);
}

#[test]
fn writers_share_a_directory_without_seeing_each_other() {
    let root = tempfile::tempdir().unwrap();
    let (mut one, mut other) = (make(root.path(), identity(3)), make(root.path(), identity(30)));
    one.start(NEWEST).unwrap();
    assert_eq!(other.start(NEWEST).unwrap(), None);
    one.commit(CheckpointNumber(5), &frames("one")).unwrap();
    other.commit(CheckpointNumber(8), &frames("other")).unwrap();
    one.commit(CheckpointNumber(6), &frames("one")).unwrap();
    assert_eq!(shown(root.path()).len(), 3);
    drop((one, other));
    assert_eq!(make(root.path(), identity(3)).start(NEWEST).unwrap(), Some(CheckpointNumber(6)));
    assert_eq!(make(root.path(), identity(30)).start(NEWEST).unwrap(), Some(CheckpointNumber(8)));
    assert_eq!(make(root.path(), identity(300)).start(NEWEST).unwrap(), None);
}

#[test]
fn a_checkpoint_that_is_there_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = make(root.path(), identity(3));
    sink.start(NEWEST).unwrap();
    sink.commit(CheckpointNumber(4), &frames("first")).unwrap();
    assert_eq!(sink.commit(CheckpointNumber(4), &frames("second")).unwrap_err().code, "LDB-6414");
    assert_eq!(shown(root.path())[0].1, "first\n");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused_with_the_way_out() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("out"), "rows\n").unwrap();
    let error = make(root.path(), identity(3)).start(NEWEST).unwrap_err();
    assert!(error.code == "LDB-6413" && error.message.contains("name of a directory"), "{error}");
    assert_eq!(fs::read_to_string(root.path().join("out")).unwrap(), "rows\n");
}

#[test]
fn a_parent_that_is_gone_is_named() {
    let root = tempfile::tempdir().unwrap();
    let parent = root.path().join("gone");
    fs::create_dir(&parent).unwrap();
    let mut sink = make(&parent, identity(3));
    fs::remove_dir(&parent).unwrap();
    let error = sink.start(NEWEST).unwrap_err();
    assert!(error.code == "LDB-6412" && error.message.contains(&format!("'{}': No such", parent.display())), "{error}");
}

#[test]
fn a_directory_that_was_removed_is_made_anew_by_the_next_life() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = make(root.path(), identity(3));
    sink.start(NEWEST).unwrap();
    fs::remove_dir_all(root.path().join("out")).unwrap();
    assert_eq!(sink.commit(CheckpointNumber(4), &frames("lost")).unwrap_err().fault, Fault::External);
    let mut next = make(root.path(), identity(3));
    assert_eq!(next.start(NEWEST).unwrap(), None);
    next.commit(CheckpointNumber(4), &frames("again")).unwrap();
    assert_eq!(shown(root.path()).len(), 1);
}

#[test]
fn a_reader_may_delete_every_part_but_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = make(root.path(), identity(3));
    sink.start(NEWEST).unwrap();
    for checkpoint in [5, 6, 9] {
        sink.commit(CheckpointNumber(checkpoint), &frames("x")).unwrap();
    }
    let parts = shown(root.path());
    for (name, _) in &parts[..2] {
        fs::remove_file(root.path().join("out").join(name)).unwrap();
    }
    drop(sink);
    let mut sink = make(root.path(), identity(3));
    assert_eq!(sink.start(NEWEST).unwrap(), Some(CheckpointNumber(9)));
    sink.commit(CheckpointNumber(10), &frames("y")).unwrap();
    assert_eq!(shown(root.path()).len(), 2);
}

use laminar_storage::disk::SimMachine;
use laminar_storage::log::DirectoryId;
use laminar_storage::manifest::{CatalogChange, CatalogEntry, PublisherOptions};
use laminar_storage::recovery::{RecoveryOptions, recover};

use super::durable::{counted_view, deploy, rows_of};
use super::flow::{insert, options};
use super::kit::*;
use crate::engine::inspect::{Verified, look};
use crate::engine::{Driver, EngineError, kept_plan, state_difference};
use crate::graph::{ObjectSpec, OperatorSpec};
use crate::ids::ObjectId;

fn open(machine: &SimMachine) -> Result<Driver, EngineError> {
    let registry = registry(&Feeds::new(0));
    Driver::on_disk(options(1), registry, std::sync::Arc::new(TinyCompiler), 1, machine).map(|(driver, _)| driver)
}

/// Replaces the catalog's entry of an object.
fn replace(machine: &SimMachine, id: u64, with: impl FnOnce(CatalogEntry) -> CatalogEntry) {
    let publisher = PublisherOptions { append_bytes: 1 << 16, reserve_bytes: 0 };
    let mut disk = machine.disk();
    let options = RecoveryOptions { fresh_directory: DirectoryId(1), publisher };
    let mut found = recover(&mut disk, options, &mut |_, _, _| Ok(())).unwrap();
    let entry = with(found.catalog.entries[&ObjectId(id)].clone());
    found.publisher.publish_catalog(&mut disk, CatalogChange { upserts: vec![entry], drops: vec![] }).unwrap();
}

/// A directory with a table (1), a source (2) and a windowed view of counts (3), and what the two relations hold.
fn written() -> (SimMachine, [Vec<Vec<i64>>; 2]) {
    let machine = SimMachine::new(1);
    let mut driver = open(&machine).unwrap();
    deploy(&mut driver, vec![table(1), source(2, None, 0), counted_view(3, 2)]);
    for object in [1, 2] {
        driver.wait(|handle, reply| handle.insert(insert(object, &[(1, 10, 0), (2, 20, 9_000_000)]), reply)).unwrap();
    }
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    let rows = [rows_of(&mut driver, 1), rows_of(&mut driver, 3)];
    assert!(!rows[0].is_empty() && !rows[1].is_empty(), "{rows:?}");
    driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    (machine, rows)
}

fn refusal(machine: &SimMachine) -> String {
    match open(machine) {
        Err(error @ EngineError::OtherState { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the directory was opened"),
    }
}

#[test]
fn state_of_another_layout_is_refused_before_it_is_read_with_the_difference_named_and_nothing_is_lost() {
    let (mut machine, rows) = written();
    let changes: [(u64, &str, &str, &str); 6] = [
        (3, "\"Int64\",false", "\"Int32\",false", "the keys of the groups of windows are (key Int32 NOT NULL)"),
        (
            3,
            "count(*)",
            "integer sum(value)",
            "the values of the groups of windows are (integer sum(value) Int64 NOT NULL)",
        ),
        (3, "1000000 us long", "2000000 us long", "windows of the groups of windows are (2000000 us long"),
        (3, "value of 8 bytes", "value of 24 bytes", "value of 24 bytes), wanted are (format 1"),
        (1, "format 1", "format 7", "the entries of the rows are (format 7"),
        (1, "\"fragment\":0", "\"fragment\":1", "the rows by (key Int64 NOT NULL) would be kept no more"),
    ];
    for (object, this, that, words) in changes {
        let mut kept = String::new();
        replace(&machine, object, |entry| {
            kept.clone_from(&entry.plan);
            let (before, state) = entry.plan.split_at(entry.plan.find("\"state\":").unwrap());
            assert!(state.contains(this), "{this} in {state}");
            CatalogEntry { plan: format!("{before}{}", state.replacen(this, that, 1)), ..entry }
        });
        let said = refusal(&machine);
        assert!(
            said.contains(words) && said.contains("drop ") && said.contains("nothing was changed"),
            "{words}: {said}"
        );
        machine = machine.kill(2);
        replace(&machine, object, |entry| CatalogEntry { plan: kept, ..entry });
        let mut driver = open(&machine).unwrap();
        assert_eq!([rows_of(&mut driver, 1), rows_of(&mut driver, 3)], rows, "{words}");
        driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    }
}

#[test]
fn state_of_another_layout_of_a_query_that_has_failed_refuses_neither_a_start_nor_a_look() {
    let (machine, _) = written();
    replace(&machine, 3, |entry| CatalogEntry {
        plan: entry.plan.replace("count(*)", "integer sum(value)"),
        settings: "failed: as it was".to_owned(),
        ..entry
    });
    let found = look(&mut machine.disk(), true).unwrap();
    let newest = &found.last().unwrap().verified;
    assert!(matches!(newest, Some(Verified::Usable { .. })), "{newest:?}");
    assert!(open(&machine).is_ok());
}

#[test]
fn a_plan_of_the_first_version_is_read_and_one_of_a_newer_build_is_refused() {
    let (machine, rows) = written();
    replace(&machine, 3, |entry| {
        let (object, _) = kept_plan::read_all(std::iter::once(&entry)).unwrap().remove(0);
        CatalogEntry { plan: serde_json::to_string(&object).unwrap(), plan_version: 1, ..entry }
    });
    let mut driver = open(&machine).unwrap();
    assert_eq!(rows_of(&mut driver, 3), rows[1]);
    drop(driver);
    replace(&machine, 3, |entry| CatalogEntry { plan_version: 9, ..entry });
    let said = open(&machine).err().unwrap().to_string();
    assert!(said.contains("version 9") && said.contains("start the newer build"), "{said}");
}

#[test]
fn the_difference_of_two_queries_is_that_of_their_state_and_not_of_their_text() {
    let view = |change: fn(&mut OperatorSpec)| {
        let mut view = counted_view(4, 2).spec;
        if let ObjectSpec::Pipeline(pipeline) = &mut view {
            for node in &mut pipeline.nodes {
                node.id.0 += 100;
                change(&mut node.operator);
            }
        }
        view
    };
    let of = |wanted: &ObjectSpec| state_difference(&counted_view(3, 2).spec, wanted).unwrap();
    assert_eq!(of(&view(|_| {})), None, "another name and other numbers");
    let more_keys = view(|operator| {
        if let OperatorSpec::Aggregate { keys, .. } = operator {
            keys.push(1);
        }
    });
    let said = of(&more_keys).unwrap();
    assert!(said.contains("are (key Int64 NOT NULL), wanted are (key Int64 NOT NULL, value Int64 NOT NULL)"), "{said}");
    assert!(of(&table(1).spec).unwrap().contains("there are groups of windows, wanted are rows"));
}

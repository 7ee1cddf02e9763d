//! CREATE, DROP and ALTER: the catalog is what the engine has, whoever waits for the answer and however it is defined.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::pin::pin;
use std::task::Poll;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use laminar_core::connector::Registry;
use laminar_db::{Backend, Database, DatabaseOptions, DbError, Response, Session};

async fn open(directory: &std::path::Path) -> Database {
    let options =
        DatabaseOptions { reactors: Some(1), backend: Backend::Thread, ..DatabaseOptions::in_directory(directory) };
    Database::open(options, Registry::default()).await.unwrap()
}

/// Runs statements; the rows of the last one as text, a line each.
async fn run(session: &mut Session, sql: &str) -> Result<String, DbError> {
    let mut shown = String::new();
    for statement in session.parse(sql)? {
        if let Response::Rows { batches, .. } = session.execute(&statement, &[]).await? {
            let batches: Vec<RecordBatch> = batches.try_collect().await?;
            shown = batches.iter().flat_map(lines).collect::<Vec<_>>().join("\n");
        }
    }
    Ok(shown)
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let texts: Vec<ArrayRef> = batch.columns().iter().map(|c| cast(c, &DataType::Utf8).unwrap()).collect();
    let line =
        |row: usize| texts.iter().map(|c| c.as_string::<i32>().value(row).to_owned()).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(line).collect()
}

/// Polls a future so many times, each time when it is woken, then waits for one more wake and drops it.
async fn left_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_definition_whose_client_leaves_is_in_the_catalog_as_it_is_in_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    let mut left = Vec::new();
    for (verb, columns) in [("CREATE SOURCE", " (x BIGINT)"), ("DROP SOURCE", "")] {
        for polls in 1.. {
            let (name, mut client, mut other) = (format!("s{polls}"), database.session("a"), database.session("b"));
            if verb == "DROP SOURCE" {
                run(&mut other, &format!("CREATE SOURCE IF NOT EXISTS {name} (x BIGINT)")).await.unwrap();
            }
            let done = left_after(polls, run(&mut client, &format!("{verb} {name}{columns}"))).await;
            let next = format!("CREATE SOURCE next (x BIGINT); DROP SOURCE next; DROP SOURCE IF EXISTS {name}");
            run(&mut other, &next).await.unwrap_or_else(|error| panic!("{verb} left after {polls} polls: {error:?}"));
            run(&mut other, &format!("CREATE SOURCE {name} (x BIGINT)")).await.unwrap();
            if let Some(done) = done {
                done.unwrap();
                break;
            }
            left.push((verb, polls));
        }
    }
    assert!(left.len() >= 2, "{left:?}");
    let before = run(&mut database.session("a"), "SHOW SOURCES").await.unwrap();
    database.shutdown().await.unwrap();
    drop(database);
    let database = open(directory.path()).await;
    assert_eq!(run(&mut database.session("a"), "SHOW SOURCES").await.unwrap(), before);
}

#[tokio::test]
async fn a_block_may_drop_what_it_has_created() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    let mut session = database.session("a");
    let block = "BEGIN; CREATE SOURCE a (x BIGINT); CREATE SOURCE b (x BIGINT); DROP SOURCE a; SAVEPOINT p;
                 CREATE SOURCE c (x BIGINT); ROLLBACK TO SAVEPOINT p; COMMIT; SHOW SOURCES";
    assert_eq!(run(&mut session, block).await.unwrap(), "b push running");
    run(&mut session, "BEGIN; CREATE SOURCE d (x BIGINT)").await.unwrap();
    run(&mut database.session("b"), "CREATE SOURCE e (x BIGINT)").await.unwrap();
    assert_eq!(run(&mut session, "COMMIT").await.unwrap_err().code, "LDB-4044", "others changed the catalog");
}

const VIEW: &str = "CREATE SOURCE s (k BIGINT); CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;";

#[tokio::test]
async fn alterations_at_once_all_hold_and_a_block_takes_none() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(directory.path()).await;
    let [mut a, mut b] = ["a", "b"].map(|user| database.session(user));
    run(&mut a, VIEW).await.unwrap();
    for size in ["64 MiB", "65 MiB"] {
        let raised = format!("ALTER MATERIALIZED VIEW v SET (memory_limit = '{size}')");
        let (policy, limit) = tokio::join!(
            run(&mut a, "ALTER MATERIALIZED VIEW v SET (memory_policy = 'backpressure')"),
            run(&mut b, &raised),
        );
        policy.and(limit).unwrap();
        let bytes = if size == "64 MiB" { "67108864" } else { "68157440" };
        let altered = run(&mut a, "SHOW CREATE v").await.unwrap();
        let all = format!("SET (memory_limit = '{bytes} B', memory_policy = 'backpressure')");
        assert!(altered.ends_with(&all), "{altered}");
        run(&mut a, "ALTER MATERIALIZED VIEW v SET (memory_policy = 'fail')").await.unwrap();
    }
    run(&mut a, "BEGIN; CREATE SOURCE t (x BIGINT)").await.unwrap();
    let refused = run(&mut a, "ALTER MATERIALIZED VIEW v SET (memory_limit = '1 GiB')").await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.sqlstate.as_str()), ("LDB-4033", "25001"));
    run(&mut a, "ROLLBACK").await.unwrap();
    assert!(!run(&mut a, "SHOW CREATE v").await.unwrap().contains("1073741824"));
}

#[tokio::test]
async fn a_configuration_with_another_memory_limit_gives_it_to_the_query_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = open(directory.path()).await;
    let script = |with: &str| VIEW.replace("v AS", &format!("v {with} AS"));
    database.deploy(&script("")).await.unwrap();
    let with = |mib: u64| format!("WITH (memory_limit = '{mib} MiB')");
    for mib in [64, 128] {
        let told = database.deploy(&script(&with(mib))).await.unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        for _ in 0..2 {
            let mut session = database.session("a");
            let shown = run(&mut session, "SHOW PIPELINES").await.unwrap();
            assert!(shown.ends_with(&(mib << 20).to_string()), "{shown}");
            let shown = run(&mut session, "SHOW CREATE v").await.unwrap();
            assert!(shown.contains(&with(mib)) && !shown.contains("ALTER"), "{shown}");
            database.shutdown().await.unwrap();
            drop(session);
            database = open(directory.path()).await;
            assert_eq!(database.deploy(&script(&with(mib))).await.unwrap(), [], "it is there");
        }
    }
    let mut session = database.session("a");
    run(&mut session, "ALTER MATERIALIZED VIEW v SET (memory_limit = '256 MiB')").await.unwrap();
    database.deploy(&script(&with(128))).await.unwrap();
    assert!(run(&mut session, "SHOW CREATE v").await.unwrap().contains("ALTER"), "the configuration says nothing new");
    database.deploy(&script(&with(256))).await.unwrap();
    assert!(!run(&mut session, "SHOW CREATE v").await.unwrap().contains("ALTER"));
    let other = script(&with(512)).replace("count(*)", "sum(k)");
    assert_eq!(database.deploy(&other).await.unwrap_err().code, "LDB-4032");
}

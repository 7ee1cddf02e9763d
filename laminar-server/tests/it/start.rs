//! Starting and stopping: each mistake has a message that says what to do, and its own exit code.

use crate::process::{Server, run};

fn directory(config: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("laminardb.toml"), config).unwrap();
    directory
}

#[test]
fn missing_configuration_is_exit_2_and_names_the_option() {
    let directory = tempfile::tempdir().unwrap();
    let ended = run(directory.path(), &["--config", "nope.toml"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("nope.toml") && ended.stderr.contains("--config FILE"), "{}", ended.stderr);
}

#[test]
fn bad_configuration_is_exit_2_with_every_problem_at_its_place() {
    let directory = directory("[server]\nwrokers = 2\nbind = 7\n[[pipeline]]\nname = \"a\"\n");
    let ended = run(directory.path(), &[]);
    assert_eq!(ended.status.code(), Some(2));
    for part in [
        "laminardb.toml:2:1: unknown key `wrokers`",
        "laminardb.toml:3:8: `bind`",
        "laminardb.toml:4:1: [[pipeline]] a needs a `sql`",
        "3 problems",
    ] {
        assert!(ended.stderr.contains(part), "{part} in\n{}", ended.stderr);
    }
}

#[test]
fn unknown_argument_is_exit_2() {
    let directory = directory("");
    let ended = run(directory.path(), &["--confg", "x"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("--config"), "{}", ended.stderr);
}

#[test]
fn wrong_sql_in_the_configuration_is_found_by_check_at_its_line() {
    let directory = directory("[[pipeline]]\nname = \"a\"\nsql = \"\"\"\nSELECT x\nFROM nowhere\n\"\"\"\n");
    let ended = run(directory.path(), &["check"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stdout);
    assert!(ended.stderr.contains("nowhere"), "{}", ended.stderr);
    assert!(ended.stderr.contains("laminardb.toml:5:6:"), "{}", ended.stderr);
    assert!(!directory.path().join("data").exists(), "check must not make a data directory");
}

#[test]
fn good_configuration_passes_check() {
    let directory = directory(
        "[[source]]\nname = \"s\"\nschema = \"k VARCHAR, ts TIMESTAMP(3)\"\nwatermark = \"ts AS ts\"\n\
         [[pipeline]]\nname = \"v\"\nsql = \"SELECT k, count(*) AS n FROM s GROUP BY k\"\n",
    );
    let ended = run(directory.path(), &["check", "--config", "laminardb.toml"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("1 sources, 1 pipelines, 0 sinks"), "{}", ended.stdout);
}

#[test]
fn taken_port_is_exit_3_and_names_the_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (key, other) in [("bind", "pgwire_bind"), ("pgwire_bind", "bind")] {
        let directory = directory(&format!("[server]\n{key} = \"127.0.0.1:{port}\"\n{other} = \"127.0.0.1:0\"\n"));
        let ended = run(directory.path(), &[]);
        assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("in use") && ended.stderr.contains(&format!("`{key}`")), "{}", ended.stderr);
        assert!(!directory.path().join("data").exists(), "a taken port must not touch the data directory");
    }
}

#[test]
fn second_process_on_a_data_directory_is_exit_4_and_the_first_goes_on() {
    let first = Server::start();
    let config = std::fs::read_to_string(first.directory().join("laminardb.toml")).unwrap();
    let second = directory(&config);
    let ended = run(second.path(), &[]);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(&first.data_dir().display().to_string()), "{}", ended.stderr);
    assert_eq!(first.http("GET", "/ready", None).0, 200);
}

#[test]
fn signal_stops_the_server_with_exit_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        assert!(server.log().contains("stopped"), "{}", server.log());
    }
}

#[tokio::test]
async fn changed_object_in_the_configuration_is_refused_with_the_difference_and_an_equal_one_is_kept() {
    let object = |query: &str| {
        format!(
            "[[source]]\nname = \"s\"\nschema = \"k VARCHAR, x BIGINT\"\n\
             [[pipeline]]\nname = \"v\"\nsql = \"{query}\"\n\
             [[pipeline]]\nname = \"above\"\nsql = \"SELECT n FROM v\"\n"
        )
    };
    let query = "SELECT k, count(*) AS n FROM s GROUP BY k";
    let mut server = Server::with(&object(query));
    let client = server.connect().await;
    client.batch_execute("INSERT INTO s VALUES ('a', 1), ('a', 2)").await.unwrap();
    assert_eq!(server.stop().code(), Some(0));
    let path = server.directory().join("laminardb.toml");
    let kept = std::fs::read_to_string(&path).unwrap();
    let changes = [
        (
            "SELECT k, count(*) AS n FROM s GROUP BY k, x",
            "the keys of the groups are (k Utf8), wanted are (k Utf8, x Int64)",
        ),
        ("SELECT k, sum(x) AS n FROM s GROUP BY k", "integer sum("),
        ("SELECT k, 1 AS n FROM s", "groups"),
        ("SELECT k, count(*) AS n FROM s WHERE x > 1 GROUP BY k", "where"),
    ];
    for (changed, words) in changes {
        std::fs::write(&path, kept.replace(query, changed)).unwrap();
        let ended = run(server.directory(), &[]);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        for words in
            ["\"v\" exists", "laminardb.toml:", "nothing was changed; give the new definition another name", words]
        {
            assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
        }
    }
    std::fs::write(&path, kept).unwrap();
    server.resume();
    let client = server.connect().await;
    assert_eq!(crate::tried::answer(&client, "SELECT k, n FROM v").await, "a 2");
    assert_eq!(server.stop().code(), Some(0));
}

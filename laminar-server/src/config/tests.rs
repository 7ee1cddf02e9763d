//! What the configuration accepts, refuses and declares.

use super::deployment::Deployment;
use super::load::parse;
use super::*;

fn env(name: &str) -> Option<String> {
    (name == "TOPIC").then(|| "trades".to_owned())
}

fn problems(text: &str) -> Vec<String> {
    let found = parse(text, &env).expect_err("the text has problems");
    Problems::new(std::path::Path::new("f.toml"), text, found).lines
}

const GOOD: &str = r#"
sql = "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM trades"
[server]
workers = "${WORKERS:-2}"
data_dir = "d"
[[source]]
name = "trades"
connector = "kafka"
format = "json"
schema = "symbol VARCHAR, ts TIMESTAMP(3)"
watermark = "ts AS ts - INTERVAL '3' SECOND"
properties = { topic = "${TOPIC}", bootstrap.servers = "h:9092", group = 5 }
[[pipeline]]
name = "Bars"
sql = """
SELECT symbol
FROM trades
"""
[[sink]]
name = "out"
pipeline = "Bars"
connector = "kafka"
delivery = "at_least_once"
"#;

#[test]
fn objects_become_one_script_in_order() {
    let config = parse(GOOD, &env).unwrap();
    assert_eq!(config.server.workers, Some(2));
    let script = Deployment::of(&config, GOOD).script;
    assert_eq!(
        script,
        "CREATE SOURCE \"trades\" (\nsymbol VARCHAR, ts TIMESTAMP(3),\nWATERMARK FOR ts AS ts - INTERVAL '3' SECOND\n)\n\
         WITH (\n  'connector' = 'kafka',\n  'format' = 'json',\n  'bootstrap.servers' = 'h:9092',\n  'group' = '5',\n  \
         'topic' = 'trades'\n);\n\
         CREATE MATERIALIZED VIEW \"Bars\" AS\nSELECT symbol\nFROM trades;\n\
         CREATE SINK \"out\" FROM \"Bars\"\nWITH (\n  'connector' = 'kafka',\n  'delivery' = 'at_least_once'\n);\n\
         CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM trades\n"
    );
}

#[test]
fn place_in_the_script_leads_back_to_the_file() {
    let config = parse(GOOD, &env).unwrap();
    let deployment = Deployment::of(&config, GOOD);
    let in_query = deployment.script.find("FROM trades;").unwrap();
    assert_eq!(deployment.place(in_query + 1), GOOD.find("FROM trades\n\"\"\""));
    let option = deployment.script.find("'h:9092'").unwrap();
    assert_eq!(deployment.place(option + 1), GOOD.find("\"h:9092\""));
    let statement = deployment.script.find("SINK").unwrap();
    assert_eq!(deployment.place(statement + 1), GOOD.find("\"out\""));
}

#[test]
fn every_problem_is_reported_at_its_place() {
    let lines = problems(
        "[server]\nbnid = \"x\"\nworkers = 0\nlog_level = \"loud\"\n[[sink]]\nname = \"a\"\npipeline = \"p\"\n[servr]\n",
    );
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(
        lines.iter().any(|l| l == "f.toml:2:1: unknown key `bnid` in [server]; did you mean `bind`?"),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|l| l.starts_with("f.toml:3:11: `workers` in [server] must be a whole number from 1")));
    assert!(lines.iter().any(|l| l.starts_with("f.toml:4:13: `log_level`")));
    assert!(lines.iter().any(|l| l.starts_with("f.toml:5:1: [[sink]] a needs a `connector`")));
    assert!(lines.iter().any(|l| l.contains("which no [[pipeline]] declares")));
    assert!(lines.iter().any(|l| l.contains("unknown key `servr`") && l.contains("did you mean `server`?")));
}

#[test]
fn syntax_errors_carry_line_and_column() {
    let lines = problems("[server]\nbind = \nworkers = = 2\n");
    assert!(lines.len() >= 2, "{lines:#?}");
    assert!(lines[0].starts_with("f.toml:2:"), "{lines:#?}");
    assert!(lines[1].starts_with("f.toml:3:"), "{lines:#?}");
}

#[test]
fn address_that_others_can_reach_is_refused_until_there_is_authentication() {
    let lines = problems("[server]\nbind = \"0.0.0.0:8080\"\n");
    assert!(lines[0].starts_with("f.toml:2:8: ") && lines[0].contains("authentication"), "{lines:#?}");
    assert!(parse("[server]\nbind = \"[::1]:0\"\npgwire_bind = \"localhost:0\"\n", &env).is_ok());
}

#[test]
fn one_name_cannot_stand_for_two_objects() {
    let lines =
        problems("[[source]]\nname = \"a\"\nschema = \"x INT\"\n[[pipeline]]\nname = \"a\"\nsql = \"SELECT 1\"\n");
    assert!(lines[0].contains("taken by a source"), "{lines:#?}");
}

//! The functions that tools call on system relations.
//!
//! One row per function: its name, what it returns, how it answers. Arguments are taken as text,
//! which is what every one of them can be read from; a NULL first argument gives NULL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int32Builder, Int64Array, ListArray, ListBuilder, StringArray,
    StringBuilder,
};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::relation::{DATABASE, INFORMATION_SCHEMA, PG_CATALOG, PUBLIC, SYSTEM};
use super::snapshot::Snapshot;
use super::types;
use crate::quoted_if_needed;

/// The arguments of one call, as text.
type Arguments<'a> = &'a [Option<&'a str>];

/// How a function answers.
#[derive(Clone, Copy)]
enum Answer {
    Text(fn(&Snapshot, Arguments<'_>) -> Option<String>),
    Number(fn(&Snapshot, Arguments<'_>) -> Option<i32>),
    Big(fn(&Snapshot, Arguments<'_>) -> Option<i64>),
    Always(bool),
    Names(fn(&Snapshot, Arguments<'_>) -> Vec<String>),
    /// 0, 1, … for the elements of a list.
    Subscripts,
}

/// All functions; the ones that start with `laminar_` stand for casts and idioms that
/// [`rewrite`](super::rewrite) has replaced.
const FUNCTIONS: &[(&str, Answer)] = &[
    ("version", Answer::Text(|s, _| Some(s.version.clone()))),
    ("current_database", Answer::Text(|_, _| Some("laminardb".to_owned()))),
    ("current_catalog", Answer::Text(|_, _| Some("laminardb".to_owned()))),
    ("current_schema", Answer::Text(|_, _| Some("public".to_owned()))),
    ("current_schemas", Answer::Names(|_, a| schemas(a))),
    ("current_user", Answer::Text(|s, _| Some(s.user.clone()))),
    ("current_role", Answer::Text(|s, _| Some(s.user.clone()))),
    ("session_user", Answer::Text(|s, _| Some(s.user.clone()))),
    ("user", Answer::Text(|s, _| Some(s.user.clone()))),
    ("pg_backend_pid", Answer::Number(|s, _| Some(s.backend))),
    ("pg_is_in_recovery", Answer::Always(false)),
    ("pg_relation_is_publishable", Answer::Always(false)),
    ("pg_is_other_temp_schema", Answer::Always(false)),
    ("pg_my_temp_schema", Answer::Number(|_, _| Some(0))),
    ("pg_table_is_visible", Answer::Always(true)),
    ("pg_type_is_visible", Answer::Always(true)),
    ("pg_function_is_visible", Answer::Always(true)),
    ("pg_collation_is_visible", Answer::Always(true)),
    ("pg_opclass_is_visible", Answer::Always(true)),
    ("has_table_privilege", Answer::Always(true)),
    ("has_any_column_privilege", Answer::Always(true)),
    ("has_column_privilege", Answer::Always(true)),
    ("has_schema_privilege", Answer::Always(true)),
    ("has_database_privilege", Answer::Always(true)),
    ("has_function_privilege", Answer::Always(true)),
    ("pg_has_role", Answer::Always(true)),
    ("pg_get_userbyid", Answer::Text(|s, _| Some(s.user.clone()))),
    ("pg_encoding_to_char", Answer::Text(|_, _| Some("UTF8".to_owned()))),
    ("pg_client_encoding", Answer::Text(|_, _| Some("UTF8".to_owned()))),
    ("format_type", Answer::Text(|_, a| Some(types::format(number(a, 0)? as i32, number(a, 1).map(|m| m as i32))))),
    ("pg_get_expr", Answer::Text(|_, _| None)),
    ("pg_get_viewdef", Answer::Text(|s, a| s.relation(object(s, a)?)?.definition.clone())),
    ("pg_get_ruledef", Answer::Text(|_, _| None)),
    (
        "pg_get_constraintdef",
        Answer::Text(|s, a| Some(format!("PRIMARY KEY {}", s.keyed(number(a, 0)?)?.key_columns()))),
    ),
    ("pg_get_indexdef", Answer::Text(index_definition)),
    ("pg_get_function_result", Answer::Text(|_, _| Some("any".to_owned()))),
    ("pg_get_function_arguments", Answer::Text(|_, _| Some("any".to_owned()))),
    ("pg_get_function_identity_arguments", Answer::Text(|_, _| Some("any".to_owned()))),
    ("pg_get_function_sqlbody", Answer::Text(|_, _| None)),
    ("pg_get_functiondef", Answer::Text(|_, _| None)),
    ("pg_get_serial_sequence", Answer::Text(|_, _| None)),
    ("pg_get_partkeydef", Answer::Text(|_, _| None)),
    ("obj_description", Answer::Text(|s, a| s.relation(number(a, 0)?)?.comment.clone())),
    ("col_description", Answer::Text(|_, _| None)),
    ("shobj_description", Answer::Text(|_, _| None)),
    ("pg_tablespace_location", Answer::Text(|_, _| Some(String::new()))),
    ("pg_table_size", Answer::Big(|_, _| Some(0))),
    ("pg_relation_size", Answer::Big(|_, _| Some(0))),
    ("pg_total_relation_size", Answer::Big(|_, _| Some(0))),
    ("pg_indexes_size", Answer::Big(|_, _| Some(0))),
    ("pg_database_size", Answer::Big(|_, _| Some(0))),
    ("pg_size_pretty", Answer::Text(|_, a| Some(size(number(a, 0)?)))),
    ("quote_ident", Answer::Text(|_, a| Some(quoted_if_needed(text(a, 0)?)))),
    ("quote_literal", Answer::Text(|_, a| Some(format!("'{}'", text(a, 0)?.replace('\'', "''"))))),
    ("current_setting", Answer::Text(setting)),
    ("to_regclass", Answer::Text(|s, a| Some(name_of(s, class(s, text(a, 0)?)?)))),
    ("to_regtype", Answer::Text(|_, a| Some(types::format(types::by_name(text(a, 0)?)?, None)))),
    ("laminar_regclass", Answer::Number(|s, a| class(s, text(a, 0)?))),
    ("laminar_regclass_name", Answer::Text(|s, a| Some(name_of(s, number(a, 0)? as i32)))),
    ("laminar_regtype", Answer::Number(|_, a| text(a, 0)?.parse().ok().or_else(|| types::by_name(text(a, 0)?)))),
    ("laminar_regtype_name", Answer::Text(|_, a| Some(types::format(number(a, 0)? as i32, None)))),
    ("laminar_regnamespace_name", Answer::Text(|_, a| Some(namespace(number(a, 0)?)))),
    ("laminar_subscripts", Answer::Subscripts),
];

/// The functions over one snapshot, ready to be registered.
pub fn functions(snapshot: &Arc<Snapshot>) -> Vec<ScalarUDF> {
    let make = |(name, answer): &(&'static str, Answer)| {
        ScalarUDF::new_from_impl(Function {
            name,
            answer: *answer,
            signature: any_arguments(),
            snapshot: snapshot.clone(),
        })
    };
    FUNCTIONS.iter().map(make).collect()
}

/// Whether a function of this name is one of ours.
pub fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(n, _)| *n == name)
}

/// Any number of arguments, also none.
fn any_arguments() -> Signature {
    let (none, some) = (Signature::nullary(Volatility::Stable), Signature::variadic_any(Volatility::Stable));
    Signature::one_of(vec![none.type_signature, some.type_signature], Volatility::Stable)
}

struct Function {
    name: &'static str,
    answer: Answer,
    signature: Signature,
    snapshot: Arc<Snapshot>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.snapshot, &other.snapshot)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.answer {
            Answer::Text(_) => DataType::Utf8,
            Answer::Number(_) => DataType::Int32,
            Answer::Big(_) => DataType::Int64,
            Answer::Always(_) => DataType::Boolean,
            Answer::Names(_) => DataType::new_list(DataType::Utf8, true),
            Answer::Subscripts => DataType::new_list(DataType::Int32, true),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        if let Answer::Subscripts = self.answer {
            let lists = args.args.first().map(|a| a.to_array(rows)).transpose()?;
            return Ok(ColumnarValue::Array(subscripts(lists.as_ref(), rows)));
        }
        let as_text =
            |value: &ColumnarValue| arrow::compute::cast(&value.to_array(rows)?, &DataType::Utf8).map_err(Into::into);
        let columns = args.args.iter().map(as_text).collect::<Result<Vec<_>>>()?;
        let texts = columns.iter().map(|c| as_string_array(c)).collect::<Result<Vec<_>>>()?;
        let calls = (0..rows).map(|row| -> Vec<Option<&str>> {
            texts.iter().map(|t| (!t.is_null(row)).then(|| t.value(row))).collect()
        });
        let snapshot = self.snapshot.as_ref();
        let array: ArrayRef = match self.answer {
            Answer::Text(f) => Arc::new(calls.map(|a| f(snapshot, &a)).collect::<StringArray>()),
            Answer::Number(f) => Arc::new(calls.map(|a| f(snapshot, &a)).collect::<Int32Array>()),
            Answer::Big(f) => Arc::new(calls.map(|a| f(snapshot, &a)).collect::<Int64Array>()),
            Answer::Always(answer) => Arc::new(calls.map(|_| Some(answer)).collect::<BooleanArray>()),
            Answer::Names(f) => Arc::new(names(calls.map(|a| f(snapshot, &a)))),
            Answer::Subscripts => subscripts(None, rows),
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn names(values: impl Iterator<Item = Vec<String>>) -> ListArray {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for value in values {
        value.iter().for_each(|v| builder.values().append_value(v));
        builder.append(true);
    }
    builder.finish()
}

fn subscripts(lists: Option<&ArrayRef>, rows: usize) -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new());
    let lists = lists.and_then(|l| l.as_any().downcast_ref::<ListArray>());
    for row in 0..rows {
        let length = lists.filter(|l| !l.is_null(row)).map_or(0, |l| l.value_length(row));
        (0..length).for_each(|i| builder.values().append_value(i));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn text<'a>(arguments: Arguments<'a>, at: usize) -> Option<&'a str> {
    arguments.get(at).copied().flatten()
}

fn number(arguments: Arguments<'_>, at: usize) -> Option<i64> {
    text(arguments, at)?.trim().parse().ok()
}

/// An object by number or by name.
fn object(snapshot: &Snapshot, arguments: Arguments<'_>) -> Option<i64> {
    number(arguments, 0).or_else(|| class(snapshot, text(arguments, 0)?).map(i64::from))
}

fn schemas(arguments: Arguments<'_>) -> Vec<String> {
    let with_system = text(arguments, 0) == Some("true");
    let schemas: &[&str] = if with_system { &["pg_catalog", "public"] } else { &["public"] };
    schemas.iter().map(|s| (*s).to_owned()).collect()
}

fn index_definition(snapshot: &Snapshot, arguments: Arguments<'_>) -> Option<String> {
    let relation = snapshot.keyed(number(arguments, 0)?)?;
    match number(arguments, 1) {
        Some(column) if column > 0 => {
            let index = *relation.primary_key.get(column as usize - 1)?;
            Some(quoted_if_needed(&relation.columns.get(index)?.name))
        }
        _ => Some(format!(
            "CREATE UNIQUE INDEX {} ON public.{} USING btree {}",
            quoted_if_needed(&relation.key_name()),
            quoted_if_needed(&relation.name),
            relation.key_columns()
        )),
    }
}

fn size(bytes: i64) -> String {
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size.abs() < 10_240 {
            return format!("{size} {unit}");
        }
        size /= 1024;
    }
    format!("{size} TB")
}

fn setting(snapshot: &Snapshot, arguments: Arguments<'_>) -> Option<String> {
    let name = text(arguments, 0)?;
    snapshot.settings.iter().find(|s| s.name.eq_ignore_ascii_case(name)).map(|s| s.value.clone())
}

/// The number of a relation by its name, as `::regclass` reads it.
fn class(snapshot: &Snapshot, name: &str) -> Option<i32> {
    if let Ok(oid) = name.parse() {
        return Some(oid);
    }
    let bare = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
    let ours = snapshot.relations.iter().find(|r| r.name == bare).map(|r| r.oid);
    ours.or_else(|| SYSTEM.iter().find(|(n, _)| *n == bare).map(|(_, oid)| *oid)).map(|oid| oid as i32)
}

/// The name of a relation by its number, as regclass is written.
fn name_of(snapshot: &Snapshot, oid: i32) -> String {
    let oid = i64::from(oid);
    if let Some(relation) = snapshot.relation(oid) {
        return quoted_if_needed(&relation.name);
    }
    if let Some(relation) = snapshot.keyed(oid) {
        return quoted_if_needed(&relation.key_name());
    }
    SYSTEM.iter().find(|(_, n)| i64::from(*n) == oid).map_or_else(|| oid.to_string(), |(name, _)| (*name).to_owned())
}

fn namespace(oid: i64) -> String {
    let known = [
        (PG_CATALOG, "pg_catalog"),
        (PUBLIC, "public"),
        (INFORMATION_SCHEMA, "information_schema"),
        (DATABASE, "laminardb"),
    ];
    known.iter().find(|(n, _)| i64::from(*n) == oid).map_or_else(|| oid.to_string(), |(_, name)| (*name).to_owned())
}

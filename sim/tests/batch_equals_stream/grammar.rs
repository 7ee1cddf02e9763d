//! The seeded grammar: each query as the continuous statement and as the batch query that must have
//! the same answer.
//!
//! The two texts differ in the window only: the batch query reads relations in which each row stands
//! once per window (`Expansion`), with `window_start`, `window_end` and `window_time` as plain columns.

use std::fmt::Write as _;

use crate::data::SECOND;
use crate::expression::{Expressions, Ty};

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub ty: Ty,
}

/// A relation that queries read.
#[derive(Clone, Debug)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// Whether its rows can be taken back.
    pub changing: bool,
    /// Columns that a window can be cut over.
    pub time: Vec<String>,
    /// Whether it keeps its rows, so that a query can be created over it at any time.
    pub kept: bool,
    /// Whether its rows arrive by ascending `id`.
    pub arrives_by_id: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub slide: i64,
    pub size: i64,
    pub offset: i64,
}

/// A relation with each row once per window.
#[derive(Clone, Debug)]
pub struct Expansion {
    pub table: String,
    pub relation: String,
    pub time: String,
    pub window: Window,
    pub lateness: i64,
}

/// One continuous query.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: String,
    /// CREATE MATERIALIZED VIEW or CREATE STREAM.
    pub create: String,
    /// SELECT.
    pub batch: String,
    /// Relations that the batch query reads as they are.
    pub reads: Vec<String>,
    pub expansions: Vec<Expansion>,
    /// Relations that the continuous query reads.
    pub over: Vec<String>,
    pub view: bool,
    /// Whether rows show up only when their window closes.
    pub on_close: bool,
    pub output: Relation,
}

/// What comes out of FROM.
struct From {
    stream: String,
    batch: String,
    relation: Relation,
}

pub struct Grammar<'r> {
    pub random: &'r mut fastrand::Rng,
    /// Whether rows of sources may be late, so that windows stand directly over them.
    pub late: bool,
    reads: Vec<String>,
    expansions: Vec<Expansion>,
    over: Vec<String>,
}

impl<'r> Grammar<'r> {
    pub fn new(random: &'r mut fastrand::Rng, late: bool) -> Self {
        Self { random, late, reads: Vec::new(), expansions: Vec::new(), over: Vec::new() }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    fn expr(&mut self, columns: &[Column], ty: Ty, depth: u32) -> String {
        Expressions { random: self.random, columns }.of(ty, depth)
    }

    fn some_type(&mut self, columns: &[Column]) -> Ty {
        if self.chance(70) {
            columns[self.random.usize(0..columns.len())].ty
        } else {
            Ty::ANY[self.random.usize(0..Ty::ANY.len())]
        }
    }

    /// A query with a name over some of the relations.
    pub fn query(mut self, name: &str, relations: &[Relation], view: bool) -> Query {
        let timed: Vec<&Relation> = relations.iter().filter(|r| !r.time.is_empty()).collect();
        let body = match self.random.u8(0..100) {
            0..20 => self.project(relations),
            20..32 => self.union(relations),
            32..40 => self.distinct(relations),
            40..60 => self.aggregate(relations),
            60..92 if !timed.is_empty() => self.windowed(&timed),
            92.. if !timed.is_empty() => self.assigned(&timed),
            _ => self.aggregate(relations),
        };
        let Body { stream, batch, columns, changing, time, tail, windowed, on_close } = body;
        let what = if view { "MATERIALIZED VIEW" } else { "STREAM" };
        // A stream over windows emits each when it closes; everything else emits changes.
        let on_close = on_close || (!view && windowed);
        let changing = changing && !on_close;
        let time = if self.late { Vec::new() } else { time };
        let create = format!("CREATE {what} {name} AS {stream}{}", tail.unwrap_or_default());
        let output = Relation { name: name.into(), columns, changing, time, kept: view, arrives_by_id: false };
        let Self { reads, expansions, over, .. } = self;
        Query { name: name.into(), create, batch, reads, expansions, over, view, on_close, output }
    }

    fn pick<'a>(&mut self, relations: &'a [Relation]) -> &'a Relation {
        &relations[self.random.usize(0..relations.len())]
    }

    /// A relation as it is, or filtered, or projected, in one of several spellings.
    fn from(&mut self, relation: &Relation, batch_name: &str) -> From {
        if !self.over.contains(&relation.name) {
            self.over.push(relation.name.clone());
        }
        let name = relation.name.clone();
        if self.chance(30) {
            let predicate = self.expr(&relation.columns, Ty::Bool, 2);
            let text = |name: &str| format!("(SELECT * FROM {name} WHERE {predicate}) AS q");
            return From { stream: text(&name), batch: text(batch_name), relation: relation.clone() };
        }
        From { stream: name, batch: batch_name.into(), relation: relation.clone() }
    }

    fn plain_from(&mut self, relation: &Relation) -> From {
        if !self.reads.contains(&relation.name) {
            self.reads.push(relation.name.clone());
        }
        self.from(relation, &relation.name)
    }

    /// Random output expressions: texts with names, and the columns they make.
    fn outputs(&mut self, columns: &[Column], types: &[Ty]) -> (String, Vec<Column>, Vec<String>) {
        let mut texts = Vec::new();
        let mut made = Vec::new();
        let mut exprs = Vec::new();
        for (i, ty) in types.iter().enumerate() {
            let expr = self.expr(columns, *ty, 2);
            texts.push(format!("{expr} AS c{i}"));
            made.push(Column { name: format!("c{i}"), ty: *ty });
            exprs.push(expr);
        }
        (texts.join(", "), made, exprs)
    }

    fn types(&mut self, columns: &[Column], count: usize) -> Vec<Ty> {
        (0..count).map(|_| self.some_type(columns)).collect()
    }

    fn condition(&mut self, columns: &[Column]) -> String {
        if self.chance(50) { format!(" WHERE {}", self.expr(columns, Ty::Bool, 2)) } else { String::new() }
    }

    fn project(&mut self, relations: &[Relation]) -> Body {
        let relation = self.pick(relations);
        let from = self.plain_from(relation);
        let columns = &from.relation.columns;
        let count = self.random.usize(1..6);
        let types = self.types(columns, count);
        let (list, mut made, _) = self.outputs(columns, &types);
        let condition = self.condition(columns);
        let mut list = list;
        let mut time = Vec::new();
        if let Some(t) = from.relation.time.first().filter(|_| self.random.bool()) {
            let _ = write!(list, ", {t} AS ct");
            made.push(Column { name: "ct".into(), ty: Ty::Time });
            time.push("ct".to_owned());
        }
        let cte = self.chance(15) && !from.stream.starts_with('(');
        let text = |from: &str| match cte {
            true => format!("WITH q AS (SELECT * FROM {from}) SELECT {list} FROM q{condition}"),
            false => format!("SELECT {list} FROM {from}{condition}"),
        };
        Body::new(text(&from.stream), text(&from.batch), made, from.relation.changing).time(time)
    }

    fn union(&mut self, relations: &[Relation]) -> Body {
        let arms = self.random.usize(2..4);
        let chosen: Vec<Relation> = (0..arms).map(|_| self.pick(relations).clone()).collect();
        let count = self.random.usize(1..5);
        let types = self.types(&chosen[0].columns.clone(), count);
        let (mut stream, mut batch, mut made) = (Vec::new(), Vec::new(), Vec::new());
        let timed = chosen.iter().all(|r| !r.time.is_empty());
        for relation in &chosen {
            let from = self.plain_from(relation);
            let (mut list, mut columns, _) = self.outputs(&from.relation.columns, &types);
            if timed {
                let _ = write!(list, ", {} AS ct", relation.time[0]);
                columns.push(Column { name: "ct".into(), ty: Ty::Time });
            }
            let condition = self.condition(&from.relation.columns);
            stream.push(format!("SELECT {list} FROM {}{condition}", from.stream));
            batch.push(format!("SELECT {list} FROM {}{condition}", from.batch));
            made = columns;
        }
        let changing = chosen.iter().any(|r| r.changing);
        let distinct = self.chance(20);
        let word = if distinct { " UNION " } else { " UNION ALL " };
        let time = if timed && !distinct { vec!["ct".to_owned()] } else { Vec::new() };
        Body::new(stream.join(word), batch.join(word), made, changing || distinct).time(time)
    }

    fn distinct(&mut self, relations: &[Relation]) -> Body {
        let relation = self.pick(relations);
        let from = self.plain_from(relation);
        let count = self.random.usize(1..4);
        let types = self.types(&from.relation.columns, count);
        let (list, made, _) = self.outputs(&from.relation.columns, &types);
        let condition = self.condition(&from.relation.columns);
        let text = |from: &str| format!("SELECT DISTINCT {list} FROM {from}{condition}");
        Body::new(text(&from.stream), text(&from.batch), made, true)
    }

    /// Aggregate calls: text of the stream, text of the batch, columns, named from `first` on.
    fn calls(&mut self, relation: &Relation, first: usize) -> (Vec<String>, Vec<String>, Vec<Column>) {
        let (mut stream, mut batch, mut made) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.random.usize(1..4) {
            let name = format!("c{}", first + i);
            let (mut s, mut b, ty) = self.call(relation);
            if self.chance(15) {
                let filter = format!(" FILTER (WHERE {})", self.expr(&relation.columns, Ty::Bool, 1));
                s.push_str(&filter);
                b.push_str(&filter);
            }
            stream.push(format!("{s} AS {name}"));
            batch.push(format!("{b} AS {name}"));
            made.push(Column { name, ty });
        }
        (stream, batch, made)
    }

    fn call(&mut self, relation: &Relation) -> (String, String, Ty) {
        let columns = &relation.columns;
        let same = |text: String, ty: Ty| (text.clone(), text, ty);
        let choices = if relation.changing { 4 } else { 8 };
        match self.random.u8(0..choices) {
            0 => same("count(*)".into(), Ty::Int),
            1 => {
                let ty = self.some_type(columns);
                same(format!("count({})", self.expr(columns, ty, 1)), Ty::Int)
            }
            2 => {
                let ty = [Ty::Int, Ty::Double, Ty::Decimal][self.random.usize(0..3)];
                let result = if ty == Ty::Int { Ty::Decimal } else { ty };
                same(format!("sum({})", self.expr(columns, ty, 1)), result)
            }
            3 => {
                let ty = [Ty::Int, Ty::Double, Ty::Decimal][self.random.usize(0..3)];
                let result = if ty == Ty::Decimal { Ty::Decimal } else { Ty::Inexact };
                same(format!("avg({})", self.expr(columns, ty, 1)), result)
            }
            4 | 5 => {
                let ty = [Ty::Int, Ty::Double, Ty::Decimal, Ty::Text, Ty::Time][self.random.usize(0..5)];
                let function = if self.random.bool() { "min" } else { "max" };
                same(format!("{function}({})", self.expr(columns, ty, 1)), ty)
            }
            _ => self.edge_call(relation),
        }
    }

    /// first_value and last_value, where the order is known.
    fn edge_call(&mut self, relation: &Relation) -> (String, String, Ty) {
        let has_id = relation.columns.iter().any(|c| c.name == "id");
        if !has_id || !relation.arrives_by_id {
            return ("count(*)".into(), "count(*)".into(), Ty::Int);
        }
        let ty = self.some_type(&relation.columns);
        let argument = self.expr(&relation.columns, ty, 1);
        let function = if self.random.bool() { "first_value" } else { "last_value" };
        if relation.time.first().is_some_and(|t| t == "ts") && self.random.bool() {
            let batch = format!("{function}({argument} ORDER BY ts, id)");
            return (format!("{function}({argument})"), batch, ty);
        }
        let order = if self.random.bool() { "id" } else { "id DESC" };
        let text = format!("{function}({argument} ORDER BY {order})");
        (text.clone(), text, ty)
    }

    fn having(&mut self, relation: &Relation, keys: &[String]) -> String {
        if !self.chance(30) {
            return String::new();
        }
        match self.random.u8(0..3) {
            0 => format!(" HAVING count(*) > {}", self.random.u8(0..4)),
            1 if !keys.is_empty() => format!(" HAVING {} IS NOT NULL", keys[0]),
            _ => {
                let argument = self.expr(&relation.columns, Ty::Int, 1);
                format!(" HAVING sum({argument}) >= {} OR count(*) = 1", self.random.u8(0..60))
            }
        }
    }

    fn aggregate(&mut self, relations: &[Relation]) -> Body {
        let relation = self.pick(relations);
        let from = self.plain_from(relation);
        let columns = from.relation.columns.clone();
        let count = self.random.usize(0..3);
        let mut types = self.types(&columns, count);
        types.retain(|ty| *ty != Ty::Inexact);
        let (list, mut made, keys) = self.outputs(&columns, &types);
        let (stream, batch, more) = self.calls(&from.relation, keys.len());
        made.extend(more);
        let condition = self.condition(&columns);
        let having = self.having(&from.relation, &keys);
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        let text = |from: &str, calls: &[String]| {
            let lists: Vec<&str> =
                [list.as_str()].into_iter().filter(|l| !l.is_empty()).chain(calls.iter().map(String::as_str)).collect();
            format!("SELECT {} FROM {from}{condition}{group}{having}", lists.join(", "))
        };
        Body::new(text(&from.stream, &stream), text(&from.batch, &batch), made, true)
    }

    fn window(&mut self) -> (Window, String, &'static str) {
        let unit = SECOND / 2;
        let slide = self.random.i64(1..8) * unit;
        let seconds = |micros: i64| format!("INTERVAL '{} milliseconds'", micros / 1000);
        if self.random.bool() {
            let offset = if self.chance(25) { SECOND / 4 } else { 0 };
            let window = Window { slide, size: slide, offset };
            let more = if offset > 0 { format!(", {}", seconds(offset)) } else { String::new() };
            return (window, format!("{}{more}", seconds(slide)), "TUMBLE");
        }
        // Also sizes that are no multiple of the slide.
        let size = slide + self.random.i64(0..5) * unit;
        (Window { slide, size, offset: 0 }, format!("{}, {}", seconds(slide), seconds(size)), "HOP")
    }

    /// The relation with each row once per window; returns the name for the batch query.
    fn expansion(&mut self, relation: &Relation, time: &str, window: Window, lateness: i64) -> String {
        let table = format!("{}_w{}", relation.name, self.expansions.len());
        self.expansions.push(Expansion {
            table: table.clone(),
            relation: relation.name.clone(),
            time: time.into(),
            window,
            lateness,
        });
        table
    }

    fn windowed(&mut self, relations: &[&Relation]) -> Body {
        let relation = relations[self.random.usize(0..relations.len())];
        let time = relation.time[self.random.usize(0..relation.time.len())].clone();
        let (window, lengths, function) = self.window();
        let lateness = if self.chance(20) { self.random.i64(1..4) * SECOND } else { 0 };
        let expanded = self.expansion(relation, &time, window, lateness);
        let table_form = self.random.bool();
        let from = if table_form {
            self.over.push(relation.name.clone());
            let word = if self.random.bool() { "TABLE " } else { "" };
            let time = if word.is_empty() { time.clone() } else { format!("DESCRIPTOR({time})") };
            let stream = format!("{function}({word}{}, {time}, {lengths})", relation.name);
            From { stream, batch: expanded, relation: relation.clone() }
        } else {
            self.from(relation, &expanded)
        };
        let columns = from.relation.columns.clone();
        let mut types = vec![Ty::Text, Ty::Int][..self.random.usize(0..3)].to_vec();
        types.retain(|_| self.random.u8(0..4) > 0);
        let (list, mut made, keys) = self.outputs(&columns, &types);
        let (stream, batch, more) = self.calls(&from.relation, keys.len());
        made.extend(more);
        let condition = self.condition(&columns);
        let having = self.having(&from.relation, &keys);
        let mut bounds = vec!["window_start", "window_end"];
        if self.random.bool() {
            bounds.push("window_time");
        }
        let renamed: Vec<String> = bounds.iter().map(|b| format!("{b} AS {}", short(b))).collect();
        made.extend(bounds.iter().map(|b| Column { name: short(b).into(), ty: Ty::Time }));
        let windowed = match table_form {
            true => bounds.join(", "),
            false => format!("{function}({time}, {lengths})"),
        };
        let text = |from: &str, calls: &[String], window: &str| {
            let lists: Vec<&str> = [list.as_str()]
                .into_iter()
                .filter(|l| !l.is_empty())
                .chain(calls.iter().map(String::as_str))
                .chain(renamed.iter().map(String::as_str))
                .collect();
            let by: Vec<&str> = keys.iter().map(String::as_str).chain([window]).collect();
            format!("SELECT {} FROM {from}{condition} GROUP BY {}{having}", lists.join(", "), by.join(", "))
        };
        let stream = text(&from.stream, &stream, &windowed);
        let batch = text(&from.batch, &batch, "window_start, window_end, window_time");
        // window_start is behind time already when a window's first row leaves.
        let time = bounds[1..].iter().map(|b| short(b).to_owned()).collect();
        let mut tail = String::new();
        let on_close = !from.relation.changing && self.chance(30);
        if on_close {
            tail.push_str(" EMIT ON WINDOW CLOSE");
        }
        if lateness > 0 {
            let _ = write!(tail, " ALLOW LATENESS INTERVAL '{} seconds'", lateness / SECOND);
        }
        let body = Body::new(stream, batch, made, true).time(time);
        Body { tail: (!tail.is_empty()).then_some(tail), windowed: true, on_close, ..body }
    }

    /// A window assigned row by row, without an aggregate.
    fn assigned(&mut self, relations: &[&Relation]) -> Body {
        let relation = relations[self.random.usize(0..relations.len())];
        let time = relation.time[0].clone();
        let (window, lengths, function) = self.window();
        let expanded = self.expansion(relation, &time, window, 0);
        self.over.push(relation.name.clone());
        let from = format!("{function}(TABLE {}, DESCRIPTOR({time}), {lengths})", relation.name);
        let types = self.types(&relation.columns, 2);
        let (list, mut made, _) = self.outputs(&relation.columns, &types);
        let condition = self.condition(&relation.columns);
        made.extend(["ws", "we"].map(|b| Column { name: b.into(), ty: Ty::Time }));
        let bounds = "window_start AS ws, window_end AS we";
        let text = |from: &str| format!("SELECT {list}, {bounds} FROM {from}{condition}");
        Body::new(text(&from), text(&expanded), made, relation.changing).time(vec!["we".into()])
    }
}

/// The name under which a window's column leaves, so that a window over it has no second of the same name.
fn short(bound: &str) -> &'static str {
    match bound {
        "window_start" => "ws",
        "window_end" => "we",
        _ => "wt",
    }
}

/// A SELECT in both forms.
struct Body {
    stream: String,
    batch: String,
    columns: Vec<Column>,
    changing: bool,
    time: Vec<String>,
    tail: Option<String>,
    /// Whether it groups by a window.
    windowed: bool,
    on_close: bool,
}

impl Body {
    fn new(stream: String, batch: String, columns: Vec<Column>, changing: bool) -> Self {
        Self { stream, batch, columns, changing, time: Vec::new(), tail: None, windowed: false, on_close: false }
    }

    fn time(self, time: Vec<String>) -> Self {
        Self { time, ..self }
    }
}

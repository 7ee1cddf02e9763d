//! From a bound, optimised logical plan to operators.
//!
//! Gate 2: one exhaustive match over the plan's nodes; each node derives change mode, key, time
//! attributes and partitioning. Invariant: what this returns runs without SQL.

mod aggregate;
mod builder;
mod expr;
mod flow;
mod group_window;

use arrow::datatypes::Field;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection, SubqueryAlias, TableScan, Union};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::{
    EmitMode, MemorySpec, ObjectSpec, OperatorSpec, PipelineKind, WindowKind, WindowSpec, dead_letter_columns,
};
use laminar_core::ids::ObjectId;

pub(crate) use builder::Builder;
use builder::{Facts, joined_mode};
pub(crate) use expr::{Converter, Resolve, functions_of};
use flow::{Computed, Edge, Flow, unaliased};

use crate::error::{Kind, SqlError};
use crate::plan::{ClauseId, Relation, WindowNode};

/// What a continuous query asks beside its SELECT.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub object: ObjectId,
    pub kind: PipelineKind,
    /// When aggregates emit.
    pub emit: EmitMode,
    /// ALLOW LATENESS, microseconds.
    pub lateness: i64,
    /// `retention` of a view, microseconds.
    pub retention: Option<i64>,
    /// Its memory limit; none = nothing is said.
    pub memory: Option<MemorySpec>,
    /// Names for the columns; empty = those of the query.
    pub names: Vec<String>,
}

/// Compiles a plan.
pub(crate) fn compile(plan: &LogicalPlan, request: &Request) -> Result<Builder, SqlError> {
    let orders_by_time = aggregate::orders_by_time(plan)?;
    let mut compiler = Compiler { builder: Builder::default(), request, orders_by_time };
    let flow = compiler.plan(plan)?;
    let fields = compiler.output_fields(plan)?;
    let node = flow.settle(&mut compiler.builder, fields, request.lateness)?;
    compiler.finish(node)
}

pub(crate) struct Compiler<'a> {
    pub builder: Builder,
    pub request: &'a Request,
    /// Whether the time attribute orders some aggregate, though the query may not name it.
    orders_by_time: bool,
}

impl Compiler<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Flow, SqlError> {
        match plan {
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => {
                let flow = self.plan(&filter.input)?;
                self.filter(flow, filter.input.schema(), &filter.predicate)
            }
            LogicalPlan::Aggregate(aggregate) => {
                let flow = self.plan(&aggregate.input)?;
                self.aggregate(flow, aggregate)
            }
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => {
                let flow = self.plan(input)?;
                self.builder.claim(flow.node, &[ClauseId::Subquery, ClauseId::Cte]);
                Ok(flow)
            }
            LogicalPlan::Extension(Extension { node }) => match node.as_any().downcast_ref::<WindowNode>() {
                Some(window) => self.window(window),
                None => Err(SqlError::internal(format!("an unknown node {}", node.name()))),
            },
            LogicalPlan::Distinct(_) => Err(SqlError::unsupported("DISTINCT ON in a continuous query", "")),
            LogicalPlan::Window(_) => {
                Err(SqlError::unsupported("OVER in a continuous query", "group by a window instead"))
            }
            LogicalPlan::Sort(_) => Err(SqlError::unsupported(
                "ORDER BY in a continuous query",
                "put it into the SELECT that reads the view",
            )),
            LogicalPlan::Limit(_) => {
                Err(SqlError::unsupported("LIMIT in a continuous query", "put it into the SELECT that reads the view"))
            }
            LogicalPlan::Join(_) => {
                Err(SqlError::unsupported("JOIN in a continuous query", "joins of streams come next"))
            }
            LogicalPlan::Subquery(_) => {
                Err(SqlError::unsupported("a subquery in an expression of a continuous query", ""))
            }
            LogicalPlan::Unnest(_) => Err(SqlError::unsupported("UNNEST in a continuous query", "")),
            LogicalPlan::RecursiveQuery(_) => Err(SqlError::unsupported("WITH RECURSIVE in a continuous query", "")),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                Err(SqlError::unsupported("constant rows in a continuous query", "put the rows into a TABLE"))
            }
            LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => Err(SqlError::internal(format!("a plan with {}", plan.display()))),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Flow, SqlError> {
        let source: &dyn std::any::Any = scan.source.as_ref();
        let Some(relation) = source.downcast_ref::<Relation>() else {
            return Err(SqlError::internal("a scan of something that is no relation"));
        };
        let entry = &relation.entry;
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(SqlError::internal("a filter or limit below a watermark"));
        }
        let dead_letters;
        let whole = if relation.dead_letters {
            dead_letters =
                StreamSchema { columns: dead_letter_columns(), mode: ChangeMode::Append, key: None, time: Vec::new() };
            &dead_letters
        } else {
            entry.schema()
        };
        let wanted: Vec<usize> = scan.projection.clone().unwrap_or_else(|| (0..whole.columns.fields().len()).collect());
        // A batch without columns has no length, so one column always flows.
        let mut columns = if wanted.is_empty() { vec![narrowest(whole)] } else { wanted.clone() };
        if self.orders_by_time {
            let unnamed: Vec<usize> = whole.time.iter().copied().filter(|c| !columns.contains(c)).collect();
            columns.extend(unnamed);
        }
        let at = |c: &usize| columns.iter().position(|x| x == c);
        let output = StreamSchema {
            columns: std::sync::Arc::new(whole.columns.project(&columns)?),
            mode: whole.mode,
            key: None,
            time: whole.time.iter().filter_map(at).collect(),
        };
        let keys = whole.key.iter().filter_map(|k| k.iter().map(at).collect()).collect();
        let updated_by = (whole.mode == ChangeMode::Changelog)
            .then(|| format!("{} {}", crate::catalog::kind_of(&entry.spec).words(), entry.name()));
        let object = entry.id();
        let operator = match entry.spec {
            ObjectSpec::Source(_) if relation.dead_letters => OperatorSpec::DeadLetters { object, columns },
            ObjectSpec::Source(_) => OperatorSpec::Source { object, columns },
            _ => OperatorSpec::Relation { object, columns },
        };
        let node = self.builder.push(operator, Vec::new(), output, Facts { keys, partition: None, updated_by });
        if !self.builder.depends_on.contains(&object) {
            self.builder.depends_on.push(object);
        }
        self.builder.claim(node, &[ClauseId::From]);
        let mut flow = Flow::of(&self.builder, node);
        flow.columns.truncate(wanted.len());
        Ok(flow)
    }

    fn projection(&mut self, projection: &Projection) -> Result<Flow, SqlError> {
        let mut flow = self.plan(&projection.input)?;
        let schema = projection.input.schema();
        if flow.window_inside(schema, &projection.expr) {
            flow = flow.force(&mut self.builder, self.request.lateness);
        }
        if flow.computes() && projection.expr.iter().any(|e| !matches!(unaliased(e), Expr::Column(_))) {
            flow = self.settle(flow, schema)?;
        }
        let columns = projection.expr.iter().map(|e| self.computed(&flow, schema, e)).collect::<Result<_, _>>()?;
        Ok(Flow { columns, ..flow })
    }

    /// Writes the computed columns of a flow out, keeping a pending window.
    fn settle(&mut self, flow: Flow, schema: &DFSchemaRef) -> Result<Flow, SqlError> {
        let flow = flow.force(&mut self.builder, self.request.lateness);
        let fields = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let node = flow.settle(&mut self.builder, fields, self.request.lateness)?;
        Ok(Flow::of(&self.builder, node))
    }

    fn computed(&self, flow: &Flow, schema: &DFSchemaRef, expr: &Expr) -> Result<Computed, SqlError> {
        if let Some(edge) = flow.edge(schema, expr) {
            return Ok(Computed::Window(edge));
        }
        if let Expr::Column(column) = unaliased(expr) {
            return Ok(flow.columns[schema.index_of_column(column)?].clone());
        }
        Converter { schema, resolve: flow }.scalar(expr).map(Computed::Expr)
    }

    pub(crate) fn filter(&mut self, flow: Flow, schema: &DFSchemaRef, predicate: &Expr) -> Result<Flow, SqlError> {
        let flow = if flow.reads_window(schema, predicate) {
            flow.force(&mut self.builder, self.request.lateness)
        } else {
            flow
        };
        let predicate = Converter { schema, resolve: &flow }.scalar(predicate)?;
        let output = self.builder.output(flow.node).clone();
        let facts = self.builder.facts[flow.node].clone();
        let node = self.builder.push(OperatorSpec::Filter { predicate }, vec![flow.node], output, facts);
        self.builder.claim(node, &[ClauseId::Where, ClauseId::Having]);
        Ok(Flow { node, ..flow })
    }

    fn window(&mut self, window: &WindowNode) -> Result<Flow, SqlError> {
        let mut flow = self.plan(&window.input)?;
        if flow.window.is_some() {
            flow = flow.force(&mut self.builder, self.request.lateness);
        }
        let index = window.input.schema().index_of_column(&window.time)?;
        let attributes = &self.builder.output(flow.node).time;
        let time = match &flow.columns[index] {
            Computed::Expr(ScalarExpr::Column { index, .. }) if attributes.contains(index) => *index,
            other => return Err(no_attribute(&window.time.name, other, attributes.is_empty())),
        };
        if self.builder.output(flow.node).columns.field(time).name() == "window_end" {
            self.builder.notices.push(
                "the window is over window_end, which is the first moment of the next window: use window_time".into(),
            );
        }
        flow.window = Some(WindowSpec { kind: window_kind(window), time });
        flow.columns.extend([Computed::Window(Edge::Start), Computed::Window(Edge::End)]);
        Ok(flow)
    }

    fn union(&mut self, union: &Union) -> Result<Flow, SqlError> {
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let flow = self.plan(input)?;
            let fields = input.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
            inputs.push(flow.settle(&mut self.builder, fields, self.request.lateness)?);
        }
        let outputs: Vec<&StreamSchema> = inputs.iter().map(|n| self.builder.output(*n)).collect();
        let width = union.schema.fields().len();
        let output = StreamSchema {
            columns: std::sync::Arc::new(union.schema.as_arrow().clone()),
            mode: joined_mode(outputs.iter().map(|o| o.mode)),
            key: None,
            time: (0..width).filter(|c| outputs.iter().all(|o| o.time.contains(c))).collect(),
        };
        let updated_by = inputs.iter().find_map(|n| self.builder.facts[*n].updated_by.clone());
        let facts = Facts { keys: Vec::new(), partition: None, updated_by };
        let node = self.builder.push(OperatorSpec::Union, inputs, output, facts);
        self.builder.claim(node, &[ClauseId::UnionAll, ClauseId::Union]);
        Ok(Flow::of(&self.builder, node))
    }

    fn output_fields(&self, plan: &LogicalPlan) -> Result<Vec<Field>, SqlError> {
        let schema = plan.schema();
        let names = &self.request.names;
        if !names.is_empty() && names.len() != schema.fields().len() {
            return Err(SqlError::new(
                Kind::InvalidDefinition,
                format!("{} column names for {} columns", names.len(), schema.fields().len()),
            ));
        }
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, f)| match names.get(i) {
                Some(name) => f.as_ref().clone().with_name(name),
                None => f.as_ref().clone(),
            })
            .map(|f| f.with_metadata(Default::default()))
            .collect();
        for (i, field) in fields.iter().enumerate() {
            if fields[..i].iter().any(|f| f.name() == field.name()) {
                return Err(SqlError::new(
                    Kind::AmbiguousColumn,
                    format!("column \"{}\" occurs more than once in the result", field.name()),
                )
                .hint("give one of them another name with AS"));
            }
        }
        Ok(fields)
    }

    fn finish(mut self, node: usize) -> Result<Builder, SqlError> {
        let names_given = !self.request.names.is_empty();
        let last = match self.request.kind {
            PipelineKind::Stream => {
                let output = self.builder.output(node).clone();
                let facts = self.builder.facts[node].clone();
                let made = self.builder.push(OperatorSpec::Output, vec![node], output, facts);
                self.builder.claim(made, &[ClauseId::Emit]);
                made
            }
            PipelineKind::View => {
                let key = self.builder.facts[node].keys.first().cloned();
                let by = key.unwrap_or_else(|| (0..self.builder.width(node)).collect());
                let node = self.builder.exchange(node, by)?;
                let output = self.builder.output(node).clone();
                if self.request.retention.is_some() && output.time.is_empty() {
                    return Err(SqlError::new(Kind::InvalidOption, "retention needs a time attribute in the view")
                        .hint("select the watermark column or window_end"));
                }
                let facts = self.builder.facts[node].clone();
                let retention = self.request.retention;
                let made = self.builder.push(OperatorSpec::Materialize { retention }, vec![node], output, facts);
                self.builder.claim(made, &[ClauseId::Retention, ClauseId::Emit]);
                made
            }
        };
        if names_given {
            self.builder.claim(last, &[ClauseId::ColumnNames]);
        }
        if let Some(memory) = self.request.memory {
            self.builder.limit(memory);
        }
        Ok(self.builder.finish(self.request.object))
    }
}

fn narrowest(schema: &StreamSchema) -> usize {
    let width = |i: &usize| schema.columns.field(*i).data_type().primitive_width().unwrap_or(usize::MAX);
    (0..schema.columns.fields().len()).min_by_key(width).unwrap_or(0)
}

fn window_kind(window: &WindowNode) -> WindowKind {
    if window.slide == window.size {
        WindowKind::Tumble { size: window.size, offset: window.offset }
    } else {
        WindowKind::Hop { slide: window.slide, size: window.size, offset: window.offset }
    }
}

fn no_attribute(name: &str, computed: &Computed, none_at_all: bool) -> SqlError {
    let message = match computed {
        Computed::Expr(ScalarExpr::Column { .. }) => {
            format!("column \"{name}\" is not a time attribute, so no window can be cut over it")
        }
        Computed::Expr(e) => format!("\"{name}\" is computed ({e}), so it is no longer a time attribute"),
        Computed::Window(_) => format!("\"{name}\" is a window bound of the same query level"),
    };
    SqlError::new(Kind::InvalidDefinition, message).hint(if none_at_all {
        "declare WATERMARK FOR a timestamp column of the source; a TABLE has no event time"
    } else {
        "use the watermark column itself, or window_time of a windowed query"
    })
}

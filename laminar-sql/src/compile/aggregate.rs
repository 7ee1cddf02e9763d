//! GROUP BY: projection of what is needed, exchange by key, one aggregate operator.

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction as Call, NullTreatment, Sort};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use laminar_core::aggregate::{AggregateFunction, AggregateSpec};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::{EmitMode, OperatorSpec, WindowSpec};

use super::builder::{Facts, schema};
use super::flow::{Computed, Edge, Flow, unaliased};
use super::group_window::window_of;
use super::{Compiler, Converter};
use crate::error::{Kind, SqlError};
use crate::expression::FUNCTION_VERSION;
use crate::function::WINDOW_TIME_OF;
use crate::plan::ClauseId;

/// Where a group expression ends up.
enum Group {
    Key(usize),
    Bound(Edge),
}

/// The columns that the aggregate needs, each once.
#[derive(Default)]
struct Slots {
    exprs: Vec<ScalarExpr>,
    fields: Vec<Field>,
}

impl Slots {
    fn take(&mut self, expr: ScalarExpr, name: &str, data_type: DataType, nullable: bool) -> usize {
        if let Some(found) = self.exprs.iter().position(|e| *e == expr) {
            return found;
        }
        self.exprs.push(expr);
        self.fields.push(Field::new(name, data_type, nullable));
        self.exprs.len() - 1
    }
}

/// One aggregate before its columns are numbered.
struct Wanted {
    function: AggregateFunction,
    argument: Option<usize>,
    filter: Option<usize>,
    order: Option<usize>,
    name: String,
    returns: DataType,
}

impl Compiler<'_> {
    pub(super) fn aggregate(&mut self, flow: Flow, aggregate: &Aggregate) -> Result<Flow, SqlError> {
        let input = aggregate.input.schema();
        let flow = self.prepare(flow, aggregate, input);
        let attributes = self.builder.output(flow.node).time.clone();
        let mut slots = Slots::default();
        let mut window = flow.window;
        let mut groups = Vec::new();
        let mut keys = Vec::new();
        for (i, e) in aggregate.group_expr.iter().enumerate() {
            let field = aggregate.schema.field(i);
            if let Some(edge) = flow.edge(input, e) {
                groups.push(Group::Bound(edge));
                continue;
            }
            if flow.window.is_none()
                && let Some(spec) = window_of(e, &flow, input, &attributes)
                && window.is_none_or(|w| w == spec)
            {
                window = Some(spec);
                groups.push(Group::Bound(Edge::Start));
                continue;
            }
            let expr = Converter { schema: input, resolve: &flow }.scalar(e)?;
            let slot = slots.take(expr, field.name(), field.data_type().clone(), field.is_nullable());
            groups.push(Group::Key(keys.len()));
            keys.push(slot);
        }
        let time = window.map(|w| self.slot_of_column(&flow, &mut slots, w.time));
        let ordered_by = match attributes.first() {
            Some(_) if time.is_some() => time,
            Some(column) if aggregate.aggr_expr.iter().any(takes_default_order) => {
                Some(self.slot_of_column(&flow, &mut slots, *column))
            }
            _ => None,
        };
        let mut wanted = Vec::new();
        for (j, e) in aggregate.aggr_expr.iter().enumerate() {
            let field = aggregate.schema.field(aggregate.group_expr.len() + j);
            wanted.push(self.wanted(&flow, input, e, field, ordered_by, &mut slots)?);
        }
        if slots.exprs.is_empty() {
            // count(*) alone: a batch without columns has no length.
            let column = self.builder.column(flow.node, 0);
            let field = self.builder.output(flow.node).columns.field(0).clone();
            slots.take(column, field.name(), field.data_type().clone(), field.is_nullable());
        }
        let window = window.zip(time).map(|(w, time)| WindowSpec { time, ..w });
        let node = self.builder.project(flow.node, slots.exprs, schema(slots.fields));
        let node = self.builder.exchange(node, keys.clone())?;
        self.emit_aggregate(node, keys, window, wanted, groups)
    }

    /// Assigns a pending window row by row where the aggregate cannot take it over.
    fn prepare(&mut self, flow: Flow, aggregate: &Aggregate, input: &DFSchema) -> Flow {
        let grouped = aggregate.group_expr.iter().any(|e| flow.edge(input, e).is_some());
        let inside = flow.window_inside(input, &aggregate.group_expr)
            || aggregate.aggr_expr.iter().any(|e| flow.reads_window(input, e));
        if flow.window.is_some() && (!grouped || inside) {
            flow.force(&mut self.builder, self.request.lateness)
        } else {
            flow
        }
    }

    fn slot_of_column(&self, flow: &Flow, slots: &mut Slots, column: usize) -> usize {
        let field = self.builder.output(flow.node).columns.field(column).clone();
        let expr = self.builder.column(flow.node, column);
        slots.take(expr, field.name(), field.data_type().clone(), field.is_nullable())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one aggregate call")]
    fn wanted(
        &self,
        flow: &Flow,
        input: &DFSchema,
        expr: &Expr,
        field: &Field,
        ordered_by: Option<usize>,
        slots: &mut Slots,
    ) -> Result<Wanted, SqlError> {
        let Expr::AggregateFunction(Call { func, params }) = unaliased(expr) else {
            return Err(SqlError::internal(format!("{expr} is no aggregate")));
        };
        let name = func.name();
        let mut function = function_of(name)?;
        if params.distinct {
            return Err(SqlError::unsupported(
                format!("{name}(DISTINCT …) in a continuous query"),
                "count over a SELECT DISTINCT subquery",
            ));
        }
        if !matches!(params.null_treatment, None | Some(NullTreatment::RespectNulls)) {
            return Err(SqlError::unsupported(
                "IGNORE NULLS in a continuous query",
                "use FILTER (WHERE x IS NOT NULL)",
            ));
        }
        let converter = Converter { schema: input, resolve: flow };
        let ordered = matches!(function, AggregateFunction::First | AggregateFunction::Last);
        let order = match params.order_by.as_slice() {
            [] if ordered => ordered_by,
            [] => None,
            [Sort { expr, asc, nulls_first: _ }] if ordered => {
                if !asc {
                    function = if function == AggregateFunction::First {
                        AggregateFunction::Last
                    } else {
                        AggregateFunction::First
                    };
                }
                let sort = converter.scalar(expr)?;
                let (data_type, nullable) = type_of(expr, input)?;
                Some(slots.take(sort, "order", data_type, nullable))
            }
            _ if ordered => {
                return Err(SqlError::unsupported(
                    format!("{name} with more than one ORDER BY expression"),
                    "order by one expression",
                ));
            }
            _ => {
                return Err(SqlError::unsupported(
                    format!("ORDER BY inside {name}"),
                    "its result does not depend on the order: leave it out",
                ));
            }
        };
        let argument = match params.args.as_slice() {
            [Expr::Literal(value, _)] if function == AggregateFunction::Count && !value.is_null() => None,
            [arg] => {
                let arg = native_argument(function, arg, input);
                let (data_type, nullable) = type_of(arg, input)?;
                Some(slots.take(converter.scalar(arg)?, &format!("{name}_argument"), data_type, nullable))
            }
            args => {
                return Err(SqlError::unsupported(
                    format!("{name} of {} arguments in a continuous query", args.len()),
                    "give one argument",
                ));
            }
        };
        let filter = match &params.filter {
            Some(e) => Some(slots.take(converter.scalar(e)?, "filter", DataType::Boolean, true)),
            None => None,
        };
        Ok(Wanted { function, argument, filter, order, name: field.name().clone(), returns: field.data_type().clone() })
    }

    fn emit_aggregate(
        &mut self,
        node: usize,
        keys: Vec<usize>,
        window: Option<WindowSpec>,
        wanted: Vec<Wanted>,
        groups: Vec<Group>,
    ) -> Result<Flow, SqlError> {
        let emit = self.request.emit;
        let input = self.builder.output(node).clone();
        if emit == EmitMode::OnWindowClose && window.is_none() {
            return Err(not_closable(&keys, &input));
        }
        if input.mode == ChangeMode::Changelog
            && let Some(w) = wanted.iter().find(|w| !w.function.retracts())
        {
            let by = self.builder.facts[node].updated_by.clone().unwrap_or_else(|| "its input".into());
            return Err(SqlError::unsupported(
                format!("{}() over rows that change", w.function.name()),
                format!(
                    "{by} updates its rows; count, sum and avg can take rows back, or use EMIT ON WINDOW CLOSE there"
                ),
            ));
        }
        let mut fields: Vec<Field> = keys.iter().map(|k| input.columns.field(*k).clone()).collect();
        let width = keys.len();
        let mut time: Vec<usize> = Vec::new();
        if let Some(w) = window {
            let data_type = input.columns.field(w.time).data_type().clone();
            fields.extend(["window_start", "window_end"].map(|n| Field::new(n, data_type.clone(), false)));
            time = vec![width, width + 1];
        }
        let first = fields.len();
        for w in &wanted {
            fields.push(Field::new(&w.name, w.returns.clone(), w.function != AggregateFunction::Count));
        }
        let all_keys: Vec<usize> = (0..width).collect();
        let bounds: &[usize] = if window.is_some() { &[width, width + 1] } else { &[] };
        let candidates = if bounds.is_empty() {
            vec![all_keys.clone()]
        } else {
            bounds.iter().map(|b| all_keys.iter().copied().chain([*b]).collect()).collect()
        };
        let mode = if emit == EmitMode::OnWindowClose { ChangeMode::Append } else { ChangeMode::Changelog };
        let updated_by =
            (mode == ChangeMode::Changelog).then(|| format!("the aggregate (node {})", self.builder.nodes.len()));
        let facts = Facts { keys: candidates, partition: Some(all_keys), updated_by };
        let output = StreamSchema { columns: schema(fields), mode, key: None, time };
        let has_filter = wanted.iter().any(|w| w.filter.is_some());
        let has_order = wanted.iter().any(|w| w.order.is_some());
        if window.is_none() && !keys.is_empty() {
            self.builder
                .notices
                .push("state: unbounded: each group is kept for ever; group by a window to bound it".into());
        }
        let aggregates = wanted.into_iter().map(spec).collect();
        let lateness = if window.is_some() { self.request.lateness } else { 0 };
        let operator = OperatorSpec::Aggregate { keys, window, aggregates, emit, lateness };
        let node = self.builder.push(operator, vec![node], output, facts);
        let mut claims =
            vec![ClauseId::GroupBy, ClauseId::Aggregate, ClauseId::Distinct, ClauseId::Union, ClauseId::Emit];
        if window.is_some() {
            claims.extend([ClauseId::Window, ClauseId::Lateness]);
        }
        if has_filter {
            claims.push(ClauseId::AggregateFilter);
        }
        if has_order {
            claims.push(ClauseId::AggregateOrder);
        }
        self.builder.claim(node, &claims);
        let mut columns: Vec<Computed> = groups
            .into_iter()
            .map(|g| match g {
                Group::Key(k) => self.builder.column(node, k),
                Group::Bound(Edge::Start) => self.builder.column(node, width),
                Group::Bound(Edge::End) => self.builder.column(node, width + 1),
                Group::Bound(Edge::Time) => last_moment(self.builder.column(node, width + 1)),
            })
            .map(Computed::Expr)
            .collect();
        columns.extend((first..self.builder.width(node)).map(|c| Computed::Expr(self.builder.column(node, c))));
        Ok(Flow { node, columns, window: None })
    }
}

/// `window_time` of a window's end.
fn last_moment(end: ScalarExpr) -> ScalarExpr {
    let returns = match &end {
        ScalarExpr::Column { data_type, .. } => data_type.clone(),
        _ => DataType::Null,
    };
    ScalarExpr::Call { function: WINDOW_TIME_OF.to_owned(), version: FUNCTION_VERSION, args: vec![end], returns }
}

fn spec(w: Wanted) -> AggregateSpec {
    let Wanted { function, argument, filter, order, name, returns } = w;
    AggregateSpec { function, argument, filter, order, name, returns }
}

/// Whether the time attribute orders some aggregate of a plan.
pub(super) fn orders_by_time(plan: &LogicalPlan) -> Result<bool, SqlError> {
    Ok(plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(takes_default_order)))
    })?)
}

/// Whether the time attribute orders an aggregate: first and last without ORDER BY.
fn takes_default_order(expr: &Expr) -> bool {
    let Expr::AggregateFunction(Call { func, params }) = unaliased(expr) else { return false };
    matches!(func.name(), "first_value" | "last_value") && params.order_by.is_empty()
}

fn function_of(name: &str) -> Result<AggregateFunction, SqlError> {
    Ok(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "first_value" => AggregateFunction::First,
        "last_value" => AggregateFunction::Last,
        other => {
            return Err(SqlError::unsupported(
                format!("aggregate {other} in a continuous query"),
                "count, sum, avg, min, max, first_value and last_value exist; all aggregates work in a SELECT over a view",
            ));
        }
    })
}

/// The operator sums and averages integers itself, so the cast that coercion put around them goes.
fn native_argument<'e>(function: AggregateFunction, arg: &'e Expr, schema: &DFSchema) -> &'e Expr {
    if let Expr::Cast(cast) = arg {
        let widened = match function {
            AggregateFunction::Sum => *cast.field.data_type() == DataType::Decimal128(38, 0),
            AggregateFunction::Avg => *cast.field.data_type() == DataType::Float64,
            _ => false,
        };
        if widened && type_of(&cast.expr, schema).is_ok_and(|(from, _)| from.is_signed_integer()) {
            return &cast.expr;
        }
    }
    arg
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Result<(DataType, bool), SqlError> {
    use datafusion::logical_expr::ExprSchemable;
    let (_, field) = expr.to_field(schema)?;
    let null = matches!(expr, Expr::Literal(ScalarValue::Null, _));
    Ok((field.data_type().clone(), field.is_nullable() || null))
}

fn not_closable(keys: &[usize], input: &StreamSchema) -> SqlError {
    let names: Vec<&str> = keys.iter().map(|k| input.columns.field(*k).name().as_str()).collect();
    let message = if names.is_empty() {
        "EMIT ON WINDOW CLOSE needs a window in GROUP BY".to_owned()
    } else {
        format!("EMIT ON WINDOW CLOSE needs a window in GROUP BY, not only {}", names.join(", "))
    };
    let error = SqlError::new(Kind::InvalidDefinition, message);
    if input.time.is_empty() {
        error.hint("there is no time attribute here; use EMIT ON UPDATE, or declare WATERMARK FOR a timestamp column of the source")
    } else {
        error.hint("add TUMBLE(ts, INTERVAL '1 minute') to GROUP BY, or use EMIT ON UPDATE")
    }
}

//! All functions of the dialect: DataFusion's, with ours in place of those whose meaning differs.
//!
//! Invariant: streams and ad-hoc queries see the same functions of the same meaning.

mod average;
mod checked;
mod document;
mod marker;
mod sum;
mod window_time;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, Volatility, WindowUDF};

pub(crate) use checked::checked_arithmetic;
pub use document::reference;
pub(crate) use marker::{WINDOW_END, WINDOW_START, WINDOW_TIME};
pub(crate) use window_time::NAME as WINDOW_TIME_OF;
pub use window_time::window_time_function;

/// Functions by name.
pub(crate) struct Functions {
    pub scalar: HashMap<String, Arc<ScalarUDF>>,
    pub higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    pub aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub window: HashMap<String, Arc<WindowUDF>>,
    pub planners: Vec<Arc<dyn ExprPlanner>>,
}

static ALL: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Peers' names of aggregates.
const AGGREGATE_ALIASES: &[(&str, &str)] = &[
    ("first", "first_value"),
    ("earliest", "first_value"),
    ("earliest_by_offset", "first_value"),
    ("last", "last_value"),
    ("latest", "last_value"),
    ("latest_by_offset", "last_value"),
];

/// The functions of this build.
pub(crate) fn all() -> &'static Functions {
    &ALL
}

/// The version of a scalar function that continuous queries may call; none = not one.
pub fn version(name: &str) -> Option<u16> {
    crate::expression::scalar_function(name).map(|_| crate::expression::FUNCTION_VERSION)
}

impl Functions {
    fn new() -> Self {
        let mut scalar = HashMap::new();
        for f in SessionStateDefaults::default_scalar_functions() {
            insert(&mut scalar, f.aliases(), f.name(), &f);
        }
        for f in marker::all().into_iter().chain([window_time_function()]).chain(checked::all()) {
            scalar.insert(f.name().to_owned(), f);
        }
        let mut higher_order = HashMap::new();
        for f in SessionStateDefaults::default_higher_order_functions() {
            insert(&mut higher_order, f.aliases(), f.name(), &f);
        }
        let mut aggregate = HashMap::new();
        for f in SessionStateDefaults::default_aggregate_functions() {
            insert(&mut aggregate, f.aliases(), f.name(), &f);
        }
        aggregate.insert("sum".to_owned(), sum::sum());
        for name in ["avg", "mean"] {
            aggregate.insert(name.to_owned(), average::average());
        }
        for (alias, name) in AGGREGATE_ALIASES {
            if let Some(f) = aggregate.get(*name).cloned() {
                aggregate.insert((*alias).to_owned(), f);
            }
        }
        let mut window = HashMap::new();
        for f in SessionStateDefaults::default_window_functions() {
            insert(&mut window, f.aliases(), f.name(), &f);
        }
        Self { scalar, higher_order, aggregate, window, planners: SessionStateDefaults::default_expr_planners() }
    }
}

fn insert<F>(into: &mut HashMap<String, Arc<F>>, aliases: &[String], name: &str, function: &Arc<F>) {
    for alias in aliases {
        into.insert(alias.clone(), function.clone());
    }
    into.insert(name.to_owned(), function.clone());
}

/// Whether a function gives the same result for the same arguments, always.
pub(crate) fn is_immutable(function: &ScalarUDF) -> bool {
    function.signature().volatility == Volatility::Immutable
}

//! The registry of scalar functions that continuous queries may call: DataFusion's immutable ones.
//!
//! Invariant: a stable or volatile function (`now`, `random`) is not here, so that a replay computes
//! the same rows.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::functions::all_default_functions;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::logical_expr::{ScalarUDF, Volatility};

/// The version that this build gives to the meaning of every function; raised when a DataFusion
/// upgrade changes results.
pub const FUNCTION_VERSION: u16 = 1;

static BY_NAME: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = BTreeMap::new();
    for function in all_default_functions().into_iter().chain(all_default_nested_functions()) {
        if function.signature().volatility != Volatility::Immutable {
            continue;
        }
        for alias in function.aliases() {
            functions.insert(alias.clone(), function.clone());
        }
        functions.insert(function.name().to_owned(), function);
    }
    let ours = crate::function::window_time_function();
    functions.insert(ours.name().to_owned(), ours);
    functions
});

/// The immutable function of a name or alias.
pub fn scalar_function(name: &str) -> Option<Arc<ScalarUDF>> {
    BY_NAME.get(name).cloned()
}

/// All immutable functions by name and alias, sorted.
pub fn immutable_functions() -> impl Iterator<Item = (&'static str, &'static Arc<ScalarUDF>)> {
    BY_NAME.iter().map(|(name, function)| (name.as_str(), function))
}

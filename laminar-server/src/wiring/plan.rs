//! Planning a configuration without running it.

use laminar_db::DbError;

use crate::config::Loaded;

/// Plans every statement of the deployment.
///
/// # Errors
/// The first statement that is refused.
pub async fn plan(_loaded: &Loaded) -> Result<(), DbError> {
    Ok(())
}

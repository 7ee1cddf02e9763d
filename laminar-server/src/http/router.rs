//! Which path is which resource.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use laminar_db::Database;

use super::problem::Problem;
use super::server::Limits;
use super::{checkpoint, guard, health, metrics, pipelines, rows, sinks, sources, sql};
use crate::gate::{Gate, Phase};

/// What every handler can reach.
#[derive(Clone)]
pub struct Shared {
    /// The door to the database.
    pub gate: Gate,
    /// The bounds of a request.
    pub limits: Limits,
}

impl Shared {
    /// The database, or why it cannot be asked yet.
    ///
    /// # Errors
    /// 503 while the server starts or stops.
    pub fn database(&self) -> Result<Database, Problem> {
        match self.gate.phase() {
            Phase::Ready(database) => Ok(database),
            Phase::Starting { step, .. } => {
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the server is starting: {step}"))
                    .hint("ask `/ready` until it answers 200"))
            }
            Phase::Stopping => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")),
        }
    }
}

/// All resources.
pub fn router(gate: Gate, limits: Limits) -> Router {
    let shared = Shared { gate, limits };
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/pipelines", get(pipelines::list))
        .route("/api/v1/pipelines/{name}", get(pipelines::show))
        .route("/api/v1/pipelines/{name}/pause", post(pipelines::pause))
        .route("/api/v1/pipelines/{name}/resume", post(pipelines::resume))
        .route("/api/v1/sources", get(sources::list))
        .route("/api/v1/sources/{name}/rows", post(rows::insert))
        .route("/api/v1/sinks", get(sinks::list))
        .route("/api/v1/sql", post(sql::run))
        .route("/api/v1/checkpoint", post(checkpoint::take))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(axum::middleware::from_fn_with_state(limits, guard::guard))
        .with_state(shared)
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at `{}`", uri.path()))
        .hint("the resources are /health, /ready, /metrics, /api/v1/pipelines, /api/v1/sources, /api/v1/sources/{name}/rows, /api/v1/sinks, /api/v1/sql, /api/v1/checkpoint")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let title = format!("`{}` does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, title)
}

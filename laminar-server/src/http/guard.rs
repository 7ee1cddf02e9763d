//! Who may ask: this machine only, and no web page through a browser on it.
//!
//! Without authentication the loopback address is the border. A page from elsewhere could cross it
//! in two ways: a name that resolves to 127.0.0.1 (refused by `Host`), or a form posted across
//! origins (refused by `Origin`).

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::server::Limits;

/// Checks the sender, then limits how long the answer may take.
pub async fn guard(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if let Err(problem) = check(request.headers()) {
        return problem.into_response();
    }
    match tokio::time::timeout(limits.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {:?}", limits.request_timeout))
            .hint("raise `request_timeout` in [server]")
            .into_response(),
    }
}

fn check(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(host) = headers.get(header::HOST) {
        let ours = host.to_str().ok().is_some_and(is_local);
        if !ours {
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "the Host header does not name this machine")
                .hint("ask for localhost, 127.0.0.1 or [::1]"));
        }
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let uri = origin.to_str().ok().and_then(|o| o.parse::<Uri>().ok());
        let ours = uri.as_ref().and_then(Uri::authority).is_some_and(|a| is_local(a.as_str()));
        if !ours {
            return Err(Problem::new(StatusCode::FORBIDDEN, "requests from other origins are refused"));
        }
    }
    Ok(())
}

/// Whether `host[:port]` is a name of the loopback interface.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_interface_are_local() {
        for local in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:80", "127.1.2.3"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:80", "", "[::2]", "localhost.evil"] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }
}

//! [`AwsHttp`]: this crate's transport in the form that AWS's library expects.
//!
//! Used by `aws` for AWS's token servers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use crate::provider::http::fetch::{Fetch, Method};
use crate::provider::http::transport::{Transport, TransportErrorKind};

/// For an exchange whose limits the library does not set.
const LIMIT: Duration = Duration::from_secs(15);

/// The connection to AWS's token servers.
#[derive(Clone)]
pub struct AwsHttp {
    transport: Arc<dyn Transport>,
    limit: Duration,
}

impl AwsHttp {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, limit: LIMIT }
    }
}

impl fmt::Debug for AwsHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsHttp").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl HttpClient for AwsHttp {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let limits = [settings.connect_timeout(), settings.read_timeout()];
        let limit = limits.into_iter().flatten().reduce(Duration::saturating_add).unwrap_or(LIMIT);
        SharedHttpConnector::new(Self { transport: Arc::clone(&self.transport), limit: limit.min(LIMIT) })
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { transport, limit } = self.clone();
        HttpConnectorFuture::new(async move {
            let fetch = fetch_of(&request, limit).map_err(|reason| ConnectorError::user(reason.into()))?;
            let fetched = transport.fetch(fetch).await.map_err(|error| match error.kind {
                TransportErrorKind::Connection => ConnectorError::io(error.into()),
                _ => ConnectorError::user(error.into()),
            })?;
            let status = StatusCode::try_from(fetched.status).map_err(|error| ConnectorError::user(error.into()))?;
            let mut response = HttpResponse::new(status, SdkBody::from(fetched.body));
            for (name, value) in fetched.headers {
                response.headers_mut().try_append(name, value).map_err(|error| ConnectorError::user(error.into()))?;
            }
            Ok(response)
        })
    }
}

fn fetch_of(request: &HttpRequest, limit: Duration) -> Result<Fetch, String> {
    let method = match request.method() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        other => return Err(format!("requests of the method {other} are not sent")),
    };
    let body = request.body().bytes().ok_or("a body that is a stream is not sent")?.to_vec();
    // The client counts the bytes itself.
    let headers = request.headers().iter().filter(|(name, _)| *name != "content-length");
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Fetch { method, url: request.uri().to_owned(), headers, body, limit })
}

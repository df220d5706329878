//! The part of the check that is about models: the provider that a run would ask, and every fallback.

use std::sync::Arc;

use perstack::config::Settings;
use perstack::expert::Expert;
use perstack::model_name::ModelName;
use perstack::provider::http::transport::HttpTransport;
use perstack::provider::{Provider, ProviderError, find};
use perstack::runtime::{Connector, FallbackProblem, RunError};
use tokio::runtime::Runtime;

use super::findings::{Findings, Level};
use crate::cli::failure::Failure;
use crate::cli::job_runner::async_runtime;
use crate::cli::setup::Setup;

/// Checks that a model could be asked, and every fallback. A missing key is only a warning: many CI jobs check without keys.
pub fn provider(setup: &Setup, settings: &Settings, findings: &mut Findings) {
    let transport = match HttpTransport::of_environment(setup.proxy.as_deref(), &setup.environment) {
        Ok(transport) => Arc::new(transport),
        Err(error) => return findings.add(Level::Error, "provider", Failure::usage(error).line()),
    };
    let connector = Connector {
        environment: &setup.environment,
        catalogue: &setup.catalogue,
        transport: Arc::<HttpTransport>::clone(&transport),
        is_replay: false,
    };
    let connected = match async_runtime() {
        Ok(runtime) => connect(setup, settings, &connector, &runtime, &transport),
        Err(failure) => return findings.add(Level::Error, "provider", failure.line()),
    };
    let has_key = connected.is_ok();
    match connected {
        Ok(provider) => findings.add(Level::Ok, "provider", format!("{} can be used", provider.name())),
        Err(error) => {
            let level = if error.is_about_environment() { Level::Warning } else { Level::Error };
            findings.add(level, "provider", Failure::usage(error).line());
        }
    }
    for expert in setup.project.iter().flat_map(|project| project.experts.values()) {
        for model in settings.fallbacks_of(expert) {
            fallback(expert, model, settings, &connector, has_key, findings);
        }
    }
}

/// Builds the provider that a run would ask. Nothing is sent to a model; where no key is set, a local server is looked
/// for, as a run would.
fn connect(
    setup: &Setup,
    settings: &Settings,
    connector: &Connector<'_>,
    runtime: &Runtime,
    transport: &HttpTransport,
) -> Result<Provider, ProviderError> {
    let setting = &settings.provider_setting;
    let name = runtime.block_on(find(settings.provider, setting, &setup.environment, transport))?;
    connector.provider(name, setting)
}

/// Checks one fallback. Without its key it would be of no use when it is needed; only where not even the first provider's
/// key is there, keys are kept out of the check on purpose.
fn fallback(
    expert: &Expert,
    model: &ModelName,
    settings: &Settings,
    connector: &Connector<'_>,
    has_key: bool,
    findings: &mut Findings,
) {
    let subject = format!("expert {}, fallback {model}", expert.key);
    match connector.fallback(model, settings) {
        Ok(_) => findings.add(Level::Ok, subject, "it can be used"),
        Err(problem) => {
            let is_kept_out = matches!(&problem, FallbackProblem::Provider(error) if error.is_about_environment());
            let level = if is_kept_out && !has_key { Level::Warning } else { Level::Error };
            let (expert, model) = (expert.key.clone(), model.clone());
            findings.add(level, subject, Failure::from(RunError::Fallback { expert, model, source: problem }).line());
        }
    }
}

//! Where the tools of a Run come from: its servers, the lock, or a recorded backends.

use crate::config::lockfile::{Definition, LockUse};
use crate::expert::Expert;
use crate::proxy::ProxySettings;
use crate::redact::Redactor;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::options::Options;
use crate::runtime::tools::lock;
use crate::runtime::tools::{self, ToolSource, Toolset, ToolsetOptions};
use crate::skill::mcp::Network;
use crate::tool::LONGEST_NAME;

/// Where a coordinator's tools work.
pub fn place<'a>(options: &'a Options, network: &'a Network) -> ToolsetOptions<'a> {
    ToolsetOptions {
        workspace: &options.workspace,
        environment: &options.environment,
        base_command: options.base_skill_command.as_deref(),
        max_tool_output: options.settings.max_tool_output,
        cancel: &options.cancel,
        is_delegate: false,
        person: options.person.as_ref(),
        source: ToolSource::Servers,
        network,
    }
}

/// How servers elsewhere are reached; what comes up there is kept out where `redactor` keeps things out.
pub fn network(options: &Options, redactor: &Redactor) -> Network {
    Network {
        proxy: ProxySettings::settle(options.proxy.as_deref(), &options.environment),
        logins: options.logins.clone(),
        redactor: redactor.clone(),
    }
}

/// Opens the tools of `expert` for a Run; with a lock that serves, no server is started for it, and none at all where
/// `backends` has what their calls return.
///
/// # Errors
/// As [`tools::open`], or the lock must serve and cannot.
pub async fn open_tools(
    expert: &Expert,
    options: &Options,
    backends: &JobBackends,
    is_delegate: bool,
) -> Result<Toolset, RunError> {
    let tape = &backends.tape;
    let recorded = tape.recorded_offer(&expert.key)?;
    let found = match &recorded {
        Some(_) if options.lock == LockUse::Auto => lock::LockedTools::default(),
        _ => lock::find(expert, options)?,
    };
    let source = match (&recorded, &found.lock) {
        (Some(tools), _) => ToolSource::Definitions(tools),
        (None, Some(lock)) if tape.replays_tools() => ToolSource::Definitions(lock.tools()),
        (None, Some(lock)) => ToolSource::Lock(lock),
        (None, None) => ToolSource::Servers,
    };
    let network = network(options, &backends.redactor);
    let place = ToolsetOptions { is_delegate, source, ..place(options, &network) };
    let mut toolset = tools::open(expert, &options.experts, place).await?;
    toolset.warnings.extend(found.warning);
    toolset.warnings.extend(toolset.skills.limit_names(LONGEST_NAME));
    let base_command = options.base_skill_command.as_deref();
    if Definition::new(expert, base_command).servers().next().is_some() {
        tape.record_offer(&expert.key, || tools::offer(expert, base_command, &toolset.skills));
    }
    Ok(toolset)
}

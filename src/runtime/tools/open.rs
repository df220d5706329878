//! Where the tools of a Run come from: its servers, the lock, or a recorded session.

use crate::config::lockfile::{Definition, LockUse};
use crate::expert::Expert;
use crate::proxy::ProxySettings;
use crate::redact::Redactor;
use crate::runtime::job::backends::Session;
use crate::runtime::tools::lock;
use crate::runtime::tools::{self, Inventory, Place, Source};
use crate::runtime::{Options, RunError};
use crate::skill::mcp::Network;
use crate::tool::LONGEST_NAME;

/// Where a coordinator's tools work.
pub fn place<'a>(options: &'a Options, network: &'a Network) -> Place<'a> {
    Place {
        workspace: &options.workspace,
        environment: &options.environment,
        base_command: options.base_skill_command.as_deref(),
        max_tool_output: options.settings.max_tool_output,
        cancel: &options.cancel,
        is_delegate: false,
        person: options.person.as_ref(),
        source: Source::Servers,
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
/// `session` has what their calls return.
///
/// # Errors
/// As [`tools::open`], or the lock must serve and cannot.
pub async fn open_tools(
    expert: &Expert,
    options: &Options,
    session: &Session,
    is_delegate: bool,
) -> Result<Inventory, RunError> {
    let tape = &session.tape;
    let recorded = tape.recorded_offer(&expert.key)?;
    let found = match &recorded {
        Some(_) if options.lock == LockUse::Auto => lock::Found::default(),
        _ => lock::find(expert, options)?,
    };
    let source = match (&recorded, &found.lock) {
        (Some(tools), _) => Source::Definitions(tools),
        (None, Some(lock)) if tape.replays_tools() => Source::Definitions(lock.tools()),
        (None, Some(lock)) => Source::Lock(lock),
        (None, None) => Source::Servers,
    };
    let network = network(options, &session.redactor);
    let place = Place { is_delegate, source, ..place(options, &network) };
    let mut inventory = tools::open(expert, &options.experts, place).await?;
    inventory.warnings.extend(found.warning);
    inventory.warnings.extend(inventory.skills.limit_names(LONGEST_NAME));
    let base_command = options.base_skill_command.as_deref();
    if Definition::new(expert, base_command).servers().next().is_some() {
        tape.record_offer(&expert.key, || tools::offer(expert, base_command, &inventory.skills));
    }
    Ok(inventory)
}

//! [`Egress`]: the one way of a skill's contained programs to the network, where the skill has `allowedDomains`. A proxy
//! within this process dials what the list allows, and all connections that go around it are refused.
//!
//! [`super::contain`] makes one for a skill, and the code that starts a program asks for the program's part. The list is
//! read by `domain_list`; holding system calls is left to [`super::process`].

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use self::decisions::Decisions;
use self::dial::Dialler;
use self::proxy::Proxy;
use crate::domain_list::DomainList;
use crate::proxy::{InvalidProxy, ProxySettings};
use crate::skill::process::FileLists;
#[cfg(target_os = "linux")]
use crate::skill::process::HeldCalls;

mod client;
#[cfg(target_os = "linux")]
mod connect;
mod decisions;
mod dial;
mod http;
mod proxy;
mod socks;

#[cfg(target_os = "linux")]
pub(in crate::skill) use connect::local_name;
pub use decisions::{AccessReport, NetworkAccess, RefusalMark};

/// The hosts that clients of the usual variables reach without a proxy.
const LOOPBACK: &str = "localhost,127.0.0.1,::1";

/// Texts of programs that could not look up a name: the C library's, curl's, Node's, Go's.
const UNRESOLVED: [&str; 7] = [
    "name resolution",
    "resolve host",
    "name or service not known",
    "eai_again",
    "enotfound",
    "no such host",
    "getaddrinfo",
];

/// The variables that name the proxy, besides their forms in small letters.
const VARIABLES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NPM_CONFIG_PROXY", "NPM_CONFIG_HTTPS_PROXY"];

/// The way of one skill's programs to the network.
#[derive(Debug)]
pub struct Egress {
    dialler: Arc<Dialler>,
    decisions: Arc<Decisions>,
    /// Files and folders, of which sockets may be connected to.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no calls are held there"))]
    sockets: Vec<PathBuf>,
    /// Folders in which its own sockets may be.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no calls are held there"))]
    folders: Vec<PathBuf>,
    /// Started with the first program.
    proxy: Mutex<Option<Arc<Proxy>>>,
}

impl Egress {
    /// The way of the programs of `skill` to the hosts of `list`, on through the user's own `proxies`. Of sockets of the
    /// file system, those of `files` can be connected to, and its own in folders that it may write to. Decisions go to `report`.
    ///
    /// # Errors
    /// A proxy's address that cannot be used.
    pub fn new(
        skill: &str,
        list: DomainList,
        proxies: &ProxySettings,
        files: &FileLists,
        report: AccessReport,
    ) -> Result<Self, InvalidProxy> {
        let decisions = Arc::new(Decisions::new(skill, report));
        let dialler = Arc::new(Dialler::new(list, proxies, Arc::clone(&decisions))?);
        let (sockets, folders) = (files.sockets.clone(), files.writes.clone());
        Ok(Self { dialler, decisions, sockets, folders, proxy: Mutex::default() })
    }

    /// Sets the variables by which a program finds the proxy, in the place of all others that name one.
    ///
    /// # Errors
    /// The proxy cannot be started. It has to be within a tokio runtime.
    pub fn set_variables(&self, environment: &mut BTreeMap<String, String>) -> io::Result<()> {
        let url = self.proxy()?.url();
        environment.retain(|name, _| !name.to_ascii_uppercase().contains("_PROXY"));
        for name in VARIABLES {
            environment.insert(name.to_owned(), url.clone());
            environment.insert(name.to_ascii_lowercase(), url.clone());
        }
        for (name, value) in [("NO_PROXY", LOOPBACK), ("no_proxy", LOOPBACK), ("NODE_USE_ENV_PROXY", "1")] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// The system calls of a program by which it connects, and their judge.
    ///
    /// # Errors
    /// As [`Egress::set_variables`].
    #[cfg(target_os = "linux")]
    pub fn held_calls(&self) -> io::Result<HeldCalls> {
        Ok(connect::held_calls(Arc::clone(&self.dialler), self.proxy()?.address(), &self.sockets, &self.folders))
    }

    /// The place in the list of refusals at present.
    pub fn mark(&self) -> RefusalMark {
        self.decisions.mark()
    }

    /// The refusals since then, a line each.
    pub fn refused_since(&self, mark: RefusalMark) -> Vec<String> {
        self.decisions.refused_since(mark)
    }

    /// A line on why a program that printed `output` may have failed, if it looks for names by itself.
    pub fn reason(&self, output: &str) -> Option<String> {
        let output = output.to_lowercase();
        UNRESOLVED.iter().any(|text| output.contains(text)).then(|| {
            let skill = &self.decisions.skill;
            format!(
                "network: names are looked up by the proxy alone; skill {skill} reaches its allowedDomains through the proxy \
                 in HTTPS_PROXY and HTTP_PROXY"
            )
        })
    }

    fn proxy(&self) -> io::Result<Arc<Proxy>> {
        let mut proxy = self.proxy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = proxy.as_ref().filter(|running| running.is_running()) {
            return Ok(Arc::clone(running));
        }
        let started = Arc::new(Proxy::start(Arc::clone(&self.dialler))?);
        *proxy = Some(Arc::clone(&started));
        Ok(started)
    }
}

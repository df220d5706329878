//! [`SkillSpec`]: a source of tools as an expert declares it: an MCP server, or questions to a person. `skill` opens what it
//! describes; the lock and the trust of a folder compare it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::access::SkillAccess;
use crate::tool::BASE_SKILL;

/// The longest time limit a skill may ask for, in milliseconds: ten minutes. Nothing waits longer for a server.
pub const MAX_SKILL_TIMEOUT_MS: u64 = 600_000;

/// Fields that all kinds of skill share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkillCommon {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Text added to the instruction, on how to use the skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Only these tools, unless it is empty. Unknown names are ignored.
    #[serde(default)]
    pub pick: Vec<String>,
    /// Never these tools; applied before `pick`.
    #[serde(default)]
    pub omit: Vec<String>,
    /// Tools that may safely be called again after an interruption, whatever the server declares of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idempotent: Vec<String>,
    /// The results of its tools come from strangers: issues, mail, pages of the web.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// Required variables whose values are secret, whatever they look like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Required variables whose values are no secret, whatever their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_env: Vec<String>,
    /// The files and sockets that a contained server is given besides those that all are; of the base skill, its commands.
    #[serde(default, skip_serializing_if = "SkillAccess::is_empty")]
    pub access: SkillAccess,
    /// The time that a server may take to start and to list its tools, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_ms: Option<u64>,
    /// Gives the server the workspace as its root. A server of files works on the roots in place of the folders that its
    /// own arguments name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roots: bool,
    /// The time that a server may stay silent on a call, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout_ms: Option<u64>,
}

impl SkillCommon {
    /// Returns true if the tool `name` passes `omit` and `pick`.
    pub fn admits(&self, name: &str) -> bool {
        !self.omit.iter().any(|n| n == name) && (self.pick.is_empty() || self.pick.iter().any(|n| n == name))
    }
}

/// A source of tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SkillSpec {
    /// An MCP server started as a child process.
    McpStdioSkill {
        #[serde(flatten)]
        common: SkillCommon,
        command: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package_name: Option<String>,
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        required_env: Vec<String>,
        #[serde(default)]
        lazy_init: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed_domains: Option<Vec<String>>,
    },
    /// An MCP server on the network.
    McpSseSkill {
        #[serde(flatten)]
        common: SkillCommon,
        endpoint: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed_domains: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_private_endpoint: bool,
        /// The variable that holds the token sent as `Authorization: Bearer`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authorization_env: Option<String>,
        /// The way to obtain a token by OAuth. Without it: by a person's login, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oauth: Option<OAuth>,
    },
    /// Questions to a person.
    InteractiveSkill {
        #[serde(flatten)]
        common: SkillCommon,
        tools: IndexMap<String, InteractiveTool>,
    },
}

/// The way to obtain a remote skill's token by OAuth. Secrets are named by the variables that hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth {
    #[serde(default)]
    pub grant: Grant,
    /// The client's identifier, where the authorization server knows this program already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The variable that holds the client's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id_env: Option<String>,
    /// The variable that holds the client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_env: Option<String>,
    /// The scopes to ask for; when empty, those that the server lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

impl OAuth {
    /// The variables that must have a value.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        [&self.client_id_env, &self.client_secret_env].into_iter().flatten().map(String::as_str)
    }
}

/// The kind of OAuth grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grant {
    /// A person agrees in a browser, once.
    #[default]
    AuthorizationCode,
    /// The client's own secret: nobody is asked.
    ClientCredentials,
}

/// A question that a person answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InteractiveTool {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON Schema as JSON text.
    pub input_json_schema: String,
}

impl SkillSpec {
    /// The shared fields.
    pub fn common(&self) -> &SkillCommon {
        match self {
            Self::McpStdioSkill { common, .. }
            | Self::McpSseSkill { common, .. }
            | Self::InteractiveSkill { common, .. } => common,
        }
    }

    /// The shared fields, to be changed.
    pub(crate) fn common_mut(&mut self) -> &mut SkillCommon {
        match self {
            Self::McpStdioSkill { common, .. }
            | Self::McpSseSkill { common, .. }
            | Self::InteractiveSkill { common, .. } => common,
        }
    }

    /// Returns true if it starts programs: a local server, or the commands of the base skill.
    pub fn starts_program(&self) -> bool {
        matches!(self, Self::McpStdioSkill { .. })
    }

    /// The variables whose values it is given.
    pub fn variables(&self) -> Vec<&str> {
        match self {
            Self::McpStdioSkill { required_env, .. } => required_env.iter().map(String::as_str).collect(),
            Self::McpSseSkill { authorization_env, oauth, .. } => {
                authorization_env.as_deref().into_iter().chain(oauth.iter().flat_map(OAuth::variables)).collect()
            }
            Self::InteractiveSkill { .. } => Vec::new(),
        }
    }

    /// The words that its local server is started with, as they are written; none for another kind.
    pub fn command_words(&self) -> Vec<String> {
        let Self::McpStdioSkill { command, package_name, args, .. } = self else { return Vec::new() };
        std::iter::once(command).chain(package_name).chain(args).cloned().collect()
    }

    /// The domains that its server may reach, where it names any.
    pub fn allowed_domains(&self) -> Option<&[String]> {
        match self {
            Self::McpStdioSkill { allowed_domains, .. } | Self::McpSseSkill { allowed_domains, .. } => {
                allowed_domains.as_deref()
            }
            Self::InteractiveSkill { .. } => None,
        }
    }

    /// The variables that are secret by their role: tokens, a client's secret, and those of `secretEnv`.
    pub fn secret_variables(&self) -> Vec<&str> {
        match self {
            Self::McpSseSkill { authorization_env, oauth, .. } => {
                let client = oauth.iter().filter_map(|oauth| oauth.client_secret_env.as_deref());
                authorization_env.as_deref().into_iter().chain(client).collect()
            }
            skill => skill.common().secret_env.iter().map(String::as_str).collect(),
        }
    }

    /// The required variables whose values are no secret: those of `publicEnv`.
    pub fn public_variables(&self) -> impl Iterator<Item = &str> {
        let required = self.variables();
        self.common().public_env.iter().map(String::as_str).filter(move |name| required.contains(name))
    }

    /// The base skill as an expert without a `skills` table has it.
    pub fn base() -> Self {
        Self::McpStdioSkill {
            common: SkillCommon {
                name: BASE_SKILL.to_owned(),
                description: Some("Base skill".to_owned()),
                ..SkillCommon::default()
            },
            command: "npx".to_owned(),
            package_name: None,
            args: vec!["-y".to_owned(), BASE_SKILL.to_owned()],
            required_env: Vec::new(),
            lazy_init: false,
            allowed_domains: None,
        }
    }

    /// Returns true if this is the base skill that runs within this process: the package without a pinned version.
    pub fn is_built_in_base(&self) -> bool {
        match self.base_packages().first() {
            Some(package) => *package == BASE_SKILL,
            None => self.is_base(),
        }
    }

    /// Returns true if this is the base skill, built in or of a pinned version.
    pub fn is_base(&self) -> bool {
        let Self::McpStdioSkill { common, package_name, args, .. } = self else { return false };
        !self.base_packages().is_empty() || (common.name == BASE_SKILL && package_name.is_none() && args.is_empty())
    }

    /// The words that name the base skill's package, with or without a version.
    fn base_packages(&self) -> Vec<&str> {
        let Self::McpStdioSkill { package_name, args, .. } = self else { return Vec::new() };
        let words = package_name.iter().chain(args).map(String::as_str);
        words.filter(|word| *word == BASE_SKILL || word.starts_with("@perstack/base@")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unpinned_base_package_is_built_in() {
        assert!(SkillSpec::base().is_built_in_base());
        let pinned = SkillSpec::McpStdioSkill {
            common: SkillCommon { name: BASE_SKILL.to_owned(), ..SkillCommon::default() },
            command: "npx".to_owned(),
            package_name: Some("@perstack/base@0.0.40".to_owned()),
            args: Vec::new(),
            required_env: Vec::new(),
            lazy_init: false,
            allowed_domains: None,
        };
        assert!(pinned.is_base() && !pinned.is_built_in_base());
    }
}

//! Experts and the skills they use, as `perstack.toml` declares them.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::tool::BASE_SKILL;

/// Most bytes of an expert key (the original's limit).
const MAX_KEY: usize = 511;

/// The version of an expert that names none (the original's default).
pub const DEFAULT_VERSION: &str = "1.0.0";

/// The longest time limit a skill may ask for, in milliseconds: ten minutes. Nothing waits longer for a server.
pub const MAX_SKILL_TIMEOUT_MS: u64 = 600_000;

/// A text that is no expert key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid expert key {0:?}: use lower-case letters, digits, - _ . , with an optional @scope/ before \
     and @version or @tag behind"
)]
pub struct InvalidExpertKey(String);

/// Names an expert: `name`, `@scope/name`, each with an optional `@1.2.3` or `@tag` behind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpertKey {
    text: String,
    /// Bytes of `text` that are the name, scope included.
    name_len: usize,
}

impl ExpertKey {
    /// The key of an expert whose JSON has none.
    fn of_nameless() -> Self {
        let text = String::from("expert");
        Self { name_len: text.len(), text }
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key without version or tag.
    pub fn name(&self) -> &str {
        self.text.get(..self.name_len).unwrap_or(&self.text)
    }

    /// The part behind the name's `@`: a version or a tag.
    pub fn version_or_tag(&self) -> Option<&str> {
        self.text.get(self.name_len + 1..).filter(|rest| !rest.is_empty())
    }

    /// The key without version or tag, as a key.
    #[must_use]
    pub fn without_version(&self) -> Self {
        Self { text: self.name().to_owned(), name_len: self.name_len }
    }

    /// The name of the tool by which other experts call this one: the name's part after the last `/`.
    pub fn tool_name(&self) -> &str {
        let name = self.name();
        name.rsplit_once('/').map_or(name, |(_, last)| last)
    }
}

/// `[a-z0-9][a-z0-9_.-]*`
fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.as_bytes().first().is_some_and(|b| plain(*b))
        && text.bytes().all(|b| plain(b) || matches!(b, b'_' | b'.' | b'-'))
}

/// Returns true if `text` is a semantic version: `MAJOR.MINOR.PATCH`, then optionally `-pre` and `+build`.
pub fn is_version(text: &str) -> bool {
    let label =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n.len() == 1 || !n.starts_with('0')))
        && build.is_none_or(label)
        && pre.is_none_or(label)
}

impl FromStr for ExpertKey {
    type Err = InvalidExpertKey;
    fn from_str(text: &str) -> Result<Self, InvalidExpertKey> {
        let bad = || InvalidExpertKey(text.chars().take(120).collect());
        let (scope_len, rest) = match text.strip_prefix('@') {
            Some(scoped) => {
                let (scope, rest) = scoped.split_once('/').ok_or_else(bad)?;
                if !is_word(scope) {
                    return Err(bad());
                }
                (scope.len() + 2, rest)
            }
            None => (0, text),
        };
        let (name, suffix) = rest.split_once('@').map_or((rest, None), |(n, s)| (n, Some(s)));
        let suffix_ok = suffix.is_none_or(|s| is_version(s) || is_word(s));
        if text.len() > MAX_KEY || !is_word(name) || !suffix_ok {
            return Err(bad());
        }
        Ok(Self { text: text.to_owned(), name_len: scope_len + name.len() })
    }
}

impl fmt::Display for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ExpertKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ExpertKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which expert, in checkpoints and events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpertRef {
    pub key: ExpertKey,
    pub name: String,
    pub version: String,
}

/// The capability of the model that an expert wants, of those its provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelTier {
    Low,
    Middle,
    High,
}

/// The reaction to a conversation that no longer fits the model's context window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContextLimit {
    /// The Run stops with an error, and can be resumed.
    #[default]
    Stop,
    /// The same model summarises older steps into one message, and the Run goes on.
    Summarize,
}

impl ContextLimit {
    /// Returns true if it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A declared role. [`Expert::new`] makes one in code, and its JSON needs only `instruction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "ExpertJson")]
pub struct Expert {
    pub key: ExpertKey,
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_runtime_version: Option<String>,
    /// The expert's purpose; experts that may delegate to it see this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub instruction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model_tier: Option<ModelTier>,
    /// Absent: as the configuration has it for all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<ContextLimit>,
    /// By name, in the order of the file.
    pub skills: IndexMap<String, SkillSpec>,
    pub delegates: Vec<ExpertKey>,
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_tools: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_skills: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_tool_options: Option<Value>,
}

/// An expert's JSON as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpertJson {
    key: Option<ExpertKey>,
    name: Option<String>,
    version: Option<String>,
    min_runtime_version: Option<String>,
    description: Option<String>,
    instruction: String,
    default_model_tier: Option<ModelTier>,
    context_limit: Option<ContextLimit>,
    skills: Option<IndexMap<String, SkillSpec>>,
    #[serde(default)]
    delegates: Vec<ExpertKey>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    provider_tools: Vec<String>,
    provider_skills: Option<Value>,
    provider_tool_options: Option<Value>,
}

impl From<ExpertJson> for Expert {
    fn from(json: ExpertJson) -> Self {
        let expert = Self::new(json.key.unwrap_or_else(ExpertKey::of_nameless), json.instruction);
        Self {
            name: json.name.unwrap_or(expert.name),
            version: json.version.unwrap_or(expert.version),
            min_runtime_version: json.min_runtime_version,
            description: json.description,
            default_model_tier: json.default_model_tier,
            context_limit: json.context_limit,
            skills: json.skills.unwrap_or(expert.skills),
            delegates: json.delegates,
            tags: json.tags,
            provider_tools: json.provider_tools,
            provider_skills: json.provider_skills,
            provider_tool_options: json.provider_tool_options,
            key: expert.key,
            instruction: expert.instruction,
        }
    }
}

impl Expert {
    /// An expert with the base skill, no delegates, and everything else as in a file that has only `instruction`.
    ///
    /// ```
    /// use perstack::expert::Expert;
    ///
    /// let owl = Expert {
    ///     description: Some("Knows owls.".to_owned()),
    ///     ..Expert::new("owl".parse()?, "You know owls. Answer in one sentence.")
    /// };
    /// assert_eq!((owl.name.as_str(), owl.version.as_str()), ("owl", "1.0.0"));
    /// # Ok::<(), perstack::expert::InvalidExpertKey>(())
    /// ```
    pub fn new(key: ExpertKey, instruction: impl Into<String>) -> Self {
        Self {
            name: key.as_str().to_owned(),
            key,
            version: DEFAULT_VERSION.to_owned(),
            min_runtime_version: None,
            description: None,
            instruction: instruction.into(),
            default_model_tier: None,
            context_limit: None,
            skills: IndexMap::from([(BASE_SKILL.to_owned(), SkillSpec::base())]),
            delegates: Vec::new(),
            tags: Vec::new(),
            provider_tools: Vec::new(),
            provider_skills: None,
            provider_tool_options: None,
        }
    }

    /// The short form for checkpoints and events.
    pub fn reference(&self) -> ExpertRef {
        ExpertRef { key: self.key.clone(), name: self.name.clone(), version: self.version.clone() }
    }
}

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
    /// Required variables whose values are secret, whatever they look like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Required variables whose values are no secret, whatever their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_env: Vec<String>,
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
    fn an_experts_json_needs_only_its_instruction() {
        let read = |json: serde_json::Value| serde_json::from_value::<Expert>(json).unwrap();
        let bare = read(serde_json::json!({"instruction": "Be good."}));
        assert_eq!(bare, Expert::new("expert".parse().unwrap(), "Be good."));
        assert!(bare.skills.get(BASE_SKILL).is_some_and(SkillSpec::is_built_in_base));
        let keyed = read(serde_json::json!({"key": "@a/owl", "instruction": "Be good.", "skills": {}}));
        assert_eq!((keyed.name.as_str(), keyed.skills.len()), ("@a/owl", 0));
        assert_eq!(read(serde_json::to_value(&keyed).unwrap()), keyed);
        assert!(serde_json::from_value::<Expert>(serde_json::json!({"key": "owl"})).is_err());
    }

    #[test]
    fn keys_split_into_name_and_version() {
        let parse = |t: &str| {
            t.parse::<ExpertKey>()
                .map(|k| (k.name().to_owned(), k.version_or_tag().map(str::to_owned), k.tool_name().to_owned()))
        };
        let some = |n: &str, v: Option<&str>, t: &str| Ok((n.to_owned(), v.map(str::to_owned), t.to_owned()));
        assert_eq!(parse("my-expert"), some("my-expert", None, "my-expert"));
        assert_eq!(parse("@org/my-expert"), some("@org/my-expert", None, "my-expert"));
        assert_eq!(parse("@org/e@1.2.3-rc.1+b.7"), some("@org/e", Some("1.2.3-rc.1+b.7"), "e"));
        assert_eq!(parse("e@latest"), some("e", Some("latest"), "e"));
        for bad in ["", "A", "@org", "@/x", "a/b", "a@", "a@01.2.3@x", "a b", "@a/b/c", "é"] {
            assert!(bad.parse::<ExpertKey>().is_err(), "{bad:?}");
        }
    }

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

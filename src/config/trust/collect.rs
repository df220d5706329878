//! Finds the dangerous parts of a project: where models are asked, what is sent, and what is started.

use std::path::{Component, Path, PathBuf};

use serde_json::json;

use super::programs::{self, ProgramFile};
use super::shown::{has_no_version, shown_address, shown_command};
use super::{DangerousParts, PartKind, TrustPart, hex_digest};
use crate::address::is_loopback_url;
use crate::config::{Origin, Project, Settings, SkillPlaces, agent_skills, context_files, load_agent_skills};
use crate::environment::{Environment, VendorVariables};
use crate::expert::{Expert, SkillSpec};
use crate::model_name::ModelName;
use crate::permission::Permissions;
use crate::sandbox::Sandbox;
use crate::setting::{ProviderName, ProviderSetting};

/// The provider layer's knowledge of the vendors.
#[derive(Clone, Copy)]
pub struct VendorRules<'a> {
    pub variables: &'a [VendorVariables],
    /// Returns true if an address is one of the vendor's own servers.
    pub is_own_address: fn(ProviderName, &str) -> bool,
    /// The user's own credential that a request to the vendor would carry; none if there is none, or the folder's.
    pub users_credential: fn(ProviderName, &Environment) -> Option<&'static str>,
}

/// A project and its surroundings.
pub struct TrustInputs<'a> {
    pub project: &'a Project,
    pub settings: &'a Settings,
    pub environment: &'a Environment,
    pub vendors: VendorRules<'a>,
    /// The folder that commands are started in.
    pub workspace: &'a Path,
    /// The `.env` files that were found, or that the project names; none that the command line names.
    pub env_files: &'a [PathBuf],
}

impl TrustInputs<'_> {
    /// All dangerous parts.
    pub fn parts(&self) -> DangerousParts {
        let mut parts = self.provider();
        parts.extend(self.fallback_places());
        parts.extend(self.outside_files().map(|path| {
            let text = format!("takes variables from {}", path.display());
            part(PartKind::Variable, text, &path.to_string_lossy())
        }));
        parts.extend(self.environment_files());
        parts.extend(self.exec());
        parts.extend(self.lifted_sandbox());
        for expert in self.project.experts.values() {
            parts.extend(expert.verify.as_ref().map(|verify| {
                let text = format!("runs {} before answers of expert {} count (verify)", verify.command, expert.key);
                TrustPart { experts: vec![expert.key.clone()], ..part(PartKind::Command, text, &verify.command) }
            }));
            for spec in expert.skills.values() {
                let skill = self.skill(spec).into_iter().chain(self.access(spec));
                parts.extend(skill.map(|part| TrustPart { experts: vec![expert.key.clone()], ..part }));
            }
        }
        parts.extend(self.foreign_skills());
        // Nothing dangerous needs no limits: such a folder is not asked about.
        if !parts.is_empty() {
            parts.extend(self.limits());
            parts.extend(self.context_files());
            parts.extend(self.agent_skills());
            parts.extend(self.users_skills());
        }
        DangerousParts::new(parts)
    }

    /// The `.env` files outside of the project, and those that have another name (a hard link), which may be there: they
    /// hold variables that the project did not bring along.
    fn outside_files(&self) -> impl Iterator<Item = PathBuf> {
        let root = self.root().canonicalize().ok();
        let real = self.env_files.iter().filter_map(|path| self.workspace.join(path).canonicalize().ok());
        let is_outside = move |path: &Path| root.as_ref().is_none_or(|root| !path.starts_with(root));
        real.filter(move |path| path.is_file() && (is_outside(path) || has_other_name(path)))
    }

    fn root(&self) -> &Path {
        self.project.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Returns true if a variable's value is the user's, not the project's own.
    fn is_users(&self, name: &str) -> bool {
        self.environment.users(name).is_some()
            || (self.environment.for_skill(name).is_some() && self.outside_files().next().is_some())
    }

    /// The user's own credential that a request to the vendor would carry.
    fn credential(&self, name: ProviderName) -> Option<&'static str> {
        let keys = || self.vendors.variables.iter().flat_map(|vendor| vendor.keys.iter().flatten().copied());
        let from_outside = || keys().find(|key| self.environment.folders(key).is_some() && self.is_users(key));
        (self.vendors.users_credential)(name, self.environment).or_else(from_outside)
    }

    /// The fallbacks of all experts.
    fn fallbacks(&self) -> impl Iterator<Item = &ModelName> {
        self.project.experts.values().flat_map(|expert| self.settings.fallbacks_of(expert))
    }

    /// Fallbacks that are named by a resource, which shows an account.
    fn fallback_places(&self) -> Vec<TrustPart> {
        let own = self.project.overrides.fallback.iter().flatten();
        let experts = self.project.experts.values().filter_map(|expert| expert.fallback.as_ref()).flatten();
        let mut places: Vec<&ModelName> = own.chain(experts).filter(|name| is_resource(&name.model)).collect();
        places.sort_unstable();
        places.dedup();
        let place = |name: &ModelName| {
            part(PartKind::Address, format!("asks {} models of model {}", name.provider, name.model), &name.model)
        };
        places.into_iter().map(place).collect()
    }

    /// The address of the models, its parts, and headers.
    fn provider(&self) -> Vec<TrustPart> {
        let Some(name) = self.project.overrides.provider else { return Vec::new() };
        let ProviderSetting { base_url, headers, resource_name, project, region, location, .. } =
            &self.project.provider_setting;
        let mut parts = Vec::new();
        if let Some(url) = base_url.as_deref().filter(|url| !is_loopback_url(url)) {
            let shown = shown_address(url);
            let is_own = (self.vendors.is_own_address)(name, url);
            let text = match name {
                _ if is_own => format!("asks {name} models at {shown}"),
                // Most Ollama servers are sent no key.
                ProviderName::Ollama => format!("sends prompts to {shown}"),
                _ => format!("sends prompts and your {name} key to {shown}"),
            };
            let mut address = part(PartKind::Address, text, url);
            // Another provider may have been chosen, and then the address has no use.
            let is_chosen = self.settings.provider == Some(name) && self.settings.provider_setting.base_url.is_some();
            let is_used = is_chosen || self.fallbacks().any(|model| model.provider == name);
            let credential = self.credential(name).filter(|_| is_used && !is_own);
            address.refusal = credential.map(|credential| format!("baseUrl sends {credential} to {shown}"));
            parts.push(address);
        }
        let pieces = [
            ("resourceName", resource_name),
            ("project", project),
            ("region", region),
            ("location", location),
            ("model", &self.project.overrides.model),
        ];
        for (key, value) in pieces {
            let Some(value) = value.as_deref() else { continue };
            // Only a model named by a resource shows its account.
            let is_place = match key {
                "model" => is_resource(value),
                "project" => name == ProviderName::GoogleVertex,
                _ => true,
            };
            if is_place {
                parts.push(part(PartKind::Address, format!("asks {name} models of {key} {value}"), value));
            }
        }
        for (header, value) in headers {
            parts.push(part(PartKind::Header, format!("sends the header {header} to {name}"), value));
        }
        parts
    }

    /// The models' keys and addresses that a `.env` of the folder sets.
    fn environment_files(&self) -> Vec<TrustPart> {
        let mut parts = Vec::new();
        for vendor in self.vendors.variables {
            for name in vendor.keys.iter().flatten() {
                let Some(value) = self.environment.folders(name) else { continue };
                let text = format!("brings the model key {name}: what experts read goes to its account");
                parts.push(part(PartKind::Key, text, value));
            }
            for name in &vendor.beside {
                let Some(value) = self.environment.folders(name).filter(|value| !is_loopback_url(value)) else {
                    continue;
                };
                parts.push(part(PartKind::Address, format!("sets {name} to {}", shown_address(value)), value));
            }
        }
        parts
    }

    /// The experts whose base skill runs any command.
    fn exec(&self) -> Option<TrustPart> {
        let may_run = |spec: &SkillSpec| spec.is_base() && spec.common().admits("exec");
        let experts = self.project.experts.values().filter(|expert| expert.skills.values().any(may_run));
        let names: Vec<&str> = experts.map(|expert| expert.key.as_str()).collect();
        let text = match names.as_slice() {
            [] => return None,
            [one] => format!("expert {one} may run commands (exec)"),
            more => format!("experts {} may run commands (exec)", more.join(", ")),
        };
        Some(part(PartKind::Exec, text, ""))
    }

    /// The permissions, which an agreement counts on: without them more may be called.
    fn limits(&self) -> Vec<TrustPart> {
        let line = |table: &Permissions| {
            let patterns: Vec<String> = table.patterns().map(|(list, pattern)| format!("{list} {pattern}")).collect();
            (!table.is_empty()).then(|| format!("has permissions for calls: {}", patterns.join(", ")))
        };
        let mut parts: Vec<TrustPart> =
            line(&self.project.permissions).map(|text| part(PartKind::Exec, text, "")).into_iter().collect();
        for expert in self.project.experts.values() {
            let strangers = expert.skills.values().map(SkillSpec::common).filter(|common| common.untrusted);
            let names: Vec<&str> = strangers.map(|common| common.name.as_str()).collect();
            if !names.is_empty() {
                let text = format!("expert {} takes results of {} for untrusted", expert.key, names.join(", "));
                parts.push(part(PartKind::Exec, text, ""));
            }
            if let Some(patterns) = &expert.after_untrusted {
                let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                let text = format!("expert {} may call after untrusted text: {}", expert.key, patterns.join(", "));
                parts.push(part(PartKind::Exec, text, ""));
            }
            let text = line(&expert.permissions).map(|text| format!("expert {} {text}", expert.key));
            parts.extend(text.map(|text| part(PartKind::Exec, text, "")));
        }
        parts
    }

    /// The files of the workspace that belong to instructions, by their contents. Those in folders further down are known
    /// only once something there is sent along.
    fn context_files(&self) -> Vec<TrustPart> {
        let root = self.workspace.canonicalize().unwrap_or_else(|_| self.workspace.to_owned());
        let named =
            self.project.experts.values().flat_map(|expert| expert.context.iter().map(move |name| (expert, name)));
        let file = |(expert, name): (&Expert, &String)| {
            // What is elsewhere is refused when it is read.
            let path = root.join(name).canonicalize().ok().filter(|path| path.starts_with(&root));
            let digest = path.and_then(|path| context_files::digest(&path).ok().flatten()).unwrap_or_default();
            TrustPart {
                digest,
                experts: vec![expert.key.clone()],
                ..part(PartKind::File, format!("expert {} is instructed by {name}", expert.key), "")
            }
        };
        named.map(file).collect()
    }

    /// The project's own Agent Skills, by all that their folders contain. Those of the user are the user's.
    fn agent_skills(&self) -> Vec<TrustPart> {
        let places = SkillPlaces { root: self.root(), users: &[], home: None, closed: &[] };
        let mut parts = Vec::new();
        for expert in self.project.experts.values() {
            for item in &expert.agent_skills {
                // One that is not there or not right ends a run before it begins.
                let found = load_agent_skills(std::slice::from_ref(item), places).unwrap_or_default().skills;
                parts.extend(found.into_iter().filter(|skill| skill.is_projects).map(|skill| TrustPart {
                    digest: skill.handle.as_ref().map(|folder| agent_skills::digest(folder)).unwrap_or_default(),
                    experts: vec![expert.key.clone()],
                    ..part(
                        PartKind::File,
                        format!("expert {} has the skill {} ({})", expert.key, skill.name, skill.shown),
                        "",
                    )
                }));
            }
        }
        parts
    }

    /// The user's own Agent Skills that experts may have. They are the user's, so that nothing is refused.
    fn users_skills(&self) -> Vec<TrustPart> {
        let mut parts = Vec::new();
        for expert in self.project.experts.values() {
            let items = expert.agent_skills.iter().filter(|item| agent_skills::may_be_users(item, self.root()));
            parts.extend(items.map(|item| {
                let which = if item == "*" { "all your own Agent Skills" } else { "your own Agent Skill" };
                let text = format!("lets expert {} use {which} ({item})", expert.key);
                TrustPart { experts: vec![expert.key.clone()], ..part(PartKind::Access, text, "") }
            }));
        }
        parts
    }

    /// Folders of the user's machine that the project takes Agent Skills from.
    fn foreign_skills(&self) -> Vec<TrustPart> {
        let named =
            self.project.experts.values().flat_map(|expert| expert.agent_skills.iter().map(move |it| (expert, it)));
        let outside = named.filter(|(_, item)| agent_skills::is_path(item) && !self.is_beneath_root(item));
        let part = |(expert, item): (&Expert, &String)| TrustPart {
            experts: vec![expert.key.clone()],
            refusal: Some(format!("expert {} may use the skills of {item}", expert.key)),
            ..part(PartKind::Access, format!("lets expert {} use the skills of {item}", expert.key), "")
        };
        outside.map(part).collect()
    }

    /// Containment that the file lifts. A user who names a sandbox has decided already.
    fn lifted_sandbox(&self) -> Option<TrustPart> {
        if self.project.overrides.sandbox != Some(Sandbox::Off) {
            return None;
        }
        let text = "lifts the containment of commands and servers (sandbox = \"off\")".to_owned();
        let is_decided = matches!(self.settings.origins.sandbox, Origin::Flag | Origin::Environment);
        let refusal =
            (!is_decided).then(|| "sandbox = \"off\" lifts the containment of commands and servers".to_owned());
        Some(TrustPart { refusal, ..part(PartKind::Access, text, "") })
    }

    /// The files and sockets that a skill's contained programs are given.
    fn access(&self, spec: &SkillSpec) -> Vec<TrustPart> {
        let common = spec.common();
        let reaches_out = !common.access.grants.is_empty()
            || !common.access.unix_sockets.is_empty()
            || common.access.paths().any(|path| !self.is_beneath_root(path));
        let is_refused = reaches_out && self.settings.sandbox != Sandbox::Off;
        let name = &common.name;
        let line = |line: String| TrustPart {
            refusal: is_refused.then(|| format!("skill {name} may {line}")),
            ..part(PartKind::Access, format!("lets skill {name} {line}"), "")
        };
        common.access.lines().into_iter().map(line).collect()
    }

    /// Returns true for a path that leads nowhere but beneath the root, also by links.
    fn is_beneath_root(&self, path: &str) -> bool {
        let root = self.root().canonicalize().unwrap_or_else(|_| self.root().to_owned());
        if path.starts_with('~') {
            return false;
        }
        match root.join(path).canonicalize() {
            Ok(real) => real.starts_with(&root),
            Err(_) => {
                !Path::new(path).is_absolute() && !Path::new(path).components().any(|part| part == Component::ParentDir)
            }
        }
    }

    fn skill(&self, spec: &SkillSpec) -> Vec<TrustPart> {
        match spec {
            SkillSpec::McpStdioSkill { required_env, .. } => {
                let given = spec.command_words();
                match (&self.project.base_skill_command, spec.is_built_in_base()) {
                    (Some(replaced), true) => self.command(replaced, required_env),
                    // It runs within this process.
                    (None, true) => Vec::new(),
                    (_, false) => self.command(&given, required_env),
                }
            }
            SkillSpec::McpSseSkill { endpoint, .. } => self.remote(spec, endpoint),
            SkillSpec::InteractiveSkill { .. } => Vec::new(),
        }
    }

    fn command(&self, words: &[String], required: &[String]) -> Vec<TrustPart> {
        let shown = shown_command(words);
        let published = if has_no_version(words) { " (no version: whatever is published that day)" } else { "" };
        let exact = json!([words, required]).to_string();
        let mut parts = vec![part(PartKind::Command, format!("starts {shown}{published}"), &exact)];
        if !required.is_empty() {
            let mut given =
                part(PartKind::Variable, format!("gives {} to {shown}", required.join(", ")), &required.join("\n"));
            let keys: Vec<&str> = required.iter().map(String::as_str).filter(|name| self.is_users_key(name)).collect();
            if !keys.is_empty() {
                given.refusal = Some(format!("requiredEnv gives {}, the key of a model, to {shown}", keys.join(", ")));
            }
            parts.push(given);
        }
        for ProgramFile { path, digest } in programs::files(words, self.workspace, self.root()) {
            let file = match digest {
                Some(digest) => TrustPart { digest, ..part(PartKind::File, format!("runs or reads {path}"), "") },
                None => TrustPart {
                    is_unread: true,
                    ..part(PartKind::File, format!("runs or reads {path}, {}", programs::too_large()), "")
                },
            };
            parts.push(file);
        }
        parts
    }

    fn remote(&self, spec: &SkillSpec, endpoint: &str) -> Vec<TrustPart> {
        let shown = shown_address(endpoint);
        let is_here = is_loopback_url(endpoint);
        let mut parts = Vec::new();
        if !is_here {
            parts.push(part(PartKind::Address, format!("connects to {shown}"), endpoint));
        }
        let names = spec.variables();
        if !names.is_empty() {
            let listed = names.join(", ");
            let exact = format!("{endpoint}\n{listed}");
            let mut sent = part(PartKind::Variable, format!("sends {listed} to {shown}"), &exact);
            let is_refused = |name: &&&str| self.is_users_key(name) || (!is_here && self.is_users(name));
            let refused: Vec<&str> = names.iter().filter(is_refused).copied().collect();
            if !refused.is_empty() {
                let name = &spec.common().name;
                sent.refusal = Some(format!("skill {name} sends {} to {shown}", refused.join(", ")));
            }
            parts.push(sent);
        }
        parts
    }

    /// Returns true for the name of a model's key that the user set.
    fn is_users_key(&self, name: &str) -> bool {
        let mut keys = self.vendors.variables.iter().flat_map(|vendor| vendor.keys.iter().flatten());
        keys.any(|key| *key == name) && self.is_users(name)
    }
}

/// Returns true for a model that is named by a resource of an account.
fn is_resource(model: &str) -> bool {
    model.starts_with("arn:") || model.starts_with("projects/")
}

/// Returns true for a file with more than one name (a hard link).
#[cfg(unix)]
fn has_other_name(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().is_ok_and(|metadata| metadata.nlink() > 1)
}

/// False: this system's files are not asked for their names.
#[cfg(not(unix))]
fn has_other_name(_path: &Path) -> bool {
    false
}

fn part(kind: PartKind, text: String, exact: &str) -> TrustPart {
    TrustPart { kind, text, digest: hex_digest(exact.as_bytes()), experts: Vec::new(), refusal: None, is_unread: false }
}

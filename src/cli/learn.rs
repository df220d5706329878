//! The proposals of `--learn` as text: lines of TOML for the skills of the configuration, and comments on what wants a second
//! look. `install` prints them as its result, a job at its end. What programs needed is collected by the library.

use std::fmt::Write as _;

use perstack::expert::{ExpertKey, SkillSpec};
use perstack::runtime::Options;
use perstack::skill::contain::{Learning, Proposal};

use super::render::visible;

/// Most risks of a skill that are shown.
const MAX_RISKS: usize = 20;

/// The proposals, and the number of skills that lines are proposed for.
pub struct Proposals {
    pub text: String,
    pub skills: usize,
}

impl Proposals {
    /// Makes them of everything that was learned with these options.
    pub fn new(learning: &Learning, options: &Options) -> Self {
        let mut proposals = Self { text: String::new(), skills: 0 };
        for (expert, skill, proposal) in learning.proposals() {
            let spec = options.experts.get(&expert).ok().and_then(|expert| expert.skills.get(&skill));
            if let Some(spec) = spec {
                proposals.add(&expert, spec, &proposal);
            }
        }
        // A program chooses paths and hosts, and may put into one what it was given.
        proposals.text = options.redactor().text(&proposals.text);
        proposals
    }

    fn add(&mut self, expert: &ExpertKey, spec: &SkillSpec, proposal: &Proposal) {
        let common = spec.common();
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if proposal.is_empty() && proposal.has_failed {
            self.comment(&format!(
                "expert {expert}, skill {}: it did not start, and was refused nothing that a line could give; its error has the reason",
                common.name
            ));
            return;
        }
        if proposal.is_empty() {
            let is_contained = spec.is_base() || !common.access.is_empty() || spec.allowed_domains().is_some();
            let rest = if is_contained { "" } else { "; it is contained with sandbox = \"all\"" };
            self.comment(&format!("expert {expert}, skill {}: it needed nothing more{rest}", common.name));
            return;
        }
        self.comment(&format!(
            "expert {expert}, skill {}: add to [experts.{}.skills.{}]",
            common.name,
            quoted(expert.as_str()),
            quoted(&common.name)
        ));
        let access = &common.access;
        let mut has_lines = false;
        for (key, declared, needed) in
            [("reads", &access.reads, &proposal.reads), ("writes", &access.writes, &proposal.writes)]
        {
            has_lines |= self.list(key, declared, needed, true);
        }
        let declared = spec.allowed_domains().unwrap_or_default();
        has_lines |= self.list("allowedDomains", declared, &proposal.hosts, proposal.direct.is_empty());
        self.skills += usize::from(has_lines);
        self.remarks(proposal);
    }

    /// Adds the line of a list with `needed` behind what is declared; as a comment unless `is_proposed`. Returns true if a
    /// line was added.
    fn list(&mut self, key: &str, declared: &[String], needed: &[String], is_proposed: bool) -> bool {
        let new: Vec<&String> = needed.iter().filter(|path| !declared.contains(path)).collect();
        if new.is_empty() {
            return false;
        }
        let items: Vec<String> = declared.iter().chain(new).map(|item| quoted(item)).collect();
        let line = format!("{key} = [{}]", items.join(", "));
        if is_proposed {
            // Writing to a text cannot fail.
            let _ = writeln!(self.text, "{}", visible(&line));
        } else {
            self.comment(&line);
        }
        is_proposed
    }

    fn remarks(&mut self, proposal: &Proposal) {
        if let [first, ..] = proposal.direct.as_slice() {
            self.comment(&format!(
                "no allowedDomains: it connected to {first} by itself, and with a list the only way is the proxy in HTTPS_PROXY"
            ));
        }
        for path in &proposal.missing {
            self.comment(&format!("{path} is not there yet: make it first, as what is not there cannot be given"));
        }
        for need in proposal.risky.iter().take(MAX_RISKS) {
            self.comment(&format!("not proposed: {} = [{}] ({})", need.key, quoted(&need.value), need.reason));
        }
        let more = proposal.risky.len().saturating_sub(MAX_RISKS);
        if more > 0 {
            self.comment(&format!("not proposed: {more} more of that kind"));
        }
        if proposal.is_cut {
            self.comment("there were more needs than are kept");
        }
    }

    fn comment(&mut self, text: &str) {
        let _ = writeln!(self.text, "# {}", visible(text));
    }
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

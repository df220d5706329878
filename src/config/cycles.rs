//! Delegation cycles: legal, but each round starts another Run. `check` reports them from here; nothing refuses them.

use super::Project;
use crate::expert::ExpertKey;

/// Most cycles that are reported.
const MAX_CYCLES: usize = 20;

/// The progress of the search at one expert.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    No,
    /// On the path that is being followed.
    OnPath,
    Done,
}

impl Project {
    /// The cycles of experts that delegate one to the next, and the last to the first: at least one for each group of
    /// experts that can reach each other, and at most 20 altogether.
    pub fn cycles(&self) -> Vec<Vec<ExpertKey>> {
        let mut cycles = Vec::new();
        let mut seen = vec![Seen::No; self.experts.len()];
        for start in 0..self.experts.len() {
            if seen.get(start) == Some(&Seen::No) {
                self.follow(start, &mut seen, &mut cycles);
            }
        }
        cycles
    }

    /// Follows delegations from `start`, without recursion: a file may hold a chain longer than the stack is deep.
    fn follow(&self, start: usize, seen: &mut [Seen], cycles: &mut Vec<Vec<ExpertKey>>) {
        // Experts on the path, each with the number of its delegates that were visited.
        let mut path = vec![(start, 0)];
        mark(seen, start, Seen::OnPath);
        while let Some((expert, visited)) = path.last_mut() {
            let delegate = self.experts.at(*expert).and_then(|expert| expert.delegates.get(*visited));
            let Some(delegate) = delegate else {
                mark(seen, *expert, Seen::Done);
                path.pop();
                continue;
            };
            *visited += 1;
            let Some(next) = self.experts.index_of(delegate) else { continue };
            match seen.get(next) {
                Some(Seen::No) => {
                    mark(seen, next, Seen::OnPath);
                    path.push((next, 0));
                }
                Some(Seen::OnPath) if cycles.len() < MAX_CYCLES => {
                    let cycle = path.iter().skip_while(|(expert, _)| *expert != next);
                    let keys = cycle.filter_map(|(expert, _)| Some(self.experts.at(*expert)?.key.clone()));
                    cycles.push(keys.collect());
                }
                _ => {}
            }
        }
    }
}

fn mark(seen: &mut [Seen], expert: usize, state: Seen) {
    if let Some(entry) = seen.get_mut(expert) {
        *entry = state;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::super::parse;
    use super::*;

    /// The cycles of experts named by letters: `ab` is a delegation from a to b.
    fn cycles(experts: &str, delegations: &[&str]) -> Vec<String> {
        let mut text = String::new();
        for expert in experts.chars() {
            let to = delegations.iter().filter(|d| d.starts_with(expert)).map(|d| format!("\"{}\"", &d[1..]));
            let to = to.collect::<Vec<_>>().join(",");
            let _ = write!(text, "[experts.{expert}]\ninstruction = \"i\"\ndelegates = [{to}]\n");
        }
        let cycles = parse(&text, Path::new("p.toml")).unwrap().cycles();
        cycles.iter().map(|keys| keys.iter().map(ExpertKey::as_str).collect()).collect()
    }

    #[test]
    fn cycles_are_found_and_shared_delegates_are_none() {
        assert_eq!(cycles("abcd", &["ab", "ac", "bd", "cd"]), Vec::<String>::new());
        assert_eq!(cycles("abc", &["ab", "bc", "ca"]), ["abc"]);
        assert_eq!(cycles("abc", &["ab", "bc", "cb"]), ["bc"]);
        assert_eq!(cycles("ab", &["aa", "ab"]), ["a"]);
        assert_eq!(cycles("abcd", &["ab", "ba", "cd", "dc"]), ["ab", "cd"]);
    }

    #[test]
    fn a_chain_of_any_length_is_followed() {
        let mut text = String::new();
        for n in 0..20_000 {
            let _ = write!(
                text,
                "[experts.e{n}]\ninstruction = \"i\"\nskills = {{}}\ndelegates = [\"e{}\"]\n",
                (n + 1) % 20_000
            );
        }
        let cycles = parse(&text, Path::new("p.toml")).unwrap().cycles();
        assert_eq!(cycles.iter().map(Vec::len).collect::<Vec<_>>(), [20_000]);
    }
}

//! [`ask`]: the question what to do about calls in doubt, asked on the terminal. Called by `job_runner`.

use std::io::BufRead;
use std::sync::Arc;

use perstack::runtime::InDoubt;

use super::prompt::{at_terminal, read};
use super::render::{Screen, visible};

/// The choices in the order of their numbers, as `--in-doubt` names them.
const CHOICES: [(&str, InDoubt, &str); 2] = [
    ("report", InDoubt::Report, "report them to the model, which can check before it acts again"),
    ("retry", InDoubt::Retry, "make the calls again"),
];

/// Asks, and waits as long as it takes; `None` stops the job here.
pub async fn ask(tools: Vec<String>, screen: Arc<Screen>) -> Option<InDoubt> {
    at_terminal(screen, move |input, show| converse(&tools, input, show)).await.flatten()
}

fn converse(tools: &[String], input: &mut impl BufRead, show: &dyn Fn(&str)) -> Option<InDoubt> {
    let tools: Vec<String> = tools.iter().map(|tool| visible(tool)).collect();
    show(&format!("? interrupted before a result was recorded, effect unknown: {}\n", tools.join(", ")));
    for (number, (name, _, words)) in (1..).zip(CHOICES) {
        show(&format!("  {number}  {name}: {words}\n"));
    }
    show("  (a number or a word; an empty line stops here)\n");
    loop {
        show("> ");
        match read(input, show) {
            Ok(Some(typed)) => {
                let typed = typed.trim();
                if typed.is_empty() {
                    return None;
                }
                let mut numbered = (1_usize..).zip(CHOICES);
                let chosen = numbered.find(|(number, (name, ..))| typed == number.to_string() || typed == *name);
                match chosen {
                    Some((_, (_, choice, _))) => return Some(choice),
                    None => show("  1, 2, report or retry: once more\n"),
                }
            }
            Ok(None) => {
                show("\n");
                return None;
            }
            Err(problem) => show(&format!("  {problem}: once more\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(typed: &str) -> Option<InDoubt> {
        converse(&["exec".to_owned()], &mut typed.as_bytes(), &|_| {})
    }

    #[test]
    fn a_choice_is_taken_by_number_or_word() {
        assert_eq!(chosen("1\n"), Some(InDoubt::Report));
        assert_eq!(chosen(" retry \n"), Some(InDoubt::Retry));
        assert_eq!(chosen("perhaps\n3\n2\n"), Some(InDoubt::Retry));
    }

    #[test]
    fn nothing_chosen_stops() {
        assert_eq!((chosen("\n"), chosen("")), (None, None));
    }
}

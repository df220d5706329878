//! Limits: a folder tightens its user's own and lifts none, and a job starts no delegates without end.

use serde_json::json;

use crate::support::{Answer, Provider, Request, Test, call};
use crate::trust::{attack, neighbour};

/// A librarian beside a user's own configuration, who looks around for ever.
fn looking(users: &str, folders: &str) -> Test {
    let test = Test::new().toml(&format!("{folders}[experts.librarian]\ninstruction = \"You find things.\"\n"));
    let test = test.provider(Provider::Anthropic).env("PERSTACK_CONFIG_DIR", "settings");
    let look = |n| Answer::calls([call(&format!("c{n}"), "listDirectory", json!({"path": "."}))]);
    test.file("settings/config.toml", users).answers((0..6).map(look)).may_leave_answers()
}

#[test]
fn a_budget_of_the_folder_is_below_the_users_own() {
    attack("a budget in perstack.toml above the user's own");
    neighbour("a budget in perstack.toml below the user's own");
    let pairs = [
        ("maxSteps = 2\n", "maxSteps = 50\n", "maxSteps", 3),
        ("maxTotalSteps = 2\n", "maxTotalSteps = 50\n", "maxTotalSteps", 3),
        ("maxToolRepetitions = 2\n", "maxToolRepetitions = 50\n", "maxToolRepetitions", 5),
        ("maxTokens = 1\n", "maxTokens = 50000000\n", "maxTokens", 5),
        ("maxCost = 0.000001\n", "maxCost = 50.0\n", "maxCost", 5),
    ];
    for (users, folders, key, code) in pairs {
        let test = looking(users, folders);
        let ran = test.run(["run", "librarian", "q"]).assert_code(code);
        let warning = format!("ignored {key}: above those of your config.toml");
        assert!(ran.stderr.contains(&warning), "{key}: {}", ran.stderr);
        assert!(test.server().requests().len() <= 2, "{key}");
        assert!(test.run(["check"]).stdout.contains(&warning), "{key}");
        // The folder's own is the tighter one now.
        let ran = looking(folders, users).run(["run", "librarian", "q"]).assert_code(code);
        assert!(!ran.stderr.contains("ignored"), "{key}: {}", ran.stderr);
    }
}

#[test]
fn a_folders_budget_holds_where_it_is_trusted_and_a_flag_everywhere() {
    neighbour("a budget of a trusted folder, or of the command line, above the user's default");
    let (users, folders) = ("maxSteps = 1\n", "maxSteps = 3\n");
    let steps = |test: Test, option: &str| {
        test.run(["run", "librarian", "q", option]).assert_code(3);
        test.server().requests().len()
    };
    assert_eq!(steps(looking(users, folders), "--quiet"), 1);
    assert_eq!(steps(looking(users, folders), "--trust"), 3);
    assert_eq!(steps(looking(users, folders), "--max-steps=2"), 2);
    assert_eq!(steps(looking(users, folders).env("PERSTACK_MAX_STEPS", "2"), "--quiet"), 2);
    assert_eq!(steps(looking("", folders), "--quiet"), 3);
}

#[test]
fn a_folder_lets_no_more_delegates_work_at_the_same_time_than_its_user() {
    attack("maxParallelDelegates in perstack.toml above the user's own");
    neighbour("maxParallelDelegates in perstack.toml below the user's own, or in a folder that is trusted");
    let shown = |users: u64, folders: u64, trust: &str| {
        let file = |most: u64| format!("maxParallelDelegates = {most}\n");
        let test = looking(&file(users), &file(folders)).env("PERSTACK_TRUST", trust);
        let ran = test.run(["info", "--json"]).assert_code(0);
        let delegates = ran.object()["parallelDelegates"].clone();
        (delegates["most"].as_u64().unwrap(), delegates["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(shown(4, 64, "0"), (4, "user".to_owned()));
    assert_eq!(shown(64, 4, "0"), (4, "file".to_owned()));
    assert_eq!(shown(4, 64, "1"), (64, "file".to_owned()));
    let ran = looking("maxParallelDelegates = 4\n", "maxParallelDelegates = 64\n").run(["check"]).assert_code(0);
    let warning = "ignored maxParallelDelegates: above those of your config.toml";
    assert!(ran.stdout.contains(warning), "{}", ran.stdout);
}

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

/// A lead who hands out `tasks` tasks in each of its turns but the last, and workers who do them.
fn team(toml: &str, turns: usize, tasks: usize) -> Test {
    let test = Test::new().toml(&format!("{toml}{TEAM}")).provider(Provider::Anthropic);
    let leads = |request: &Request| request.contains("You lead.");
    let task = |turn: usize, n: usize| call(&format!("d{turn}-{n}"), "worker", json!({"query": "Work."}));
    for turn in 0..turns {
        let calls: Vec<_> = (0..tasks).map(|n| task(turn, n)).collect();
        test.server().script([Answer::calls(calls).when(leads), Answer::text("All done.").when(leads)]);
    }
    test.server().script((0..turns * tasks).map(|_| Answer::text("Done.").when(move |request| !leads(request))));
    test.may_leave_answers()
}

/// The results that the lead saw last, refused or not.
fn refused(test: &Test) -> Vec<bool> {
    let requests = test.server().requests();
    let last = requests.iter().rev().find(|request| request.contains("You lead.")).unwrap().results();
    last.iter().map(|(_, text)| text.contains("(maxDelegates)")).collect()
}

#[test]
fn a_job_starts_only_so_many_delegates() {
    attack("delegates without end");
    neighbour("as many delegates as the limit allows");
    for (toml, variable, flag) in
        [("maxDelegates = 2\n", "", "--quiet"), ("", "2", "--quiet"), ("maxDelegates = 9\n", "9", "--max-delegates=2")]
    {
        let test = team(toml, 1, 3).env("PERSTACK_MAX_DELEGATES", variable);
        assert_eq!(test.run(["run", "lead", "Go.", flag]).assert_code(0).stdout, "All done.\n");
        assert_eq!(refused(&test), [false, false, true], "{toml}{variable}{flag}");
        assert_eq!(test.storage().runs().len(), 4, "two runs of the lead, and two workers");
    }
    let test = team("maxDelegates = 3\n", 1, 3);
    test.run(["run", "lead", "Go."]).assert_code(0);
    assert_eq!(refused(&test), [false; 3]);
    for toml in ["maxDelegates = 0\n", "maxDelegates = -1\n", "maxDelegates = \"many\"\n"] {
        let ran = Test::new().toml(&format!("{toml}{TEAM}")).run(["check"]).assert_code(2);
        assert!(ran.stdout.contains("maxDelegates: expected"), "{}", ran.stdout);
    }
}

#[test]
fn the_count_of_delegates_survives_a_resumption() {
    attack("delegates that are counted anew after a resumption");
    neighbour("a resumption with a higher limit");
    let test = team("maxDelegates = 3\n", 3, 2);
    test.run(["run", "lead", "Go."]).assert_code(0);
    assert_eq!(refused(&test), [false, false]);
    test.run(["resume", "latest", "More."]).assert_code(0);
    assert_eq!(refused(&test)[2..], [false, true]);
    // The limit is the job's, unless a flag sets another.
    let ran = test.run(["resume", "latest", "More.", "--max-delegates", "5"]).assert_code(0);
    assert_eq!(refused(&test)[4..], [false, false], "{}", ran.stderr);
}

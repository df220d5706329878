//! The same jobs in an object store: killed and followed by another machine, paused at any request and woken beside their
//! successor, and with requests that are lost, doubled or late.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{Job, flock, owls};
use crate::support::crash::{Chance, Story, assert_consistent, effects_of};
use crate::support::owners::Owners;
use crate::support::process::Running;
use crate::support::s3::{Fate, S3};
use crate::support::{Gate, Provider, Test, length};

/// How many kills the test of them makes at least, unless `PERSTACK_CRASH_KILLS` has another number.
const KILLS: usize = 12;

/// A process is paused at each so many of its requests, unless `PERSTACK_CRASH_PAUSES` has another number.
const PAUSES: usize = 7;

/// How many jobs are disturbed at the same time. They wait for leases more than they compute.
const SIDE_BY_SIDE: usize = 8;

/// The shortest there is.
const LEASE: Duration = Duration::from_secs(3);

/// A killed process has come to one of its first puts; some five of them come before its job goes on.
const PUTS: u64 = 24;

/// How often something is looked for.
const GLANCE: Duration = Duration::from_millis(1);

/// A job in an object store, and as many machines as are needed.
struct Place {
    job: &'static Job,
    test: Test,
    s3: S3,
    /// What the model's answers wait for.
    hold: Arc<Mutex<Gate>>,
    machines: AtomicUsize,
    owners: Arc<Owners>,
}

/// A request that waits at the store's door.
struct Door {
    is_reached: Arc<AtomicBool>,
    opens: Gate,
}

impl Place {
    fn new(job: &'static Job) -> Self {
        let s3 = S3::start();
        let test = s3.at(job.place(Provider::Anthropic)).env("PERSTACK_STORAGE", "s3://owls/nightly");
        let test = test.env("PERSTACK_LEASE", &format!("{}s", LEASE.as_secs()));
        let (hold, owners) = (Arc::new(Mutex::new(Gate::new())), Arc::new(Owners::default()));
        hold.lock().unwrap().open();
        test.server().answer_by({
            let (hold, owners, model) = (Arc::clone(&hold), Arc::clone(&owners), job.model);
            move |request| {
                owners.note_question();
                model(request).delay(&hold.lock().unwrap())
            }
        });
        Self { job, test, s3, hold, machines: AtomicUsize::new(0), owners }
    }

    /// Starts a command on a machine that has no working copy.
    fn machine(&self, words: &[&str], takes_over: bool) -> Running {
        let number = self.machines.fetch_add(1, Ordering::SeqCst);
        let cache = self.test.root().join(format!("machine-{number}"));
        fs::create_dir_all(&cache).unwrap();
        let mut command = Command::new("env");
        command.arg(format!("XDG_CACHE_HOME={}", cache.display()));
        command.args(takes_over.then_some("PERSTACK_TAKE_OVER=1")).arg(self.test.binary()).args(words);
        self.test.start(command)
    }

    /// Begins the job, or goes on with it.
    fn go_on(&self, takes_over: bool) -> Running {
        self.machine(&[&self.job.words[..], &["--job-id", "nest", "--ensure"]].concat(), takes_over)
    }

    /// Has a request wait, before or after it is done: of those of a method, or of all. Owners are noted.
    fn door_at(&self, method: Option<&'static str>, number: usize, is_done: bool) -> Door {
        let door = Door { is_reached: Arc::default(), opens: Gate::new() };
        let (is_reached, opens) = (Arc::clone(&door.is_reached), door.opens.clone());
        let owners = Arc::clone(&self.owners);
        let come = AtomicUsize::new(0);
        self.s3.tap(move |passing| {
            owners.note(passing);
            let counts =
                passing.status.is_some() == is_done && method.is_none_or(|method| passing.request.method == method);
            if counts && come.fetch_add(1, Ordering::SeqCst) + 1 == number {
                is_reached.store(true, Ordering::SeqCst);
                opens.pass();
            }
            Fate::Passes
        });
        door
    }

    /// Lets all requests pass.
    fn open_all_doors(&self) {
        let owners = Arc::clone(&self.owners);
        self.s3.tap(move |passing| {
            owners.note(passing);
            Fate::Passes
        });
    }

    /// Fails unless the job has completed as if undisturbed, but for the calls in doubt, which are returned.
    #[track_caller]
    fn assert_completed(&self, expected: &[Story]) -> Vec<String> {
        self.machine(&["job", "verify", "nest"], false).finish().assert_code(0);
        let reader = self.test.root().join(format!("machine-{}", self.machines.load(Ordering::SeqCst) - 1));
        let copy = fs::read_dir(reader.join("perstack/stores")).unwrap().next().unwrap().unwrap().path();
        // Where the tests of folders look.
        fs::create_dir_all(self.test.workspace().join("perstack")).unwrap();
        fs::rename(copy.join("jobs"), self.test.workspace().join("perstack/jobs")).unwrap();
        assert_consistent(&self.test, self.job.effects);
        self.assert_nothing_follows_a_seal();
        let stories = Story::all(&self.test);
        let in_doubt = Story::all_in_doubt(&stories);
        for id in self.job.effects {
            let times = effects_of(&self.test, id);
            assert!(times == 1 || (times == 0 && in_doubt.contains(id)), "{id} took effect {times} times");
        }
        Story::assert_all(&stories, expected);
        in_doubt.into_iter().map(str::to_owned).collect()
    }

    /// Fails if a segment has an epoch before that of an earlier one.
    #[track_caller]
    fn assert_nothing_follows_a_seal(&self) {
        let folder = "nightly/jobs/nest/segments/";
        let keys = self.s3.keys().into_iter();
        let mut segments: Vec<(u64, u64)> = keys
            .filter_map(|key| {
                let number = key.strip_prefix(folder)?.parse().unwrap();
                let bytes = self.s3.object(&key).unwrap();
                let head = bytes.split(|byte| *byte == b'\n').next().unwrap();
                Some((number, serde_json::from_slice::<Value>(head).unwrap()["epoch"].as_u64().unwrap()))
            })
            .collect();
        segments.sort_unstable();
        assert!(segments.is_sorted_by_key(|(_, epoch)| *epoch), "{segments:?}");
    }
}

/// Does all pieces of work, some side by side; results in no order.
fn side_by_side<T: Send, R: Send>(pieces: impl Iterator<Item = T> + Send, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let pieces = Mutex::new(pieces);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            let (pieces, work, done) = (&pieces, &work, done.clone());
            scope.spawn(move || {
                loop {
                    let piece = pieces.lock().unwrap().next();
                    let Some(piece) = piece else { return };
                    done.send(work(piece)).unwrap();
                }
            });
        }
    });
    drop(done);
    results.into_iter().collect()
}

/// Shown with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the figures of a series are its result")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// What the kills of one thread came to.
#[derive(Default)]
struct Tally {
    jobs: usize,
    kills: usize,
    in_doubt: usize,
    /// From a kill to the next question to the model, where that was not killed before.
    gaps: Vec<Duration>,
}

/// Kills one job until it has completed.
fn kill_until_complete(job: &'static Job, chance: &mut Chance, expected: &[Story], tally: &mut Tally) {
    let place = Place::new(job);
    let mut killed: Option<Instant> = None;
    loop {
        // At its puts: what it reads grows with the kills before.
        let (number, is_done) = (usize::try_from(chance.below(PUTS)).unwrap() + 1, chance.below(2) == 1);
        let door = place.door_at(Some("PUT"), number, is_done);
        let owners = place.owners.count();
        let running = place.go_on(false);
        let is_at_work = || place.owners.is_at_work_after(owners);
        // The door may be before the first question.
        running.poll(GLANCE, || door.is_reached.load(Ordering::SeqCst) || is_at_work());
        tally.gaps.extend(killed.filter(|_| is_at_work()).map(|killed| killed.elapsed()));
        running.poll(GLANCE, || door.is_reached.load(Ordering::SeqCst));
        running.kill();
        let now = Instant::now();
        let ran = running.finish();
        door.opens.open();
        if ran.signal != Some(Signal::KILL.as_raw()) {
            assert_eq!(ran.assert_code(0).stdout, format!("{}\n", job.answer));
            break;
        }
        killed = Some(now);
        tally.kills += 1;
    }
    tally.jobs += 1;
    tally.in_doubt += place.assert_completed(expected).len();
}

#[test]
fn killed_at_any_put_another_machine_completes_it_by_the_store_alone() {
    let wanted = length("PERSTACK_CRASH_KILLS", KILLS);
    let kills = AtomicUsize::new(0);
    let expected = [&owls::JOB, &flock::JOB].map(|job| (job, job.undisturbed(Provider::Anthropic)));
    let tallies = side_by_side(0..SIDE_BY_SIDE as u64, |seed| {
        let (mut chance, mut tally) = (Chance(seed), Tally::default());
        while kills.load(Ordering::SeqCst) < wanted {
            let (job, expected) = &expected[tally.jobs % expected.len()];
            let before = tally.kills;
            kill_until_complete(job, &mut chance, expected, &mut tally);
            kills.fetch_add(tally.kills - before, Ordering::SeqCst);
        }
        tally
    });
    let mut gaps: Vec<Duration> = tallies.iter().flat_map(|tally| tally.gaps.clone()).collect();
    gaps.sort();
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    print(&format!(
        "{} jobs, {} kills, lease {LEASE:?}: at work again after {:.2?} (median), {:.2?} (longest); {} calls in doubt, \
         mismatches 0",
        sum(|tally| tally.jobs),
        sum(|tally| tally.kills),
        gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
        gaps.last().copied().unwrap_or_default(),
        sum(|tally| tally.in_doubt),
    ));
}

/// How a process is kept from going on.
#[derive(Debug, Clone, Copy)]
enum Pause {
    /// It is stopped for longer than its lease.
    BeyondItsLease,
    /// It is stopped, and another takes over within its lease.
    Stopped,
    /// It goes on, but one of its requests does not.
    RequestHeld,
}

impl Pause {
    const ALL: [Self; 3] = [Self::BeyondItsLease, Self::Stopped, Self::RequestHeld];
}

/// Pauses the process at a request, has another go on, and lets the first go on beside it. Returns the calls in doubt; `None`
/// if the job has no such request.
fn pause_at(job: &'static Job, expected: &[Story], number: usize, is_done: bool, pause: Pause) -> Option<usize> {
    let place = Place::new(job);
    let door = place.door_at(None, number, is_done);
    let first = place.go_on(false);
    first.poll(GLANCE, || door.is_reached.load(Ordering::SeqCst));
    if !door.is_reached.load(Ordering::SeqCst) {
        first.finish().assert_code(0);
        return None;
    }
    let is_held = matches!(pause, Pause::RequestHeld);
    if !is_held {
        first.signal(Signal::STOP);
        door.opens.open();
    }
    let held = Gate::new();
    *place.hold.lock().unwrap() = held.clone();
    let owners = place.owners.count();
    place.open_all_doors();
    let second = place.go_on(!matches!(pause, Pause::BeyondItsLease));
    // It is in mid-job, or it has found the job complete.
    second.poll(GLANCE, || place.owners.is_at_work_after(owners));
    if is_held {
        door.opens.open();
    } else {
        first.signal(Signal::CONT);
    }
    let case = format!("request {number}, is done: {is_done}, {pause:?}");
    let ran = first.finish();
    let was_complete = !place.owners.is_at_work_after(owners);
    let expects: &[i32] = if was_complete { &[0, 6] } else { &[6] };
    assert!(ran.code.is_some_and(|code| expects.contains(&code)), "{case}: {:?} {}", ran.code, ran.stderr);
    held.open();
    assert_eq!(second.finish().assert_code(0).stdout, format!("{}\n", job.answer), "{case}");
    Some(place.assert_completed(expected).len())
}

#[test]
fn paused_at_any_request_and_woken_beside_its_successor_it_records_nothing_more() {
    let every = length("PERSTACK_CRASH_PAUSES", PAUSES).max(1);
    for job in [&owls::JOB, &flock::JOB] {
        let expected = job.undisturbed(Provider::Anthropic);
        let (ends, in_doubt, cases) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0), AtomicUsize::new(0));
        let numbers = (1..).flat_map(|number| [(number, false), (number, true)]).enumerate();
        let pieces = numbers.flat_map(|(at, piece)| Pause::ALL.map(|pause| (at, piece, pause)));
        // Another kind of pause at each place, where not all are tried.
        let chosen = pieces.enumerate().filter(|(n, _)| n % every == 0).map(|(_, piece)| piece);
        side_by_side(
            chosen.take_while(|(at, ..)| *at < ends.load(Ordering::SeqCst)),
            |(at, (number, is_done), pause)| match pause_at(job, &expected, number, is_done, pause) {
                Some(doubts) => {
                    in_doubt.fetch_add(doubts, Ordering::SeqCst);
                    cases.fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    ends.fetch_min(at, Ordering::SeqCst);
                }
            },
        );
        let (cases, in_doubt) = (cases.into_inner(), in_doubt.into_inner());
        print(&format!("{}: {cases} pauses, {in_doubt} calls in doubt, mismatches 0", job.words[2]));
        assert!(cases > 0);
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Dropped,
    AnswerLost,
    Doubled,
    Late,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Dropped, Self::AnswerLost, Self::Doubled, Self::Late];

    fn fate(self, is_done: bool) -> Fate {
        match (self, is_done) {
            (Self::Dropped, false) | (Self::AnswerLost, true) => Fate::CutOff,
            (Self::Doubled, false) => Fate::Doubled,
            (Self::Late, false) => {
                thread::sleep(Duration::from_millis(100));
                Fate::Passes
            }
            (_, _) => Fate::Passes,
        }
    }
}

#[test]
fn whichever_requests_are_lost_doubled_or_late_it_completes_or_stops_and_goes_on_elsewhere() {
    /// Of the requests, every one to every sixth.
    const RAREST: usize = 6;
    let job = &owls::JOB;
    let expected = job.undisturbed(Provider::Anthropic);
    let cases = Fault::ALL.into_iter().flat_map(|fault| (1..=RAREST).map(move |every| (fault, every)));
    let rows = side_by_side(cases, |(fault, every)| {
        let place = Place::new(job);
        place.s3.tap(move |passing| match passing.number % every {
            0 => fault.fate(passing.status.is_some()),
            _ => Fate::Passes,
        });
        let ran = place.go_on(false).finish();
        let completed = ran.code == Some(0);
        if !completed {
            ran.assert_code(6).assert_stderr(["error: "]);
        }
        place.open_all_doors();
        assert_eq!(place.go_on(false).finish().assert_code(0).stdout, format!("{}\n", job.answer));
        let in_doubt = place.assert_completed(&expected).len();
        (fault, every, completed, in_doubt)
    });
    for (fault, every, completed, in_doubt) in rows {
        let end = if completed { "completed" } else { "stopped, and completed elsewhere" };
        print(&format!("every {every}. request {fault:?}: {end}, {in_doubt} calls in doubt, mismatches 0"));
        // What is done is done, however often it is asked for or how late it is.
        assert!(completed || !matches!(fault, Fault::Doubled | Fault::Late), "{fault:?} {every}");
    }
}

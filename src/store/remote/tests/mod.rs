//! Storages in an object store: jobs that go from machine to machine, owners that are silent, stores that lose answers.

mod account;
mod fence;
mod scripted;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use tempfile::TempDir;

use self::scripted::{Fault, Scripted};
use super::segment::Segment;
use super::{Bucket, RemoteOptions, RemoteStorage, working_copy};
use crate::fact::Fact;
use crate::id::{JobId, RunId};
use crate::job::{Job, JobStatus};
use crate::store::tests::{fact, facts, job, setting};
use crate::store::{JobStore, LogReader, RunStore, Store, StoreError};

/// A lease that no test waits for.
const LONG: Duration = Duration::from_mins(10);

/// One machine.
struct Machine {
    _folder: TempDir,
    store: Store,
    remote: RemoteStorage,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    fn new(bucket: &Arc<dyn Bucket>, name: &str, lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let options = RemoteOptions {
            folder: folder.path().to_owned(),
            lease,
            worker: name.to_owned(),
            nonce: format!("nonce of {name}"),
            takes_over: false,
            notice: {
                let notices = Arc::clone(&notices);
                Arc::new(move |notice: &str| notices.lock().unwrap().push(notice.to_owned()))
            },
        };
        let remote = RemoteStorage::new("s3://owls/nightly".parse().unwrap(), Arc::clone(bucket), options).unwrap();
        let store = Store::at(folder.path(), Some(&remote));
        Self { _folder: folder, store, remote, notices }
    }

    fn create(&self) -> (JobStore, RunStore) {
        let job = self.store.create_job(&job("j1", 1)).unwrap();
        let run = job.create_run(&setting("j1", "r1", 1)).unwrap();
        (job, run)
    }

    fn reopen(&self) -> (JobStore, RunStore) {
        let job = self.store.open_job(&id()).unwrap();
        let end = self.store.open_log(&id(), &run_id()).unwrap().read_to_end().unwrap();
        let run = job.open_run_at(&run_id(), end).unwrap();
        (job, run)
    }

    /// Its thread stands still until what is returned is dropped: nothing is renewed.
    fn stop(&self) -> mpsc::Sender<()> {
        let (go_on, gate) = mpsc::channel();
        self.remote.shared.bucket.spawn(async move {
            let _ = gate.recv();
        });
        go_on
    }

    fn facts(&self) -> Vec<Fact> {
        LogReader::open(&self.store.layout().log(&id(), &run_id())).unwrap().read_all().unwrap()
    }
}

fn bytes(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn id() -> JobId {
    "j1".parse().unwrap()
}

fn run_id() -> RunId {
    "r1".parse().unwrap()
}

fn memory() -> Arc<dyn Bucket> {
    Arc::new(InMemory::new())
}

fn append(run: &mut RunStore, at: u64) -> Result<(), StoreError> {
    run.append(&fact(at))?;
    run.flush().perform()
}

#[test]
fn a_job_goes_on_at_another_machine_with_the_same_bytes() {
    let bucket = memory();
    let (a, b) = (Machine::new(&bucket, "a", LONG), Machine::new(&bucket, "b", LONG));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    append(&mut run, 2).unwrap();
    drop(run);
    held.write_job(&job("j1", 7)).unwrap();
    drop(held);
    b.remote.fetch(None).unwrap();
    assert_eq!(b.facts(), facts(2));
    let (here, there) = (a.store.layout(), b.store.layout());
    for (here, there) in [
        (here.job_file(&id()), there.job_file(&id())),
        (here.setting(&id(), &run_id()), there.setting(&id(), &run_id())),
        (here.log(&id(), &run_id()), there.log(&id(), &run_id())),
    ] {
        assert_eq!(bytes(here), bytes(there));
    }
    let (held, mut run) = b.reopen();
    append(&mut run, 3).unwrap();
    drop((held, run));
    // And back again, over the copy that is there.
    let (held, mut run) = a.reopen();
    append(&mut run, 4).unwrap();
    drop((held, run));
    assert_eq!(a.facts(), facts(4));
    b.remote.fetch_job(&id()).unwrap();
    assert_eq!(b.facts(), facts(4));
}

#[test]
fn what_was_not_handed_over_is_not_there_for_anybody() {
    let bucket = memory();
    let (a, b) = (Machine::new(&bucket, "a", Duration::from_millis(900)), Machine::new(&bucket, "b", LONG));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    // Written, not flushed: as a process is killed that never had an answer.
    run.append(&fact(2)).unwrap();
    std::mem::forget((held, run));
    let _stopped = a.stop();
    let (held, mut run) = b.reopen();
    assert_eq!(b.facts(), facts(1));
    append(&mut run, 9).unwrap();
    drop((held, run));
    let c = Machine::new(&bucket, "c", LONG);
    c.remote.fetch(None).unwrap();
    assert_eq!(c.facts(), [fact(1), fact(9)]);
}

#[test]
fn a_copy_whose_process_was_killed_is_read_anew() {
    let bucket = memory();
    let a = Machine::new(&bucket, "a", Duration::from_millis(900));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    run.append(&fact(2)).unwrap();
    let log = a.store.layout().log(&id(), &run_id());
    // As a kill leaves it, and an error: the copy has more than was handed over.
    drop((held, run));
    assert_eq!(LogReader::open(&log).unwrap().read_all().unwrap(), facts(2));
    a.remote.fetch(None).unwrap();
    assert_eq!(a.facts(), facts(1));
}

#[test]
fn a_job_that_somebody_works_on_is_not_taken_and_a_silent_one_is() {
    let bucket = memory();
    // A renewal is seen after two seconds; a busy machine has four more.
    let a = Machine::new(&bucket, "machine a", Duration::from_secs(6));
    let b = Machine::new(&bucket, "b", LONG);
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    b.remote.fetch(None).unwrap();
    let error = b.store.open_job(&id()).err().unwrap();
    assert_eq!(error.to_string(), "job j1 is being worked on by machine a");
    assert!(error.is_locked() && b.notices.lock().unwrap()[0].contains("worked on by machine a"));
    b.remote.fetch(None).unwrap();
    assert!(b.store.check_unheld(&id()).is_err(), "readers see it too");
    held.write_job(&Job { status: JobStatus::Completed, ..job("j1", 1) }).unwrap();
    drop((held, run));
    b.remote.fetch(None).unwrap();
    assert!(b.store.check_unheld(&id()).is_ok(), "a job that has ended is nobody's");
    let (held, mut run) = b.reopen();
    assert_eq!(b.notices.lock().unwrap().len(), 1, "nobody is waited for who let go");
    append(&mut run, 2).unwrap();
    drop((held, run));
}

#[test]
fn an_owner_that_was_taken_for_dead_records_nothing_more() {
    let bucket = memory();
    let a = Machine::new(&bucket, "a", Duration::from_millis(900));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    let lost = Arc::new(Mutex::new(0));
    held.when_lost({
        let lost = Arc::clone(&lost);
        move || *lost.lock().unwrap() += 1
    });
    // It is silent: nothing renews while another machine waits for it.
    let go_on = a.stop();
    let b = Machine::new(&bucket, "b", LONG);
    b.remote.fetch(None).unwrap();
    let (held_b, mut run_b) = b.reopen();
    drop(go_on);
    for _ in 0..2 {
        let error = append(&mut run, 5).unwrap_err();
        assert!(matches!(error, StoreError::Fenced { .. } | StoreError::Poisoned { .. }), "{error}");
    }
    assert!(held.write_job(&job("j1", 9)).is_err());
    append(&mut run_b, 2).unwrap();
    drop((held_b, run_b, held, run));
    let c = Machine::new(&bucket, "c", LONG);
    c.remote.fetch(None).unwrap();
    assert_eq!(c.facts(), facts(2));
    assert_eq!(*lost.lock().unwrap(), 1, "what it has started is ended");
}

#[test]
fn one_id_is_one_job_and_the_second_is_refused_at_once() {
    let bucket = memory();
    let (a, b) = (Machine::new(&bucket, "a", LONG), Machine::new(&bucket, "b", LONG));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    // While it is worked on too: nobody waits for a lease to hear this.
    assert!(matches!(b.store.create_job(&job("j1", 2)).err().unwrap(), StoreError::JobExists { .. }));
    drop((held, run));
    assert!(matches!(b.store.create_job(&job("j1", 2)).err().unwrap(), StoreError::JobExists { .. }));
    assert_eq!(b.facts(), facts(1));
}

#[test]
fn whatever_put_fails_or_loses_its_answer_the_record_has_all_that_was_acknowledged_and_no_more() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Dropped, Fault::Doubled] {
        for at in 0..12 {
            let scripted = Scripted::new(fault, at);
            let bucket: Arc<dyn Bucket> = Arc::new(scripted.clone());
            let a = Machine::new(&bucket, "a", LONG);
            let mut acknowledged = 0;
            let begun = a.store.create_job(&job("j1", 1)).and_then(|held| {
                let mut run = held.create_run(&setting("j1", "r1", 1))?;
                for at in 1..=4 {
                    append(&mut run, at)?;
                    acknowledged = at;
                }
                drop(run);
                held.write_job(&job("j1", 7))
            });
            scripted.heal();
            let b = Machine::new(&bucket, "b", LONG);
            b.remote.fetch(None).unwrap();
            let log = b.store.layout().log(&id(), &run_id());
            let there = LogReader::open(&log).map_or(Vec::new(), |log| log.read_all().unwrap());
            match begun {
                Ok(()) => assert_eq!(there, facts(4), "{fault:?} at {at}"),
                // What was refused for good was not acknowledged, and ended the work.
                Err(_) => assert_eq!(there, facts(acknowledged), "{fault:?} at {at}"),
            }
            assert!(matches!(fault, Fault::Refused) || acknowledged == 4, "{fault:?} at {at} is got over");
        }
    }
}

#[test]
fn a_store_without_conditional_puts_keeps_no_jobs() {
    for (fault, word) in [(Fault::IgnoresCreate, "If-None-Match"), (Fault::IgnoresMatch, "If-Match")] {
        let bucket: Arc<dyn Bucket> = Arc::new(Scripted::new(fault, 0));
        let a = Machine::new(&bucket, "a", LONG);
        let error = a.store.create_job(&job("j1", 1)).err().unwrap();
        assert!(matches!(&error, StoreError::RemoteUnfit { what, .. } if what.contains(word)), "{error}");
    }
}

#[test]
fn a_damaged_segment_is_named_and_nothing_is_read_over_it() {
    let bucket = memory();
    let a = Machine::new(&bucket, "a", LONG);
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    append(&mut run, 2).unwrap();
    drop((held, run));
    let path = a.remote.address().segment(&id(), 1);
    a.remote
        .shared
        .bucket
        .wait({
            let bucket = Arc::clone(&bucket);
            async move {
                let mut bytes = bucket.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                bucket.put(&path, bytes.into()).await.unwrap();
                Ok(())
            }
        })
        .unwrap();
    let b = Machine::new(&bucket, "b", LONG);
    let error = b.remote.fetch(None).unwrap_err().to_string();
    assert!(error.contains("nightly/jobs/j1/segments/000000000001") && error.contains("damaged"), "{error}");
}

#[test]
fn an_owner_who_reads_behind_a_later_ones_seal_goes_on_nowhere() {
    let bucket = memory();
    let (a, b) = (Machine::new(&bucket, "a", LONG), Machine::new(&bucket, "b", LONG));
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    drop((held, run));
    let end = working_copy::bring_up(&b.remote.shared, &id()).unwrap();
    let nonce = "of another".to_owned();
    // The next owner has epoch 2: the seal is that of one who took the job from it before it read.
    let seal = Segment { epoch: 3, nonce, after: end.digest, is_seal: true, changes: Vec::new() };
    let (bytes, path) = (seal.encode().unwrap().0, b.remote.address().segment(&id(), end.next));
    let put = async move {
        bucket.put(&path, bytes.into()).await.unwrap();
        Ok(())
    };
    b.remote.shared.bucket.wait(put).unwrap();
    assert!(matches!(b.store.open_job(&id()).err().unwrap(), StoreError::Fenced { .. }));
}

#[test]
fn a_copy_without_its_jobs_is_made_again() {
    let bucket = memory();
    let a = Machine::new(&bucket, "a", LONG);
    let (held, mut run) = a.create();
    append(&mut run, 1).unwrap();
    drop((held, run));
    std::fs::remove_dir_all(a.store.layout().jobs()).unwrap();
    a.remote.fetch(None).unwrap();
    assert_eq!(a.facts(), facts(1));
}

#[test]
fn jobs_of_another_folder_stay_in_it() {
    let bucket = memory();
    let a = Machine::new(&bucket, "a", LONG);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path(), Some(&a.remote));
    drop(store.create_job(&job("j1", 1)).unwrap());
    assert!(!store.is_remote() && store.layout().root() == folder.path().canonicalize().unwrap());
    a.remote.fetch(None).unwrap();
    assert!(a.store.job_ids().unwrap().is_empty());
}

#[test]
fn large_files_and_long_outputs_come_along() {
    let bucket = memory();
    let (a, b) = (Machine::new(&bucket, "a", LONG), Machine::new(&bucket, "b", LONG));
    let (held, mut run) = a.create();
    let outputs = a.store.layout().outputs(&id(), &run_id());
    std::fs::create_dir_all(&outputs).unwrap();
    std::fs::write(outputs.join("call-1.txt"), "owl ".repeat(500_000)).unwrap();
    append(&mut run, 1).unwrap();
    drop((held, run));
    b.remote.fetch(None).unwrap();
    let there = bytes(b.store.layout().outputs(&id(), &run_id()).join("call-1.txt"));
    assert_eq!(there.len(), 2_000_000);
}

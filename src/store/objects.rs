//! [`ObjectStore`]: what snapshots of the workspace are made of, by content, in the job's folder: the bytes of files and the
//! lists of folders. The runtime decides what is put there and what it means.
//!
//! Objects that are new with a snapshot are one file, a pack, with one wait for the disk, however many they are. It gets its
//! name, that of the snapshot, when its data is durable: a process that dies before leaves a temporary file, which its
//! successor removes. A pack is never changed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};

use super::disk::NewFile;
use super::list::names;
use super::remote::RemoteJob;
use super::{JobStore, Store, StoreError, atomic, door};
use crate::id::JobId;
use crate::snapshot::SnapshotId;

/// The first line of a pack.
const HEADER: &str = "{\"format\":\"perstack-pack\",\"version\":1}\n";
/// The ending of a pack's name.
const ENDING: &str = ".pack";
/// The name that temporary packs are given.
const NEW: &str = "new.pack";
/// The bytes that are written at a time.
const BUFFER: usize = 1 << 20;
/// The longest line before an object, in bytes; the ones that are written are shorter than 150.
const MAX_LINE: u64 = 1000;
/// The largest object that is read back, in bytes: more than any that is written.
const MAX_OBJECT: u64 = 1 << 30;

/// The line before an object's bytes in a pack.
#[derive(Serialize, Deserialize)]
struct ObjectHead {
    id: SnapshotId,
    /// Its own bytes.
    bytes: u64,
    /// Those that follow in the pack: fewer where it is compressed.
    stored: u64,
}

/// The place of an object.
#[derive(Debug, Clone)]
struct ObjectPlace {
    pack: Arc<PathBuf>,
    offset: u64,
    bytes: u64,
    stored: u64,
}

/// The objects of one job.
#[derive(Debug, Default)]
pub struct ObjectStore {
    folder: PathBuf,
    places: HashMap<SnapshotId, ObjectPlace>,
    /// The job in an object store, if it is in one, which gets new packs too.
    remote: Option<Arc<RemoteJob>>,
}

impl Store {
    /// The objects of a job, as they are now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a pack that is none, or the system's error.
    pub fn objects(&self, job: &JobId) -> Result<ObjectStore, StoreError> {
        ObjectStore::open(self.layout.snapshots(job))
    }
}

impl JobStore {
    /// The objects of the job, to add to them. What a process that died has left is made durable if it is a whole pack, and
    /// removed if it is none.
    ///
    /// # Errors
    /// As [`Store::objects`].
    pub fn objects(&self) -> Result<ObjectStore, StoreError> {
        let storage = self.storage();
        let folder = storage.layout.snapshots(self.id());
        let is_new = !atomic::is_folder(&folder)?;
        if is_new {
            atomic::create_folder(&folder)?;
        } else {
            for name in names(&folder)?.iter().filter(|name| name.starts_with('.')) {
                // Best effort: readers ignore what is left.
                let _ = door::remove(&folder.join(name));
            }
            // A name that a dead process gave and did not sync is found here, and a fact may rely on it from now on.
            atomic::sync_folder(&folder)?;
        }
        atomic::sync_folder(&storage.layout.job(self.id()))?;
        Ok(ObjectStore { remote: self.remote().cloned(), ..ObjectStore::open(folder)? })
    }
}

impl ObjectStore {
    fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let mut store = Self { folder, ..Self::default() };
        let packs = match names(&store.folder) {
            Ok(names) => names,
            Err(error) if error.is_not_found() => return Ok(store),
            Err(error) => return Err(error),
        };
        for name in packs.iter().filter(|name| name.ends_with(ENDING) && !name.starts_with('.')) {
            store.read_pack(store.folder.join(name))?;
        }
        Ok(store)
    }

    /// Notes the objects of a pack; their bytes are not read.
    fn read_pack(&mut self, path: PathBuf) -> Result<(), StoreError> {
        let file = atomic::open(&path)?;
        let len = file.metadata().map_err(StoreError::io("read", &path))?.len();
        let mut input = BufReader::new(file);
        let path = Arc::new(path);
        let damaged = |what: &str| StoreError::damaged(&path, None, what);
        let mut line = Vec::new();
        let mut at = 0_u64;
        let read_line = |input: &mut BufReader<File>, line: &mut Vec<u8>| {
            line.clear();
            let read = input.take(MAX_LINE).read_until(b'\n', line).map_err(StoreError::io("read", &path))?;
            u64::try_from(read).map_err(|_| damaged("it is too long"))
        };
        at += read_line(&mut input, &mut line)?;
        if line != HEADER.as_bytes() {
            return Err(damaged("it does not begin as a pack of snapshots does"));
        }
        while at < len {
            at += read_line(&mut input, &mut line)?;
            let head: ObjectHead =
                serde_json::from_slice(&line).map_err(|_| damaged("it has something else where an object begins"))?;
            let end = at.checked_add(head.stored).filter(|end| *end <= len && head.bytes <= MAX_OBJECT);
            let Some(end) = end else { return Err(damaged("it is cut short")) };
            let place = ObjectPlace { pack: Arc::clone(&path), offset: at, bytes: head.bytes, stored: head.stored };
            self.places.insert(head.id, place);
            input
                .seek_relative(i64::try_from(head.stored).map_err(|_| damaged("it is too long"))?)
                .map_err(StoreError::io("read", &path))?;
            at = end;
        }
        Ok(())
    }

    /// Returns whether there is an object of this name.
    pub fn has(&self, id: &SnapshotId) -> bool {
        self.places.contains_key(id)
    }

    /// The names of all objects.
    pub fn ids(&self) -> impl Iterator<Item = &SnapshotId> {
        self.places.keys()
    }

    /// The bytes of an object, which are those that its name is the digest of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`], which name the object, or the system's error.
    pub fn get(&self, id: &SnapshotId) -> Result<Vec<u8>, StoreError> {
        let Some(place) = self.places.get(id) else {
            let what =
                format!("{} has nothing with the digest {id}: its snapshots are not whole", self.folder.display());
            return Err(StoreError::NotFound { what, suggestion: None });
        };
        let path = &*place.pack;
        let damaged = || StoreError::damaged(path, None, format!("what it has for the digest {id} is something else"));
        let mut file = atomic::open(path)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(StoreError::io("read", path))?;
        let stored = file.take(place.stored);
        let mut bytes = Vec::new();
        let read = if place.stored < place.bytes {
            DeflateDecoder::new(stored).take(place.bytes.saturating_add(1)).read_to_end(&mut bytes)
        } else {
            stored.take(place.bytes).read_to_end(&mut bytes)
        };
        match read {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                return Err(damaged());
            }
            Err(error) => return Err(StoreError::io("read", path)(error)),
        }
        let is_whole = u64::try_from(bytes.len()).is_ok_and(|len| len == place.bytes);
        if is_whole && SnapshotId::of_bytes(&bytes) == *id { Ok(bytes) } else { Err(damaged()) }
    }
}

/// Objects that are new with a snapshot.
pub struct PackWriter<'a> {
    objects: &'a mut ObjectStore,
    new: Option<(NewFile, PathBuf)>,
    buffer: Vec<u8>,
    /// The bytes before the buffer.
    written: u64,
    places: Vec<(SnapshotId, u64, u64, u64)>,
    known: HashSet<SnapshotId>,
}

impl<'a> PackWriter<'a> {
    /// A pack with nothing in it: there is no file before the first object.
    pub fn new(objects: &'a mut ObjectStore) -> Self {
        Self { objects, new: None, buffer: Vec::new(), written: 0, places: Vec::new(), known: HashSet::new() }
    }

    /// Returns whether there is an object of this name, in this pack or before it.
    pub fn has(&self, id: &SnapshotId) -> bool {
        self.known.contains(id) || self.objects.has(id)
    }

    /// Adds an object whose name is `id`, unless there is one.
    ///
    /// # Errors
    /// The system's error.
    pub fn put(&mut self, id: &SnapshotId, bytes: &[u8]) -> Result<(), StoreError> {
        if self.has(id) {
            return Ok(());
        }
        if self.new.is_none() {
            self.new = Some(atomic::create_temporary(&self.objects.folder.join(NEW))?);
            self.buffer.extend_from_slice(HEADER.as_bytes());
        }
        let deflated = deflated(bytes);
        let stored = deflated.as_deref().filter(|deflated| deflated.len() < bytes.len()).unwrap_or(bytes);
        let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let head = ObjectHead { id: id.clone(), bytes: length(bytes), stored: length(stored) };
        self.buffer.extend(atomic::on_one_line(&self.objects.folder, &head)?);
        let offset = self.written.saturating_add(length(&self.buffer));
        self.buffer.extend_from_slice(stored);
        self.places.push((id.clone(), offset, head.bytes, head.stored));
        self.known.insert(id.clone());
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    /// The name of the pack: that of the snapshot, unless it is taken, since what the pack of that name had besides was lost.
    fn free_name(&self, snapshot: &SnapshotId) -> PathBuf {
        let name = self.objects.folder.join(format!("{snapshot}{ENDING}"));
        let further = (1_u32..).map(|n| self.objects.folder.join(format!("{snapshot}-{n}{ENDING}")));
        std::iter::once(name).chain(further).find(|path| !path.exists()).unwrap_or_default()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let Some((new, path)) = &self.new else { return Ok(()) };
        atomic::append(&new.file, path, &self.buffer)?;
        self.written = self.written.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        self.buffer.clear();
        Ok(())
    }

    /// Names the pack by the snapshot that it is for. On return it is durable; without new objects there is none.
    ///
    /// # Errors
    /// The system's error: the objects are not there then.
    pub fn finish(mut self, snapshot: &SnapshotId) -> Result<(), StoreError> {
        self.write()?;
        let Some((new, temporary)) = &self.new else { return Ok(()) };
        let path = self.free_name(snapshot);
        atomic::sync(&new.file, temporary)?;
        door::name(new, temporary, &path).map_err(StoreError::io("rename a temporary file to", &path))?;
        self.new = None;
        atomic::sync_folder(&self.objects.folder)?;
        if let Some(remote) = &self.objects.remote {
            // It is there with the fact that names the snapshot.
            remote.note_file(&path);
        }
        let pack = Arc::new(path);
        let places = std::mem::take(&mut self.places)
            .into_iter()
            .map(|(id, offset, bytes, stored)| (id, ObjectPlace { pack: Arc::clone(&pack), offset, bytes, stored }));
        self.objects.places.extend(places);
        Ok(())
    }
}

impl Drop for PackWriter<'_> {
    fn drop(&mut self) {
        if let Some((_, path)) = self.new.take() {
            // Best effort: readers ignore the leftover, and the next writer removes it.
            let _ = door::remove(&path);
        }
    }
}

fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut &*bytes, &mut encoder).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{World, job};
    use super::*;

    fn id(bytes: &[u8]) -> SnapshotId {
        SnapshotId::of_bytes(bytes)
    }

    fn put(objects: &mut ObjectStore, all: &[&[u8]]) {
        let mut pack = PackWriter::new(objects);
        for bytes in all {
            pack.put(&id(bytes), bytes).unwrap();
        }
        pack.finish(&id(all[0])).unwrap();
    }

    #[test]
    fn objects_come_back_also_to_others_and_are_stored_once() {
        let world = World::new();
        let job_store = world.store.create_job(&job("j1", 1)).unwrap();
        let mut objects = job_store.objects().unwrap();
        let long = b"owl ".repeat(100_000);
        let all: [&[u8]; 3] = [b"barn", &long, b""];
        put(&mut objects, &all);
        put(&mut objects, &[b"barn"]);
        let folder = world.store.layout().snapshots(job_store.id());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(world.store.size(job_store.id()).unwrap() < 20_000);
        for objects in [objects, world.store.objects(job_store.id()).unwrap()] {
            for bytes in all {
                assert_eq!(objects.get(&id(bytes)).unwrap(), *bytes);
            }
            assert!(objects.get(&id(b"tawny")).unwrap_err().is_not_found());
        }
    }

    #[test]
    fn an_unfinished_pack_leaves_nothing_and_that_of_a_dead_process_is_removed() {
        let world = World::new();
        let job_store = world.store.create_job(&job("j1", 1)).unwrap();
        let mut objects = job_store.objects().unwrap();
        PackWriter::new(&mut objects).put(&id(b"barn"), b"barn").unwrap();
        let folder = world.store.layout().snapshots(job_store.id());
        fs::write(folder.join(".new.pack.0.tmp"), "half").unwrap();
        // What cannot be removed so is in nobody's way.
        fs::create_dir(folder.join(".kept")).unwrap();
        assert!(!job_store.objects().unwrap().has(&id(b"barn")));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_pack_is_never_replaced_by_one_of_the_same_snapshot() {
        let world = World::new();
        let job_store = world.store.create_job(&job("j1", 1)).unwrap();
        put(&mut job_store.objects().unwrap(), &[b"owl"]);
        put(&mut job_store.objects().unwrap(), &[b"barn", b"owl", b"tawny"]);
        let folder = world.store.layout().snapshots(job_store.id());
        // Only the first pack has this one.
        fs::remove_file(folder.join(format!("{}.pack", id(b"owl")))).unwrap();
        put(&mut job_store.objects().unwrap(), &[b"barn", b"owl", b"tawny"]);
        let objects = world.store.objects(job_store.id()).unwrap();
        for bytes in [&b"barn"[..], b"owl", b"tawny"] {
            assert_eq!(objects.get(&id(bytes)).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn whatever_byte_is_flipped_or_missing_is_damage_that_names_its_file() {
        let world = World::new();
        let job_store = world.store.create_job(&job("j1", 1)).unwrap();
        let text = b"which owls hunt at night? ".repeat(9);
        put(&mut job_store.objects().unwrap(), &[b"barn", &text]);
        let path = world.store.layout().snapshots(job_store.id()).join(format!("{}.pack", id(b"barn")));
        let whole = fs::read(&path).unwrap();
        let all_fit = || -> Result<(), StoreError> {
            let objects = world.store.objects(job_store.id())?;
            objects.get(&id(b"barn"))?;
            objects.get(&id(&text)).map(drop)
        };
        all_fit().unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(all_fit().is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(all_fit().is_err(), "cut at {at}");
        }
    }
}

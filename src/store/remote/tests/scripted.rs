//! [`Scripted`]: an object store in memory that fails by a script.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A fault of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused for good.
    Refused,
    /// Done, without an answer.
    AnswerLost,
    /// Neither done nor answered.
    Dropped,
    /// Done, then sent a second time, whose answer is the one that arrives.
    Doubled,
    /// The condition that nothing is there does not count, ever.
    IgnoresCreate,
    /// The condition of a version does not count, ever.
    IgnoresMatch,
}

/// An object store whose `at`th put fails.
pub struct Scripted {
    memory: InMemory,
    fault: Fault,
    at: usize,
    puts: AtomicUsize,
    is_healed: AtomicBool,
}

impl Scripted {
    pub fn new(fault: Fault, at: usize) -> Self {
        Self { memory: InMemory::new(), fault, at, puts: AtomicUsize::new(0), is_healed: AtomicBool::new(false) }
    }

    /// Nothing fails from here on.
    pub fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

fn no_answer() -> Error {
    Error::Generic { store: "scripted", source: "no answer".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Scripted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let n = self.puts.fetch_add(1, Ordering::SeqCst);
        let is_now = n == self.at && !self.is_healed.load(Ordering::SeqCst);
        let mut options = options;
        match (self.fault, &options.mode) {
            (Fault::IgnoresCreate, PutMode::Create) | (Fault::IgnoresMatch, PutMode::Update(_)) => {
                options.mode = PutMode::Overwrite;
            }
            (Fault::Refused, _) if is_now => {
                return Err(Error::PermissionDenied { path: location.to_string(), source: "refused".into() });
            }
            (Fault::Dropped, _) if is_now => return Err(no_answer()),
            (Fault::AnswerLost, _) if is_now => {
                self.memory.put_opts(location, payload, options).await?;
                return Err(no_answer());
            }
            (Fault::Doubled, _) if is_now => {
                self.memory.put_opts(location, payload.clone(), options.clone()).await?;
            }
            _ => {}
        }
        self.memory.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.memory.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

//! [`Scripted`]: an object store in memory that fails by a script, and whose requests come in the order of whoever looks at them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

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
    /// Done or refused by its condition, without an answer.
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

/// An object store whose `at`th put fails. Clones share the objects and the count.
#[derive(Clone)]
pub struct Scripted {
    pub memory: Arc<InMemory>,
    fault: Fault,
    at: usize,
    puts: Arc<AtomicUsize>,
    is_healed: Arc<AtomicBool>,
    /// A request is performed at the second look.
    is_gated: bool,
}

impl Scripted {
    pub fn new(fault: Fault, at: usize) -> Self {
        let (memory, puts, is_healed) = (Arc::default(), Arc::default(), Arc::default());
        Self { memory, fault, at, puts, is_healed, is_gated: false }
    }

    /// The same, of which a request is performed at the second look: who looks decides the order.
    pub fn gated(self) -> Self {
        Self { is_gated: true, ..self }
    }

    /// Nothing fails from here on.
    pub fn heal(&self) {
        self.is_healed.store(true, Ordering::SeqCst);
    }

    /// Returns true if the put that fails has come.
    pub fn has_failed(&self) -> bool {
        self.puts.load(Ordering::SeqCst) > self.at
    }
}

/// Ready at the second look, or at the first where it is open.
struct Gate {
    is_open: bool,
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.is_open, true) { Poll::Ready(()) } else { Poll::Pending }
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
        Gate { is_open: !self.is_gated }.await;
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
                let _ = self.memory.put_opts(location, payload, options).await;
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
        Gate { is_open: !self.is_gated }.await;
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

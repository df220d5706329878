//! [`Reading`]: the reading of one answer's bytes, within time limits, into one [`Generation`].
//!
//! Called by `generate` for an answer of success. The meaning of frames is left to the protocol's decoder.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::generation::{Delta, FailureKind, Generation, GenerationFailure};
use crate::json_text;
use crate::provider::assemble::Assembler;
use crate::provider::halves::{self, HalfJoiner};
use crate::provider::http::frame::{FRAME_LIMIT, FrameError, Framer};
use crate::provider::http::transport::Body;
use crate::provider::timeouts::Watch;
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::{Decoder, Frame, Framing, Protocol, failure};

/// Most bytes of an error body that are read; providers' errors have a few hundred.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
/// Time for an error body: its message is not worth a longer wait.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The mark that some servers put in front.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Most bytes of one answer. One of 128000 tokens, each in a chunk of its own of some 300 bytes, has about 40 MB.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;

/// The reading of one answer.
pub(super) struct Reading<'a> {
    protocol: &'a dyn Protocol,
    framer: Framer,
    decoder: Box<dyn Decoder>,
    halves: HalfJoiner,
    assembler: Assembler,
    watch: Watch,
    received: usize,
}

/// The form of a body, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyForm {
    Stream,
    /// One JSON document.
    Document,
    /// A page, not an answer.
    Page,
}

impl<'a> Reading<'a> {
    pub(super) fn new(protocol: &'a dyn Protocol, watch: Watch) -> Self {
        Self {
            protocol,
            framer: Framer::new(protocol.framing(), FRAME_LIMIT),
            decoder: protocol.decoder(),
            halves: HalfJoiner::default(),
            assembler: Assembler::new(protocol.name()),
            watch,
            received: 0,
        }
    }

    pub(super) async fn read(
        mut self,
        status: u16,
        body: &mut dyn Body,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, GenerationFailure> {
        let (form, beginning) = self.beginning(body).await?;
        if form != BodyForm::Stream {
            return self.read_whole(form, status, beginning, body, on_delta).await;
        }
        let mut is_over = self.take(&beginning, on_delta)?;
        while !is_over {
            is_over = match self.watch.within(body.chunk()).await {
                Ok(Ok(Some(chunk))) => self.take(&chunk, on_delta)?,
                Ok(Ok(None)) => {
                    self.take_last(on_delta)?;
                    true
                }
                // The whole answer is there: paying for it again would be a waste.
                Ok(Err(_)) | Err(_) if self.assembler.has_finished() => true,
                Ok(Err(error)) => return Err(error.into()),
                Err(expired) => return Err(expired),
            };
        }
        self.assembler.finish()
    }

    /// The bytes up to the first that shows the form of the body, whatever its content type: gateways label streams as
    /// JSON, and send whole documents in place of streams.
    async fn beginning(&mut self, body: &mut dyn Body) -> Result<(BodyForm, Vec<u8>), GenerationFailure> {
        let mut bytes = Vec::new();
        loop {
            if let Some(form) = form_of(&bytes, self.protocol.framing()) {
                return Ok((form, bytes));
            }
            match self.watch.within(body.chunk()).await?? {
                Some(chunk) => bytes.extend(chunk),
                None => return Ok((BodyForm::Stream, bytes)),
            }
        }
    }

    /// Reads a body that is no stream.
    async fn read_whole(
        mut self,
        form: BodyForm,
        status: u16,
        mut bytes: Vec<u8>,
        body: &mut dyn Body,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Generation, GenerationFailure> {
        if form == BodyForm::Page {
            bytes.extend(error_body(body).await);
            bytes.truncate(ERROR_BODY_LIMIT);
            return Err(failure::of_page(status, &bytes));
        }
        while let Some(chunk) = self.watch.within(body.chunk()).await?? {
            bytes.extend(chunk);
            if bytes.len() > ANSWER_LIMIT {
                return Err(too_long());
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let documents = documents(&text).map_err(|error| {
            let message = format!("the server answered with a damaged JSON document instead of a stream: {error}");
            failure::retryable(FailureKind::Malformed, message)
        })?;
        let mut frames = Vec::new();
        for document in &documents {
            let of_document = self.protocol.whole_answer(document.clone());
            if of_document.is_empty() && self.protocol.read_error(document.to_string().as_bytes()).is_some() {
                return Err(ReportedError::from_value(document).into_failure());
            }
            if of_document.is_empty() {
                frames.clear();
                break;
            }
            frames.extend(of_document);
        }
        if frames.is_empty() {
            let name = self.protocol.name();
            let message = format!("the server answered with one JSON document instead of a stream of {name}");
            return Err(failure::lasting(FailureKind::Malformed, message));
        }
        for frame in frames {
            self.decode(&frame, on_delta)?;
            if self.assembler.has_ended() {
                break;
            }
        }
        self.assembler.finish()
    }

    /// Reads a piece of a stream; true when the answer is over.
    fn take(&mut self, chunk: &[u8], on_delta: &mut (dyn FnMut(&Delta) + Send)) -> Result<bool, GenerationFailure> {
        let read = self.read_frames(chunk, on_delta);
        self.forgive(read)
    }

    /// Reads what is complete by the end of the stream.
    fn take_last(&mut self, on_delta: &mut (dyn FnMut(&Delta) + Send)) -> Result<bool, GenerationFailure> {
        let frames = self.framer.finish();
        let read = frames.iter().try_for_each(|frame| self.decode(frame, on_delta));
        self.forgive(read)
    }

    /// Passes a failure on, unless it is damage behind an answer that is there as a whole: it costs the usage at most.
    /// True when the answer is over.
    fn forgive(&self, read: Result<(), GenerationFailure>) -> Result<bool, GenerationFailure> {
        match read {
            Ok(()) => Ok(self.assembler.has_ended()),
            Err(failure) if failure.kind == FailureKind::Malformed && self.assembler.has_finished() => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    fn read_frames(
        &mut self,
        chunk: &[u8],
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<(), GenerationFailure> {
        self.received = self.received.saturating_add(chunk.len());
        if self.received > ANSWER_LIMIT {
            return Err(too_long());
        }
        let mut frames = Vec::new();
        let read = self.framer.push(chunk, &mut frames);
        for frame in frames {
            self.decode(&frame, on_delta)?;
            if self.assembler.has_ended() {
                return Ok(());
            }
        }
        self.watch.has_keep_alives = self.framer.keep_alives() > 0;
        read.map_err(damaged)
    }

    fn decode(&mut self, frame: &Frame, on_delta: &mut (dyn FnMut(&Delta) + Send)) -> Result<(), GenerationFailure> {
        let marked = halves::with_marks(frame);
        for delta in self.decoder.frame(marked.as_ref().unwrap_or(frame))? {
            for delta in self.halves.pass(delta, marked.is_some()) {
                on_delta(&delta);
                self.watch.saw(&delta);
                self.assembler.push(delta);
            }
        }
        Ok(())
    }
}

/// The form of a body that begins with these bytes; `None` while nothing shows it.
fn form_of(bytes: &[u8], framing: Framing) -> Option<BodyForm> {
    let text = bytes.get(..ERROR_BODY_LIMIT).unwrap_or(bytes);
    let text = text.trim_ascii_start();
    // A byte order mark may come in pieces, too.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start();
    match text.first() {
        _ if BYTE_ORDER_MARK.starts_with(text) => (bytes.len() > ERROR_BODY_LIMIT).then_some(BodyForm::Stream),
        Some(b'<') => Some(BodyForm::Page),
        Some(b'{' | b'[') if framing != Framing::Ndjson => Some(BodyForm::Document),
        _ => Some(BodyForm::Stream),
    }
}

/// The JSON documents of a body: one, a list of them, or one a line.
fn documents(text: &str) -> serde_json::Result<Vec<Value>> {
    match json_text::parse(text.trim_start()) {
        Ok(Value::Array(documents)) => Ok(documents),
        Ok(document) => Ok(vec![document]),
        Err(error) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.map(json_text::parse).collect::<Result<Vec<Value>, _>>().map_err(|_| error)
        }
    }
}

/// The first bytes of a body, as many as come in time.
pub(super) async fn error_body(body: &mut dyn Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = Instant::now() + ERROR_BODY_TIMEOUT;
    while bytes.len() < ERROR_BODY_LIMIT && Instant::now() < end {
        match timeout_at(end, body.chunk()).await {
            Ok(Ok(Some(chunk))) => bytes.extend(chunk),
            // The bytes that arrived are worth more than the way they ended.
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    bytes.truncate(ERROR_BODY_LIMIT);
    bytes
}

fn too_long() -> GenerationFailure {
    failure::lasting(FailureKind::Malformed, format!("the answer is longer than {ANSWER_LIMIT} bytes"))
}

fn damaged(error: FrameError) -> GenerationFailure {
    let message = format!("the provider's stream is damaged: {error}");
    match error {
        FrameError::NotUtf8 | FrameError::Damaged { .. } => failure::retryable(FailureKind::Malformed, message),
        FrameError::TooLarge { .. } => failure::lasting(FailureKind::Malformed, message),
    }
}

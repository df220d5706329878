//! [`Reading`]: the reading of one answer's bytes, within time limits, into one [`Generation`].
//!
//! Called by `generate` for an answer of success. The meaning of frames is left to the protocol's decoder.

use std::time::Duration;

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
        self.take(&beginning, on_delta)?;
        while !self.assembler.has_ended() {
            let chunk = self.watch.within(body.chunk()).await;
            match chunk {
                Ok(Ok(Some(chunk))) => self.take(&chunk, on_delta)?,
                Ok(Ok(None)) => break,
                // The whole answer is there: paying for it again would be a waste.
                Ok(Err(_)) | Err(_) if self.assembler.has_finished() => break,
                Ok(Err(error)) => return Err(error.into()),
                Err(expired) => return Err(expired),
            }
        }
        if !self.assembler.has_ended()
            && let Some(frame) = self.framer.finish()
        {
            self.decode(&frame, on_delta)?;
        }
        self.assembler.finish()
    }

    /// The bytes up to the first that shows the form of the body, whatever its content type: gateways label streams as
    /// JSON, and send whole documents in place of streams.
    async fn beginning(&mut self, body: &mut dyn Body) -> Result<(BodyForm, Vec<u8>), GenerationFailure> {
        let mut bytes = Vec::new();
        loop {
            let text = bytes.strip_prefix(b"\xEF\xBB\xBF".as_slice()).unwrap_or(&bytes);
            let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
            let form = match (first, self.protocol.framing()) {
                (None, _) => None,
                (Some(b'<'), _) => Some(BodyForm::Page),
                (Some(b'{' | b'['), Framing::Sse | Framing::AwsEventStream) => Some(BodyForm::Document),
                (Some(_), _) => Some(BodyForm::Stream),
            };
            if let Some(form) = form {
                return Ok((form, bytes));
            }
            if bytes.len() > ERROR_BODY_LIMIT {
                return Ok((BodyForm::Stream, bytes));
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
            return Err(failure::of_page(status, &bytes));
        }
        while let Some(chunk) = self.watch.within(body.chunk()).await?? {
            bytes.extend(chunk);
            if bytes.len() > ANSWER_LIMIT {
                return Err(too_long());
            }
        }
        let document: serde_json::Value = json_text::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
            let message = format!("the server answered with a damaged JSON document instead of a stream: {error}");
            failure::retryable(FailureKind::Malformed, message)
        })?;
        if self.protocol.read_error(&bytes).is_some() {
            return Err(ReportedError::from_value(&document).into_failure());
        }
        let frames = self.protocol.whole_answer(document);
        if frames.is_empty() {
            let name = self.protocol.name();
            let message = format!("the server answered with one JSON document instead of a stream of {name}");
            return Err(failure::lasting(FailureKind::Malformed, message));
        }
        for frame in frames {
            self.decode(&frame, on_delta)?;
        }
        self.assembler.finish()
    }

    fn take(&mut self, chunk: &[u8], on_delta: &mut (dyn FnMut(&Delta) + Send)) -> Result<(), GenerationFailure> {
        self.received = self.received.saturating_add(chunk.len());
        if self.received > ANSWER_LIMIT {
            return Err(too_long());
        }
        for frame in self.framer.push(chunk).map_err(damaged)? {
            self.decode(&frame, on_delta)?;
            if self.assembler.has_ended() {
                return Ok(());
            }
        }
        self.watch.has_keep_alives = self.framer.keep_alives() > 0;
        Ok(())
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

//! [`Replies`]: the answers to a server's own requests: a person's reply, or a refusal; the workspace as its
//! root, where its skill asks for that.
//! Requests to a model are declined: which models are asked, and what it costs, is the Run's own business.
#![expect(deprecated, reason = "roots, which servers of the session-based revisions ask for")]

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use rmcp::model::{
    ElicitRequestParams, ElicitResult, ElicitationAction, InputRequest, InputResponses, ListRootsResult, Root,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::elicitation::{AskPerson, Elicitation, Reply};

/// How long a person may take for one question. Our own choice: half of the longest time that a call may take in all.
const LONGEST_ANSWER: Duration = Duration::from_mins(5);

/// Answers the questions of one server.
pub(super) struct Replies {
    skill: String,
    /// None for a server that is not given any: it keeps to the folders that its own arguments name.
    roots: Option<Vec<Root>>,
    person: Option<AskPerson>,
    /// How many questions a person is being asked. While there is one, a silent server is no sign of trouble.
    open: watch::Sender<usize>,
}

/// Why a call cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    #[error("it asks for a text by a model (sampling), which is declined here: try without, or use another tool")]
    Sampling,
    #[error("it asks for roots, which its skill does not give it: set roots = true for that")]
    NoRoots,
    #[error("it asks for input of a kind that is not known here")]
    Unknown,
}

impl Replies {
    /// Answers for the skill `skill`, whose root is `workspace` if it has one. Without a `person`, questions are declined.
    pub(super) fn new(skill: &str, workspace: Option<&Path>, person: Option<AskPerson>) -> Self {
        let roots = workspace.map(|workspace| root(workspace).into_iter().collect());
        Self { skill: skill.to_owned(), roots, person, open: watch::Sender::new(0) }
    }

    /// The folders that a server should work in; none where its skill gives it no roots.
    pub(super) fn roots(&self) -> Option<ListRootsResult> {
        self.roots.clone().map(ListRootsResult::new)
    }

    /// Follows how many questions are open.
    pub(super) fn open_questions(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// A person's reply, until the question is withdrawn by `cancel`.
    pub(super) async fn elicit(&self, asked: &ElicitRequestParams, cancel: &CancellationToken) -> ElicitResult {
        let Some((person, asked)) = self.person.as_ref().zip(Elicitation::from_params(&self.skill, asked)) else {
            return ElicitResult::new(ElicitationAction::Decline);
        };
        let has_fields = matches!(asked.asked, super::Asked::Form(_));
        let _open = Open::new(&self.open);
        let reply = tokio::select! {
            biased;
            () = cancel.cancelled() => Reply::Cancelled,
            reply = tokio::time::timeout(LONGEST_ANSWER, person(asked)) => reply.unwrap_or(Reply::Cancelled),
        };
        match reply {
            Reply::Accepted(values) if has_fields => {
                ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(values))
            }
            Reply::Accepted(_) => ElicitResult::new(ElicitationAction::Accept),
            Reply::Declined => ElicitResult::new(ElicitationAction::Decline),
            Reply::Cancelled => ElicitResult::new(ElicitationAction::Cancel),
        }
    }

    /// Answers everything that half a result asks for, one after the other.
    ///
    /// # Errors
    /// When something of it cannot be answered; then nothing of it is.
    pub(super) async fn to_all(
        &self,
        requests: impl IntoIterator<Item = (String, InputRequest)>,
        cancel: &CancellationToken,
    ) -> Result<InputResponses, NoReply> {
        let requests: Vec<(String, InputRequest)> = requests.into_iter().collect();
        if requests.iter().any(|(_, request)| matches!(request, InputRequest::CreateMessage(_))) {
            return Err(NoReply::Sampling);
        }
        let mut responses = InputResponses::new();
        for (key, request) in requests {
            let reply = match request {
                InputRequest::Elicitation(request) => serde_json::to_value(self.elicit(&request.params, cancel).await),
                InputRequest::ListRoots(_) => serde_json::to_value(self.roots().ok_or(NoReply::NoRoots)?),
                _ => return Err(NoReply::Unknown),
            };
            responses.insert(key, reply.map_err(|_| NoReply::Unknown)?);
        }
        Ok(responses)
    }
}

/// A question that is open until dropped.
struct Open<'a>(&'a watch::Sender<usize>);

impl<'a> Open<'a> {
    fn new(open: &'a watch::Sender<usize>) -> Self {
        open.send_modify(|count| *count += 1);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The workspace as the one folder that a server should work in.
fn root(workspace: &Path) -> Option<Root> {
    let url = Url::from_directory_path(workspace).ok()?;
    let name = workspace.file_name().map(|name| name.to_string_lossy().into_owned());
    let root = Root::new(url.as_str().trim_end_matches('/'));
    Some(match name {
        Some(name) => root.with_name(name),
        None => root,
    })
}

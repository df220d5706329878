//! A server that keeps the rules, made with the protocol's Rust library: every kind of result, questions to the client,
//! progress, and what it sees of its parameters.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    InputRequiredResult, JsonObject, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ProtocolVersion, Resource, ResourceContents, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};

/// A PNG of one transparent pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// Name, description, and whether it only reads.
const TOOLS: [(&str, &str, bool); 14] = [
    ("echo", "Says what it is told", true),
    ("count", "Counts to a number, and reports progress", true),
    ("environment", "Shows its environment and its working directory", true),
    ("fail", "Returns an error", false),
    ("refuse", "Answers with a protocol error", false),
    ("image", "Returns an image and a text", true),
    ("audio", "Returns a sound", true),
    ("resource", "Returns a text resource", true),
    ("blob", "Returns a binary resource", true),
    ("link", "Returns a link to a resource", true),
    ("structured", "Returns structured content alone", true),
    ("both", "Returns structured content and a text", true),
    ("nothing", "Returns no content", true),
    ("ask", "Asks the user", false),
];

#[derive(Clone)]
pub struct Polite {
    /// The revisions spoken.
    versions: &'static [ProtocolVersion],
}

/// Serves the client at standard input and output.
pub fn over_stdio(options: &[&str]) {
    let polite = Polite::new(options);
    runtime().block_on(async {
        let service = polite.serve(rmcp::transport::stdio()).await.expect("a client that keeps the rules");
        service.waiting().await.expect("an end without a panic");
    });
    // A blocking read of standard input would hold the runtime's end up.
    std::process::exit(0);
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Polite {
    /// `sessions`: speaks no revision without sessions. `newest`: speaks the newest revision only.
    pub fn new(options: &[&str]) -> Self {
        let versions = match options {
            [] => ProtocolVersion::KNOWN_VERSIONS,
            ["sessions"] => ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE),
            ["newest"] => &[ProtocolVersion::V_2026_07_28],
            other => panic!("no such options: {other:?}"),
        };
        Self { versions }
    }
}

impl ServerHandler for Polite {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("polite", "1.2.3"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(self.versions)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = TOOLS.iter().map(|(name, description, reads)| {
            let hints = ToolAnnotations::new().read_only(*reads).destructive(!reads);
            Tool::new(*name, *description, schema()).with_annotations(hints)
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        let text = arguments["text"].as_str().unwrap_or_default();
        let result = match request.name.as_ref() {
            "echo" => text_result(&format!("echo: {text}")),
            "count" => return count(arguments["to"].as_u64().unwrap_or_default(), &context).await,
            "environment" => text_result(&parameters()),
            "fail" => CallToolResult::error(vec![ContentBlock::text("no owl on shelf 3")]),
            "refuse" => return Err(ErrorData::invalid_params("shelf must be a number", None)),
            "image" => {
                CallToolResult::success(vec![ContentBlock::image(PIXEL, "image/png"), ContentBlock::text("one pixel")])
            }
            "audio" => CallToolResult::success(vec![ContentBlock::audio("aG9vdA==", "audio/wav")]),
            "resource" => CallToolResult::success(vec![ContentBlock::resource(
                ResourceContents::text("tawny\nbarn\n", "file:///owls.txt").with_mime_type("text/plain"),
            )]),
            "blob" => CallToolResult::success(vec![ContentBlock::resource(
                ResourceContents::blob("JVBERi0xLjQK", "file:///owls.pdf").with_mime_type("application/pdf"),
            )]),
            "link" => CallToolResult::success(vec![ContentBlock::resource_link(
                Resource::new("https://owls.example/tawny", "tawny owl").with_description("all of it"),
            )]),
            "structured" => without_content(json!({"owls": 2, "grey": [true, false]})),
            "both" => {
                let mut result = text_result("two owls");
                result.structured_content = Some(json!({"owls": 2}));
                result
            }
            "nothing" => CallToolResult::success(Vec::new()),
            "ask" => return Ok(ask(&request)),
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(result.into())
    }
}

fn schema() -> Arc<JsonObject> {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}, "to": {"type": "integer"}}});
    Arc::new(schema.as_object().expect("an object").clone())
}

fn text_result(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn without_content(value: Value) -> CallToolResult {
    let mut result = CallToolResult::structured(value);
    result.content.clear();
    result
}

/// Reports every number as it comes to it.
async fn count(to: u64, context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    for number in 1..=to {
        if let Some(token) = context.meta.get_progress_token() {
            #[expect(clippy::cast_precision_loss, reason = "tests count to small numbers")]
            let progress = ProgressNotificationParam::new(token, number as f64);
            // A client that is gone has no use for the answer either.
            let _ = context.peer.notify_progress(progress).await;
        }
    }
    Ok(text_result(&format!("counted to {to}")).into())
}

/// The variables and the working directory, as JSON.
fn parameters() -> String {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    json!({"variables": variables, "directory": std::env::current_dir().expect("a directory")}).to_string()
}

/// In the newest revision a question is a result that asks for the call to be repeated with an answer.
fn ask(request: &CallToolRequestParams) -> CallToolResponse {
    if let Some(answers) = &request.input_responses {
        return text_result(&format!("the client said {}", json!(answers))).into();
    }
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let params = json!({"mode": "form", "message": "Who?", "requestedSchema": schema});
    let questions = json!({"who": {"method": "elicitation/create", "params": params}});
    let questions = serde_json::from_value(questions).expect("a question of the protocol");
    InputRequiredResult::from_input_requests(questions).into()
}

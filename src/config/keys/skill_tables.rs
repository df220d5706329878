//! The keys of an expert's skills.

use serde_json::json;

use super::KeyKind::{Choice, Flag, Form, List, Map, Table, Whole};
use super::values::{ACCESS_PATH, DOMAIN, GRANTS, OBJECT_SCHEMA, SKILL_KINDS, SKILL_TIMEOUT, SkillKind, URL, words};
use super::{ConfigKey, FILLED, KeyKind, KeyTable, KeyUnion, Presence, TEXT};
use crate::expert::AccessGrant;

const A_QUESTION: KeyKind = Table(&QUESTION);
const A_GRANT: KeyKind = Choice(|| words(&AccessGrant::WORDS));

/// A table in `skills`.
pub(in crate::config) static SKILL: KeyUnion = KeyUnion {
    tag: "type",
    doc: "The kind of skill: an MCP server that is started here, one on the network, or questions to a person.",
    cases: || SKILL_KINDS.map(|(word, kind)| (word, skill(kind))).to_vec(),
};

/// The keys of a kind of skill.
pub(in crate::config) fn skill(kind: SkillKind) -> &'static KeyTable {
    match kind {
        SkillKind::Stdio => &STDIO,
        SkillKind::Sse => &SSE,
        SkillKind::Interactive => &INTERACTIVE,
    }
}

/// Keys that every kind of skill has.
const SKILL_COMMON: &[ConfigKey] = &[
    ConfigKey::new("description", TEXT, "What the skill is for, for people."),
    ConfigKey::new("rule", TEXT, "How to use the skill's tools, added to the instruction."),
    ConfigKey::new("pick", List(&TEXT), "The only tools that the expert sees. Empty: all.").or("[]"),
    ConfigKey::new("omit", List(&TEXT), "Tools that the expert does not see.").or("[]"),
    ConfigKey::new(
        "untrusted",
        Flag,
        "The results of its tools come from strangers (issues, mail, pages): after the first one only the tools in \
         `afterUntrusted` may be called.",
    )
    .or("false"),
    ConfigKey::new(
        "idempotent",
        List(&TEXT),
        "Tools of which a call may be made again when it is not known whether it took effect.",
    )
    .or("[]"),
];

/// Keys that servers of both kinds have.
const SERVER: &[ConfigKey] = &[
    ConfigKey::new(
        "allowedDomains",
        List(&Form(&DOMAIN)),
        "The only hosts that the server or the commands may reach; with an empty list, none.",
    ),
    ConfigKey::new("roots", Flag, "The workspace's path is announced to the server.").or("false"),
    ConfigKey::new("startTimeout", Whole(SKILL_TIMEOUT), "Milliseconds for the server's start."),
    ConfigKey::new("callTimeout", Whole(SKILL_TIMEOUT), "Milliseconds for one call."),
];

static STDIO: KeyTable = KeyTable {
    title: "mcpStdioSkill",
    groups: &[
        &[
            ConfigKey::new("command", FILLED, "The program that is started.").is(Presence::Required),
            ConfigKey::new("packageName", TEXT, "The package that the command runs; in the place of `args`."),
            ConfigKey::new("args", List(&TEXT), "The program's arguments; in the place of `packageName`."),
            ConfigKey::new(
                "requiredEnv",
                List(&TEXT),
                "Variables that the server is given besides a few safe ones. The run stops where one is missing.",
            )
            .or("[]"),
            ConfigKey::new("secretEnv", List(&TEXT), "Those of `requiredEnv` whose values are masked everywhere.")
                .or("[]"),
            ConfigKey::new("publicEnv", List(&TEXT), "Those of `requiredEnv` whose values are shown and kept.")
                .or("[]"),
            ConfigKey::new(
                "reads",
                List(&Form(&ACCESS_PATH)),
                "Files and folders that the server, when it is contained, may read besides those that all may; of \
                 `@perstack/base`, its commands. A server with this list, `writes`, `unixSockets` or `grants` is contained.",
            )
            .or("[]"),
            ConfigKey::new("writes", List(&Form(&ACCESS_PATH)), "The same of files and folders that it may change.")
                .or("[]"),
            ConfigKey::new(
                "unixSockets",
                List(&Form(&ACCESS_PATH)),
                "The same of sockets that it may connect to, and folders of such.",
            )
            .or("[]"),
            ConfigKey::new(
                "grants",
                List(&A_GRANT),
                "The same of all that programs of these names need: keys, tokens, sockets. `docker` amounts to everything.",
            )
            .or("[]"),
            ConfigKey::new(
                "lazyInit",
                Flag,
                "A server that does not start leaves the expert without its tools, instead of stopping the run.",
            )
            .or("false"),
        ],
        SERVER,
        SKILL_COMMON,
    ],
    rules: || {
        let package = json!({ "required": ["packageName"], "properties": { "packageName": { "minLength": 1 } } });
        vec![
            json!({ "anyOf": [{ "required": ["args"] }, package] }),
            json!({ "not": { "allOf": [
                package,
                { "required": ["args"], "properties": { "args": { "type": "array", "minItems": 1 } } },
            ] } }),
        ]
    },
};

static SSE: KeyTable = KeyTable {
    title: "mcpSseSkill",
    groups: &[
        &[
            ConfigKey::new("endpoint", Form(&URL), "The server's address.").is(Presence::Required),
            ConfigKey::new(
                "allowPrivateEndpoint",
                Flag,
                "The address may be of this machine or a private network, and plain http there.",
            )
            .or("false"),
            ConfigKey::new("authorizationEnv", TEXT, "The variable with the token that the server demands."),
            ConfigKey::new("oauth", Table(&OAUTH), "The way to a token by OAuth; in the place of `authorizationEnv`."),
        ],
        SERVER,
        SKILL_COMMON,
    ],
    rules: || {
        vec![json!({ "not": {
            "required": ["oauth", "authorizationEnv"],
            "properties": { "authorizationEnv": { "minLength": 1 } },
        } })]
    },
};

/// `oauth` of a remote skill.
pub(in crate::config) static OAUTH: KeyTable = KeyTable {
    title: "oauth",
    groups: &[&[
        ConfigKey::new(
            "grant",
            Choice(|| words(&GRANTS)),
            "A person's login (`perstack login`), or the client's own secret.",
        )
        .or("\"authorizationCode\""),
        ConfigKey::new("clientId", FILLED, "The client, where it was registered by hand."),
        ConfigKey::new("clientIdEnv", FILLED, "The variable with the client, in the place of `clientId`."),
        ConfigKey::new("clientSecretEnv", FILLED, "The variable with the client's secret."),
        ConfigKey::new("scopes", List(&TEXT), "The rights to ask for. Empty: those that the server names.").or("[]"),
    ]],
    rules: || {
        let a_client = json!({ "anyOf": [{ "required": ["clientId"] }, { "required": ["clientIdEnv"] }] });
        let with_secret = json!({ "allOf": [{ "required": ["clientSecretEnv"] }, a_client] });
        vec![
            json!({ "not": { "required": ["clientId", "clientIdEnv"] } }),
            json!({ "anyOf": [{ "not": { "required": ["clientSecretEnv"] } }, a_client] }),
            json!({ "anyOf": [{ "properties": { "grant": { "enum": ["authorizationCode"] } } }, with_secret] }),
        ]
    },
};

static INTERACTIVE: KeyTable = KeyTable::new(
    "interactiveSkill",
    &[
        &[ConfigKey::new("tools", Map(None, &A_QUESTION), "The questions, each a tool under its name.")
            .is(Presence::Required)],
        SKILL_COMMON,
    ],
);

/// A table in `tools` of an interactive skill.
pub(in crate::config) static QUESTION: KeyTable = KeyTable::new(
    "tools.NAME",
    &[&[
        ConfigKey::new("description", TEXT, "When to ask, for the model."),
        ConfigKey::new(
            "inputJsonSchema",
            Form(&OBJECT_SCHEMA),
            "The JSON Schema of what the model asks with, as JSON text; an object at its top.",
        )
        .is(Presence::Required),
    ]],
);

//! The keys at the top of `perstack.toml` and of the user's `config.toml`, and those of experts.

use super::KeyKind::{
    Choice, ChoiceOrWhole, Dollars, Form, FormOrWhole, JsonSchema, List, Map, Suggestion, Table, Tagged, Text, Whole,
};
use super::provider_tables::PROVIDER;
use super::provider_tool_tables::{PROVIDER_SKILL, TOOL_OPTIONS};
use super::skill_tables::SKILL;
use super::values::{
    AGENT_SKILL, COMMAND, CONTEXT_LIMITS, CONTEXT_PATH, COUNT, DELEGATE, DESCRIPTION, EXPERT_NAME, FILES, HTTPS_URL,
    INSTRUCTION, MODEL_NAME, PARALLEL_DELEGATES, PROVIDER_TOOLS, REASONING, REASONING_TOKENS, REPETITIONS, RETRIES,
    SPAN, TAG, TIERS, TOOL_OUTPUT, TOOL_SEARCHES, VERIFY_ROUNDS, VERIFY_TIMEOUT, VERSION, provider_names, words,
};
use super::{ConfigKey, FILLED, KeyKind, KeyTable, Presence, TEXT};
use crate::sandbox::Sandbox;
use crate::snapshot::SnapshotMode;

/// Kinds that lists and tables hold; constants of their own, as a reference to them must last.
const AN_EXPERT: KeyKind = Table(&EXPERT);
const A_SKILL: KeyKind = Tagged(&SKILL);
const A_PROVIDER_SKILL: KeyKind = Tagged(&PROVIDER_SKILL);

// The keys at the top of perstack.toml.

const INCLUDE: ConfigKey =
    ConfigKey::new("include", List(&Form(&FILES)), "Further files with experts, relative to the file that names them.");
const EXPERTS: ConfigKey =
    ConfigKey::new("experts", Map(Some(&EXPERT_NAME), &AN_EXPERT), "The experts, each a table under its name.");
const CONTEXT_LIMIT: ConfigKey = ConfigKey::new(
    "contextLimit",
    Choice(|| words(&CONTEXT_LIMITS)),
    "The reaction to a conversation that no longer fits the model's context window: stop, or summarize older steps.",
)
.or("\"stop\"");
const TOOL_SEARCH: ConfigKey = ConfigKey::new(
    "toolSearch",
    Choice(|| words(&TOOL_SEARCHES)),
    "With `on`, the tools of MCP servers are not sent to the model: it searches the definitions of `perstack.lock` for \
     those that it needs. With `auto`, where those definitions take more than a tenth of its context window.",
)
.or("\"off\"");

const FALLBACK: ConfigKey = ConfigKey::new(
    "fallback",
    List(&Form(&MODEL_NAME)),
    "The models to ask, in this order, when the model has failed and its tries are used up: each with its provider (see \
     Providers and models). An expert's own list replaces the one for all; `[]`: none.",
);

const PATTERNS: KeyKind = List(&FILLED);

/// `permissions`, of an expert or of all.
pub(in crate::config) static PERMISSIONS: KeyTable = KeyTable::new(
    "permissions",
    &[&[
        ConfigKey::new(
            "allow",
            PATTERNS,
            "Calls that are made without a question: exceptions to wider patterns of `ask`. Without `ask` beside it, calls \
             of tools that it does not name are asked about.",
        ),
        ConfigKey::new(
            "ask",
            PATTERNS,
            "Calls that a person is asked about; where nobody can be asked they are not made.",
        ),
        ConfigKey::new("deny", PATTERNS, "Calls that are not made. It goes before `ask`, and `ask` before `allow`."),
    ]],
);

const PERMISSION_KEY: ConfigKey = ConfigKey::new(
    "permissions",
    Table(&PERMISSIONS),
    "The calls that are made, that a person is asked about, and that are not made, by patterns: `exec`, `web.*`, \
     `exec(git status*)`, `writeTextFile(src/**)` (see Permissions).",
);

/// `verify` of an expert.
pub(in crate::config) static VERIFY: KeyTable = KeyTable::new(
    "verify",
    &[&[
        ConfigKey::new(
            "command",
            Form(&COMMAND),
            "The command that has to exit with code 0, run by `/bin/sh -c` in the workspace and contained as `exec` is.",
        )
        .is(Presence::Required),
        ConfigKey::new(
            "maxRounds",
            Whole(VERIFY_ROUNDS),
            "The number of rounds that may fail. Then the run stops with exit code 7.",
        )
        .or("3"),
        ConfigKey::new(
            "timeout",
            FormOrWhole(&SPAN, VERIFY_TIMEOUT),
            "The longest time of one round, in words or in milliseconds. A round that takes longer has failed.",
        )
        .or("\"10m\""),
    ]],
);

/// The options of a run, which `perstack.toml` and the user's `config.toml` share.
const RUN: &[ConfigKey] = &[
    ConfigKey::new(
        "model",
        FILLED,
        "The model's name, as its provider writes it. Without one: the provider's default.",
    ),
    FALLBACK,
    ConfigKey::new(
        "reasoningBudget",
        ChoiceOrWhole(|| words(&REASONING), REASONING_TOKENS),
        "How much the model may think before it answers: a word, or a number of tokens.",
    ),
    ConfigKey::new(
        "maxSteps",
        Whole(COUNT),
        "Most steps of a line of experts that call each other. The job stops with exit code 3.",
    )
    .or("100"),
    ConfigKey::new(
        "maxTotalSteps",
        Whole(COUNT),
        "Most steps of all experts of a job together. The job stops with exit code 3.",
    ),
    ConfigKey::new("maxRetries", Whole(RETRIES), "Repeats of a request to the model whose failure can pass.").or("5"),
    ConfigKey::new("timeout", Whole(COUNT), "Milliseconds for one answer of the model.").or("300000"),
    ConfigKey::new("maxCost", Dollars, "Most US dollars that the job may cost. It stops with exit code 5."),
    ConfigKey::new(
        "maxTokens",
        Whole(COUNT),
        "Most tokens of the job, prompts and answers together. It stops with exit code 5.",
    ),
    ConfigKey::new(
        "maxDuration",
        Form(&SPAN),
        "The longest time that processes may work on the job. It stops with exit code 5.",
    ),
    ConfigKey::new(
        "maxToolRepetitions",
        Whole(REPETITIONS),
        "The number of times in a row that the same call with the same result ends a run.",
    ),
    ConfigKey::new("maxDelegates", Whole(COUNT), "Most delegates that the job starts, over all resumptions.").or("256"),
    ConfigKey::new(
        "maxParallelDelegates",
        Whole(PARALLEL_DELEGATES),
        "Most delegates that work at the same time; the others wait for their turn.",
    )
    .or("8"),
    ConfigKey::new(
        "sandbox",
        Choice(|| words(&Sandbox::WORDS)),
        "The containment of commands and servers (see Security): none, the usual, that of every server, or that and no run \
         where the system lacks the means. `off` in a project counts once its folder is trusted.",
    )
    .or("\"auto\""),
    ConfigKey::new(
        "snapshot",
        Choice(|| words(&SnapshotMode::WORDS)),
        "The moments at which the state of the workspace is stored with the job: never, where a run stops, or with every \
         checkpoint (see Snapshots).",
    )
    .or("\"off\""),
];

const TOP_ONLY: &[ConfigKey] = &[
    INCLUDE,
    EXPERTS,
    ConfigKey::new("provider", Tagged(&PROVIDER), "The provider of the model, and how to reach it."),
    CONTEXT_LIMIT,
    TOOL_SEARCH,
    PERMISSION_KEY,
    ConfigKey::new(
        "maxToolOutput",
        Whole(TOOL_OUTPUT),
        "Most bytes of one tool result that the model is shown. All of it is kept in a file.",
    )
    .or("100000"),
    ConfigKey::new("envPath", List(&TEXT), "The files with environment variables, relative to this file.")
        .or("[\".env\", \".env.local\"]"),
    ConfigKey::new(
        "workspace",
        FILLED,
        "The folder that experts work in, beneath the folder of this file. Without it: the project's root.",
    ),
    ConfigKey::new("perstackApiBaseUrl", Form(&HTTPS_URL), "The original's registry. It is checked, and never asked.")
        .or("\"https://api.perstack.ai\""),
    ConfigKey::new(
        "perstackBaseSkillCommand",
        List(&TEXT),
        "A program with its arguments that replaces the built-in base skill.",
    ),
    ConfigKey::new("runtime", TEXT, "No longer used, ignored.").is(Presence::Obsolete),
];

/// `perstack.toml`.
pub(in crate::config) static TOP: KeyTable = KeyTable::new("perstack.toml", &[TOP_ONLY, RUN]);

/// The keys at the top of an included file.
pub(in crate::config) static INCLUDED: KeyTable = KeyTable::new("an included file", &[&[EXPERTS, INCLUDE]]);

/// The user's `config.toml`.
pub(in crate::config) static USER: KeyTable = KeyTable::new(
    "config.toml",
    &[
        &[
            ConfigKey::new("provider", Choice(provider_names), "The provider of the model."),
            ConfigKey::new(
                "trustFolders",
                List(&TEXT),
                "Folders that are trusted with all beneath them; `~/` stands for the home folder.",
            ),
            ConfigKey::new(
                "permissions",
                Table(&PERMISSIONS),
                "The calls that are made, that you are asked about, and that are not made, in all of your runs. No project \
                 makes exceptions to them.",
            ),
        ],
        RUN,
    ],
);

/// `[experts."NAME"]`.
pub(in crate::config) static EXPERT: KeyTable = KeyTable::new(
    "experts.NAME",
    &[&[
        ConfigKey::new(
            "instruction",
            Text(INSTRUCTION),
            "The expert's role and rules: the beginning of every conversation with the model.",
        )
        .is(Presence::Required),
        ConfigKey::new(
            "description",
            Text(DESCRIPTION),
            "What the expert does and needs to be given, for the experts that may delegate to it.",
        ),
        ConfigKey::new("version", Form(&VERSION), "The expert's version.").or("\"1.0.0\""),
        ConfigKey::new(
            "minRuntimeVersion",
            TEXT,
            "The lowest version of the runtime, on the original's scale, that the expert needs; this one is v1.0.",
        ),
        ConfigKey::new(
            "defaultModelTier",
            Choice(|| words(&TIERS)),
            "The class of the provider's models that is used unless a model is named on the command line.",
        ),
        FALLBACK,
        CONTEXT_LIMIT,
    TOOL_SEARCH,
        ConfigKey::new(
            "outputSchema",
            JsonSchema,
            "The JSON Schema that the expert's answer has to be valid against: its file, relative to this one and in the \
             project's folder, or the schema itself (see Structured answers).",
        ),
        ConfigKey::new(
            "verify",
            Table(&VERIFY),
            "The command that has to succeed before the expert's answer counts (see Verified answers).",
        ),
        ConfigKey::new(
            "context",
            List(&Form(&CONTEXT_PATH)),
            "Files that belong to the instruction, such as `AGENTS.md`: those of the workspace's root and of the folders from \
             there to each file that is sent along (see Context files).",
        )
        .or("[]"),
        ConfigKey::new(
            "agentSkills",
            List(&Form(&AGENT_SKILL)),
            "Agent Skills (folders with a `SKILL.md`) that the expert has: by name, by the path of a skill's folder or of a \
             folder of skills, or `\"*\"` for all of the usual folders (see Agent Skills).",
        )
        .or("[]"),
        PERMISSION_KEY,
        ConfigKey::new(
            "afterUntrusted",
            PATTERNS,
            "Patterns of the calls that may be made once untrusted text was read (see Permissions). Absent: those of tools \
             that only read.",
        ),
        ConfigKey::new(
            "skills",
            Map(None, &A_SKILL),
            "The expert's skills, each a table under its name. Without this table the expert has the whole base skill; \
             with it, the base skill only where `@perstack/base` is among them.",
        ),
        ConfigKey::new("delegates", List(&Form(&DELEGATE)), "The experts that this one may call, each as a tool.")
            .or("[]"),
        ConfigKey::new("tags", List(&Form(&TAG)), "Words to find the expert by.").or("[]"),
        ConfigKey::new(
            "providerTools",
            List(&Suggestion(|| PROVIDER_TOOLS.to_vec())),
            "Tools that the model's provider runs itself. Those that it lacks are left out with a warning.",
        )
        .or("[]"),
        ConfigKey::new(
            "providerSkills",
            List(&A_PROVIDER_SKILL),
            "Skills that the model's provider runs itself (Anthropic).",
        ),
        ConfigKey::new("providerToolOptions", Table(&TOOL_OPTIONS), "Options of the tools in `providerTools`."),
    ]],
);

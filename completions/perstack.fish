# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_perstack_global_optspecs
    string join \n color= h/help V/version
end

function __fish_perstack_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_perstack_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_perstack_using_subcommand
    set -l cmd (__fish_perstack_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c perstack -n "__fish_perstack_needs_command" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_needs_command" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_needs_command" -s V -l version -d 'Print version'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "run" -d 'Runs a job'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "resume" -d 'Continues a job from a checkpoint'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "init" -d 'Writes a first perstack.toml into this folder, with comments'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "experts" -d 'Lists the experts with their descriptions'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "list-tools" -d 'Lists the tools that experts would see'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "install" -d 'Starts every skill once and writes perstack.lock'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "check" -d 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "info" -d 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "models" -d 'Lists the known models: context, output, prices, abilities, tiers'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "log" -d 'Shows the history of jobs: runs, steps, calls, events'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "login" -d 'Logs in to a remote skill whose server requires it'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "trust" -d 'Trusts this folder: what its configuration starts, sends and gives away'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "schema" -d 'Prints the JSON Schema of perstack.toml'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "completions" -d 'Prints the completion script for a shell'
complete -c perstack -n "__fish_perstack_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l instruction -d 'Run an expert with this instruction and the built-in tools, which no configuration has to define' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l file -d 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l job-id -d 'Id of the new job [default: a new one]' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l continue-job -d 'Continue this job from its latest checkpoint' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l resume-from -d 'Continue from this checkpoint of the job' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l provider -d 'Model provider' -r -f -a "anthropic\t''
openai\t''
google\t''
deepseek\t''
fireworks\t''
azure-openai\t''
amazon-bedrock\t''
google-vertex\t''
ollama\t''"
complete -c perstack -n "__fish_perstack_using_subcommand run" -l model -d 'Model, as the provider spells it' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l reasoning-budget -d 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-steps -d 'Steps of each chain of experts that call each other [default: the configuration\'s, else 100]' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-retries -d 'Repeats of a failed model call [default: the configuration\'s, else 5]' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l timeout -d 'Time limit for one model call, in milliseconds [default: the configuration\'s, else 300000]' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-total-steps -d 'Steps of all experts together' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-cost -d 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-tokens -d 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-duration -d 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l max-tool-repetitions -d 'Stop a run that makes the same call with the same result this many times in a row' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l storage -d 'Folder that jobs are stored in [default: perstack in the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l proxy -d 'HTTP(S) or SOCKS proxy for requests to models and remote skills' -r
complete -c perstack -n "__fish_perstack_using_subcommand run" -l output -d 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON' -r -f -a "text\t''
json\t''
jsonl\t''"
complete -c perstack -n "__fish_perstack_using_subcommand run" -l filter -d 'Only events of these types, separated by commas; implies --output jsonl' -r -f -a "startRun\t''
resumeFromStop\t''
startGeneration\t''
retry\t''
contextSummarized\t''
callTools\t''
resolveToolResults\t''
finishToolCall\t''
continueToNextStep\t''
completeRun\t''
stopRunByInteractiveTool\t''
stopRunByDelegate\t''
stopRunByExceededMaxSteps\t''
stopRunByError\t''
stopRunByCancellation\t''
stopRunByBudget\t''
startStreamingReasoning\t''
streamReasoning\t''
completeStreamingReasoning\t''
startStreamingText\t''
streamText\t''
completeStreamingText\t''
startStreamingRunResult\t''
streamRunResult\t''
completeStreamingRunResult\t''
initializeRuntime\t''
skillStarting\t''
skillConnected\t''
skillStderr\t''
skillDisconnected\t''
skillProgress\t''
runtimeWarning\t''
attemptCompletion\t''
callDelegate\t''
callInteractiveTool\t''
completeReasoning\t''
dockerBuildProgress\t''
dockerContainerStatus\t''
errorRun\t''
finishAllToolCalls\t''
finishRun\t''
finishStep\t''
proxyAccess\t''
resumeToolCalls\t''
startReasoning\t''
startRunResult\t''"
complete -c perstack -n "__fish_perstack_using_subcommand run" -l in-doubt -d 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]' -r -f -a "report\t''
retry\t''
stop\t''"
complete -c perstack -n "__fish_perstack_using_subcommand run" -l record -d 'Record every model exchange and tool result in this file' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l replay -d 'Answer from this recorded session, without network or key' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand run" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand run" -l no-stdin -d 'Leave standard input alone. Without it, what is piped in is sent behind the query'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l ensure -d 'Bring the job of this id to its end: start it, continue it, or print its answer again if it has completed'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l continue -d 'Continue the latest job from its latest checkpoint'
complete -c perstack -n "__fish_perstack_using_subcommand run" -s i -l interactive-tool-call-result -d 'The query is the answer to an interactive call, and is sent as it is'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l json -d 'Same as --output jsonl'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l full-events -d 'Every event with its whole messages and checkpoints; implies --output jsonl'
complete -c perstack -n "__fish_perstack_using_subcommand run" -s q -l quiet -d 'Show errors only'
complete -c perstack -n "__fish_perstack_using_subcommand run" -s v -l verbose -d 'Show more: reasoning and skills\' messages as they come, the text beside calls, edits and the head of outputs'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l stream -d 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l plain -d 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l bell -d 'Ring the terminal\'s bell at the end of a job that took more than a minute'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l replay-tools -d 'Take tool results from the recorded session too, instead of running tools'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l no-interactive -d 'Never ask on the terminal: a question stops the job with exit code 4'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l locked -d 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)'
complete -c perstack -n "__fish_perstack_using_subcommand run" -l frozen -d 'Use perstack.lock as it is, without checking that it is fresh'
complete -c perstack -n "__fish_perstack_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l file -d 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l provider -d 'Model provider' -r -f -a "anthropic\t''
openai\t''
google\t''
deepseek\t''
fireworks\t''
azure-openai\t''
amazon-bedrock\t''
google-vertex\t''
ollama\t''"
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l model -d 'Model, as the provider spells it' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l reasoning-budget -d 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-steps -d 'Steps of each chain of experts that call each other [default: the configuration\'s, else 100]' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-retries -d 'Repeats of a failed model call [default: the configuration\'s, else 5]' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l timeout -d 'Time limit for one model call, in milliseconds [default: the configuration\'s, else 300000]' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-total-steps -d 'Steps of all experts together' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-cost -d 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-tokens -d 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-duration -d 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l max-tool-repetitions -d 'Stop a run that makes the same call with the same result this many times in a row' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l storage -d 'Folder that jobs are stored in [default: perstack in the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l proxy -d 'HTTP(S) or SOCKS proxy for requests to models and remote skills' -r
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l output -d 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON' -r -f -a "text\t''
json\t''
jsonl\t''"
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l filter -d 'Only events of these types, separated by commas; implies --output jsonl' -r -f -a "startRun\t''
resumeFromStop\t''
startGeneration\t''
retry\t''
contextSummarized\t''
callTools\t''
resolveToolResults\t''
finishToolCall\t''
continueToNextStep\t''
completeRun\t''
stopRunByInteractiveTool\t''
stopRunByDelegate\t''
stopRunByExceededMaxSteps\t''
stopRunByError\t''
stopRunByCancellation\t''
stopRunByBudget\t''
startStreamingReasoning\t''
streamReasoning\t''
completeStreamingReasoning\t''
startStreamingText\t''
streamText\t''
completeStreamingText\t''
startStreamingRunResult\t''
streamRunResult\t''
completeStreamingRunResult\t''
initializeRuntime\t''
skillStarting\t''
skillConnected\t''
skillStderr\t''
skillDisconnected\t''
skillProgress\t''
runtimeWarning\t''
attemptCompletion\t''
callDelegate\t''
callInteractiveTool\t''
completeReasoning\t''
dockerBuildProgress\t''
dockerContainerStatus\t''
errorRun\t''
finishAllToolCalls\t''
finishRun\t''
finishStep\t''
proxyAccess\t''
resumeToolCalls\t''
startReasoning\t''
startRunResult\t''"
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l in-doubt -d 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]' -r -f -a "report\t''
retry\t''
stop\t''"
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l record -d 'Record every model exchange and tool result in this file' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l replay -d 'Answer from this recorded session, without network or key' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l no-stdin -d 'Leave standard input alone. Without it, what is piped in is sent behind the query'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -s i -l interactive-tool-call-result -d 'The query is the answer to an interactive call, and is sent as it is'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l json -d 'Same as --output jsonl'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l full-events -d 'Every event with its whole messages and checkpoints; implies --output jsonl'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -s q -l quiet -d 'Show errors only'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -s v -l verbose -d 'Show more: reasoning and skills\' messages as they come, the text beside calls, edits and the head of outputs'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l stream -d 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l plain -d 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l bell -d 'Ring the terminal\'s bell at the end of a job that took more than a minute'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l replay-tools -d 'Take tool results from the recorded session too, instead of running tools'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l no-interactive -d 'Never ask on the terminal: a question stops the job with exit code 4'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l locked -d 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -l frozen -d 'Use perstack.lock as it is, without checking that it is fresh'
complete -c perstack -n "__fish_perstack_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c perstack -n "__fish_perstack_using_subcommand init" -l expert -d 'Name of the expert' -r
complete -c perstack -n "__fish_perstack_using_subcommand init" -l provider -d 'Model provider [default: none is named, and each run takes the first whose key is set]' -r -f -a "anthropic\t''
openai\t''
google\t''
deepseek\t''
fireworks\t''
azure-openai\t''
amazon-bedrock\t''
google-vertex\t''
ollama\t''"
complete -c perstack -n "__fish_perstack_using_subcommand init" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand init" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l json -d 'An array of JSON objects, with skills and delegates'
complete -c perstack -n "__fish_perstack_using_subcommand experts" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand experts" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l storage -d 'Folder that jobs are stored in [default: perstack in the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l proxy -d 'HTTP(S) or SOCKS proxy for requests to models and remote skills' -r
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l json -d 'An array of JSON objects, with each tool\'s input schema'
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l live -d 'Start the skills and ask them, even if perstack.lock is fresh'
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -s q -l quiet -d 'Show errors only'
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand list-tools" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand install" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand install" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand install" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand install" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand install" -l check -d 'Write nothing; print how perstack.lock differs from the skills, and fail if it does'
complete -c perstack -n "__fish_perstack_using_subcommand install" -s q -l quiet -d 'Show errors only'
complete -c perstack -n "__fish_perstack_using_subcommand install" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand install" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand check" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand check" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand check" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand check" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand check" -l json -d 'One JSON object with all findings'
complete -c perstack -n "__fish_perstack_using_subcommand check" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand check" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand info" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand info" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand info" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand info" -l storage -d 'Folder that jobs are stored in [default: perstack in the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand info" -l proxy -d 'HTTP(S) or SOCKS proxy for requests to models and remote skills' -r
complete -c perstack -n "__fish_perstack_using_subcommand info" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand info" -l json -d 'One JSON object'
complete -c perstack -n "__fish_perstack_using_subcommand info" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand info" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand models" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand models" -l json -d 'An array of JSON objects, with all prices and the sources of the numbers'
complete -c perstack -n "__fish_perstack_using_subcommand models" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l job -d 'Same as JOB' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l run -d 'Only this run (its id or the beginning of it)' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l checkpoint -d 'This checkpoint (its id or the beginning of it) and its run' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l step -d 'Steps: 5, >5, >=5, <5, <=5 or 1-10' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l type -d 'Events of this type' -r -f -a "startRun\t''
resumeFromStop\t''
startGeneration\t''
retry\t''
contextSummarized\t''
callTools\t''
resolveToolResults\t''
finishToolCall\t''
continueToNextStep\t''
completeRun\t''
stopRunByInteractiveTool\t''
stopRunByDelegate\t''
stopRunByExceededMaxSteps\t''
stopRunByError\t''
stopRunByCancellation\t''
stopRunByBudget\t''
startStreamingReasoning\t''
streamReasoning\t''
completeStreamingReasoning\t''
startStreamingText\t''
streamText\t''
completeStreamingText\t''
startStreamingRunResult\t''
streamRunResult\t''
completeStreamingRunResult\t''
initializeRuntime\t''
skillStarting\t''
skillConnected\t''
skillStderr\t''
skillDisconnected\t''
skillProgress\t''
runtimeWarning\t''
attemptCompletion\t''
callDelegate\t''
callInteractiveTool\t''
completeReasoning\t''
dockerBuildProgress\t''
dockerContainerStatus\t''
errorRun\t''
finishAllToolCalls\t''
finishRun\t''
finishStep\t''
proxyAccess\t''
resumeToolCalls\t''
startReasoning\t''
startRunResult\t''"
complete -c perstack -n "__fish_perstack_using_subcommand log" -l filter -d 'Events whose JSON matches `.path OP value`' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l take -d 'At most this many; 0 for all [default: 100]' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l offset -d 'Skip this many first [default: 0]' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l context -d 'Also this many events before and after each match' -r
complete -c perstack -n "__fish_perstack_using_subcommand log" -l storage -d 'Folder that jobs are stored in [default: perstack]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand log" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand log" -l jobs -l list -d 'All jobs, the last started first'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l messages -d 'With --checkpoint: its messages'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l errors -d 'stopRunByError and retry'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l tools -d 'callTools, resolveToolResults and callInteractiveTool'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l delegations -d 'callDelegate and stopRunByDelegate'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l steps -d 'Steps with their calls, instead of events'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l summary -d 'Counts of what is shown'
complete -c perstack -n "__fish_perstack_using_subcommand log" -s v -l verbose -d 'Arguments of calls in full'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l full-events -d 'In JSON: every event with its whole messages and checkpoints'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l json -d 'One JSON object (with --jobs, an array)'
complete -c perstack -n "__fish_perstack_using_subcommand log" -l pretty -d 'The same, indented'
complete -c perstack -n "__fish_perstack_using_subcommand log" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand login" -l port -d 'The port of this machine that the browser comes back to, where a registered client must name it [default: any]' -r
complete -c perstack -n "__fish_perstack_using_subcommand login" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand login" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand login" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand login" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand login" -l logout -d 'Forget the login instead'
complete -c perstack -n "__fish_perstack_using_subcommand login" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand login" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l config -d 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project\'s root: .env, jobs and experts\' work are there' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l env-path -d 'File with environment variables (repeatable); without it, the configuration\'s, else .env and .env.local' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l workspace -d 'Folder that experts work in [default: the configuration\'s, else the project\'s root]' -r -F
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l show -d 'Show what there is to trust, and its digest; ask nothing'
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l revoke -d 'Take back what was agreed to for this folder'
complete -c perstack -n "__fish_perstack_using_subcommand trust" -l trust -d 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
complete -c perstack -n "__fish_perstack_using_subcommand trust" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand schema" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand schema" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand completions" -l color -d 'Colours: always, never, or by the terminal and the environment' -r -f -a "auto\t''
always\t''
never\t''"
complete -c perstack -n "__fish_perstack_using_subcommand completions" -s h -l help -d 'Print help'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "run" -d 'Runs a job'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "resume" -d 'Continues a job from a checkpoint'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "init" -d 'Writes a first perstack.toml into this folder, with comments'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "experts" -d 'Lists the experts with their descriptions'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "list-tools" -d 'Lists the tools that experts would see'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "install" -d 'Starts every skill once and writes perstack.lock'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "check" -d 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "info" -d 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "models" -d 'Lists the known models: context, output, prices, abilities, tiers'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "log" -d 'Shows the history of jobs: runs, steps, calls, events'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "login" -d 'Logs in to a remote skill whose server requires it'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "trust" -d 'Trusts this folder: what its configuration starts, sends and gives away'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "schema" -d 'Prints the JSON Schema of perstack.toml'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "completions" -d 'Prints the completion script for a shell'
complete -c perstack -n "__fish_perstack_using_subcommand help; and not __fish_seen_subcommand_from run resume init experts list-tools install check info models log login trust schema completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'

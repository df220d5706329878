
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'perstack' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'perstack'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'perstack' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Runs a job')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Continues a job from a checkpoint')
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Writes a first perstack.toml into this folder, with comments')
            [CompletionResult]::new('experts', 'experts', [CompletionResultType]::ParameterValue, 'Lists the experts with their descriptions')
            [CompletionResult]::new('list-tools', 'list-tools', [CompletionResultType]::ParameterValue, 'Lists the tools that experts would see')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Starts every skill once and writes perstack.lock')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill')
            [CompletionResult]::new('info', 'info', [CompletionResultType]::ParameterValue, 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox')
            [CompletionResult]::new('models', 'models', [CompletionResultType]::ParameterValue, 'Lists the known models: context, output, prices, abilities, tiers')
            [CompletionResult]::new('log', 'log', [CompletionResultType]::ParameterValue, 'Shows recent jobs, or one: runs, steps, calls, events')
            [CompletionResult]::new('job', 'job', [CompletionResultType]::ParameterValue, 'Compares recorded jobs, or removes them')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Logs in to a remote skill whose server requires it')
            [CompletionResult]::new('trust', 'trust', [CompletionResultType]::ParameterValue, 'Trusts this folder: what its configuration starts, sends and gives away')
            [CompletionResult]::new('schema', 'schema', [CompletionResultType]::ParameterValue, 'Prints the JSON Schema of perstack.toml')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Prints the completion script for a shell')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'perstack;run' {
            [CompletionResult]::new('--instruction', '--instruction', [CompletionResultType]::ParameterName, 'Run an expert with this instruction and the built-in tools, which no configuration has to define')
            [CompletionResult]::new('--file', '--file', [CompletionResultType]::ParameterName, 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF')
            [CompletionResult]::new('--job-id', '--job-id', [CompletionResultType]::ParameterName, 'Id of the new job [default: a new one]')
            [CompletionResult]::new('--continue-job', '--continue-job', [CompletionResultType]::ParameterName, 'Continue this job (its id, or a beginning or an end of it) from its latest checkpoint')
            [CompletionResult]::new('--resume-from', '--resume-from', [CompletionResultType]::ParameterName, 'Continue from this checkpoint of the job (named in the same way)')
            [CompletionResult]::new('--provider', '--provider', [CompletionResultType]::ParameterName, 'Model provider')
            [CompletionResult]::new('--model', '--model', [CompletionResultType]::ParameterName, 'Model, as the provider spells it')
            [CompletionResult]::new('--reasoning-budget', '--reasoning-budget', [CompletionResultType]::ParameterName, 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens')
            [CompletionResult]::new('--max-steps', '--max-steps', [CompletionResultType]::ParameterName, 'Steps of each chain of experts that call each other [default: the configuration''s, else 100]')
            [CompletionResult]::new('--max-retries', '--max-retries', [CompletionResultType]::ParameterName, 'Repeats of a failed model call [default: the configuration''s, else 5]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'Time limit for one model call, in milliseconds [default: the configuration''s, else 300000]')
            [CompletionResult]::new('--max-total-steps', '--max-total-steps', [CompletionResultType]::ParameterName, 'Steps of all experts together')
            [CompletionResult]::new('--max-cost', '--max-cost', [CompletionResultType]::ParameterName, 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent')
            [CompletionResult]::new('--max-tokens', '--max-tokens', [CompletionResultType]::ParameterName, 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way')
            [CompletionResult]::new('--max-duration', '--max-duration', [CompletionResultType]::ParameterName, 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped')
            [CompletionResult]::new('--max-tool-repetitions', '--max-tool-repetitions', [CompletionResultType]::ParameterName, 'Stop a run that makes the same call with the same result this many times in a row')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack in the project''s root]')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'HTTP(S) or SOCKS proxy for requests to models and remote skills')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Only events of these types, separated by commas; implies --output jsonl')
            [CompletionResult]::new('--in-doubt', '--in-doubt', [CompletionResultType]::ParameterName, 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]')
            [CompletionResult]::new('--record', '--record', [CompletionResultType]::ParameterName, 'Record every model exchange and tool result in this file')
            [CompletionResult]::new('--replay', '--replay', [CompletionResultType]::ParameterName, 'Answer from this recorded session, without network or key')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--no-stdin', '--no-stdin', [CompletionResultType]::ParameterName, 'Leave standard input alone. Without it, what is piped in is sent behind the query')
            [CompletionResult]::new('--ensure', '--ensure', [CompletionResultType]::ParameterName, 'Bring the job of this id to its end: start it, continue it, or print its answer again if it has completed')
            [CompletionResult]::new('--continue', '--continue', [CompletionResultType]::ParameterName, 'Continue the latest job from its latest checkpoint')
            [CompletionResult]::new('-i', '-i', [CompletionResultType]::ParameterName, 'The query is the answer to an interactive call, and is sent as it is')
            [CompletionResult]::new('--interactive-tool-call-result', '--interactive-tool-call-result', [CompletionResultType]::ParameterName, 'The query is the answer to an interactive call, and is sent as it is')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Same as --output jsonl')
            [CompletionResult]::new('--full-events', '--full-events', [CompletionResultType]::ParameterName, 'Every event with its whole messages and checkpoints; implies --output jsonl')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs')
            [CompletionResult]::new('--stream', '--stream', [CompletionResultType]::ParameterName, 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end')
            [CompletionResult]::new('--plain', '--plain', [CompletionResultType]::ParameterName, 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles')
            [CompletionResult]::new('--bell', '--bell', [CompletionResultType]::ParameterName, 'Ring the terminal''s bell at the end of a job that took more than a minute')
            [CompletionResult]::new('--replay-tools', '--replay-tools', [CompletionResultType]::ParameterName, 'Take tool results from the recorded session too, instead of running tools')
            [CompletionResult]::new('--no-interactive', '--no-interactive', [CompletionResultType]::ParameterName, 'Never ask on the terminal: a question stops the job with exit code 4')
            [CompletionResult]::new('--locked', '--locked', [CompletionResultType]::ParameterName, 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)')
            [CompletionResult]::new('--frozen', '--frozen', [CompletionResultType]::ParameterName, 'Use perstack.lock as it is, without checking that it is fresh')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'perstack;resume' {
            [CompletionResult]::new('--file', '--file', [CompletionResultType]::ParameterName, 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF')
            [CompletionResult]::new('--provider', '--provider', [CompletionResultType]::ParameterName, 'Model provider')
            [CompletionResult]::new('--model', '--model', [CompletionResultType]::ParameterName, 'Model, as the provider spells it')
            [CompletionResult]::new('--reasoning-budget', '--reasoning-budget', [CompletionResultType]::ParameterName, 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens')
            [CompletionResult]::new('--max-steps', '--max-steps', [CompletionResultType]::ParameterName, 'Steps of each chain of experts that call each other [default: the configuration''s, else 100]')
            [CompletionResult]::new('--max-retries', '--max-retries', [CompletionResultType]::ParameterName, 'Repeats of a failed model call [default: the configuration''s, else 5]')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'Time limit for one model call, in milliseconds [default: the configuration''s, else 300000]')
            [CompletionResult]::new('--max-total-steps', '--max-total-steps', [CompletionResultType]::ParameterName, 'Steps of all experts together')
            [CompletionResult]::new('--max-cost', '--max-cost', [CompletionResultType]::ParameterName, 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent')
            [CompletionResult]::new('--max-tokens', '--max-tokens', [CompletionResultType]::ParameterName, 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way')
            [CompletionResult]::new('--max-duration', '--max-duration', [CompletionResultType]::ParameterName, 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped')
            [CompletionResult]::new('--max-tool-repetitions', '--max-tool-repetitions', [CompletionResultType]::ParameterName, 'Stop a run that makes the same call with the same result this many times in a row')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack in the project''s root]')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'HTTP(S) or SOCKS proxy for requests to models and remote skills')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Only events of these types, separated by commas; implies --output jsonl')
            [CompletionResult]::new('--in-doubt', '--in-doubt', [CompletionResultType]::ParameterName, 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]')
            [CompletionResult]::new('--record', '--record', [CompletionResultType]::ParameterName, 'Record every model exchange and tool result in this file')
            [CompletionResult]::new('--replay', '--replay', [CompletionResultType]::ParameterName, 'Answer from this recorded session, without network or key')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--no-stdin', '--no-stdin', [CompletionResultType]::ParameterName, 'Leave standard input alone. Without it, what is piped in is sent behind the query')
            [CompletionResult]::new('-i', '-i', [CompletionResultType]::ParameterName, 'The query is the answer to an interactive call, and is sent as it is')
            [CompletionResult]::new('--interactive-tool-call-result', '--interactive-tool-call-result', [CompletionResultType]::ParameterName, 'The query is the answer to an interactive call, and is sent as it is')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Same as --output jsonl')
            [CompletionResult]::new('--full-events', '--full-events', [CompletionResultType]::ParameterName, 'Every event with its whole messages and checkpoints; implies --output jsonl')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs')
            [CompletionResult]::new('--stream', '--stream', [CompletionResultType]::ParameterName, 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end')
            [CompletionResult]::new('--plain', '--plain', [CompletionResultType]::ParameterName, 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles')
            [CompletionResult]::new('--bell', '--bell', [CompletionResultType]::ParameterName, 'Ring the terminal''s bell at the end of a job that took more than a minute')
            [CompletionResult]::new('--replay-tools', '--replay-tools', [CompletionResultType]::ParameterName, 'Take tool results from the recorded session too, instead of running tools')
            [CompletionResult]::new('--no-interactive', '--no-interactive', [CompletionResultType]::ParameterName, 'Never ask on the terminal: a question stops the job with exit code 4')
            [CompletionResult]::new('--locked', '--locked', [CompletionResultType]::ParameterName, 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)')
            [CompletionResult]::new('--frozen', '--frozen', [CompletionResultType]::ParameterName, 'Use perstack.lock as it is, without checking that it is fresh')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'perstack;init' {
            [CompletionResult]::new('--expert', '--expert', [CompletionResultType]::ParameterName, 'Name of the expert')
            [CompletionResult]::new('--provider', '--provider', [CompletionResultType]::ParameterName, 'Model provider [default: none is named, and each run takes the first whose key is set]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;experts' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'An array of JSON objects, with skills and delegates')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;list-tools' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack in the project''s root]')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'HTTP(S) or SOCKS proxy for requests to models and remote skills')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'An array of JSON objects, with each tool''s input schema')
            [CompletionResult]::new('--live', '--live', [CompletionResultType]::ParameterName, 'Start the skills and ask them, even if perstack.lock is fresh')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;install' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Write nothing; print how perstack.lock differs from the skills, and fail if it does')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Show errors only')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;check' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object with all findings')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;info' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack in the project''s root]')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'HTTP(S) or SOCKS proxy for requests to models and remote skills')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;models' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'An array of JSON objects, with all prices and the sources of the numbers')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;log' {
            [CompletionResult]::new('--job', '--job', [CompletionResultType]::ParameterName, 'Same as JOB')
            [CompletionResult]::new('--run', '--run', [CompletionResultType]::ParameterName, 'Only this run')
            [CompletionResult]::new('--checkpoint', '--checkpoint', [CompletionResultType]::ParameterName, 'This checkpoint and its run')
            [CompletionResult]::new('--step', '--step', [CompletionResultType]::ParameterName, 'Steps: 5, >5, >=5, <5, <=5 or 1-10; alone, these steps whole')
            [CompletionResult]::new('--type', '--type', [CompletionResultType]::ParameterName, 'Events of this type')
            [CompletionResult]::new('--filter', '--filter', [CompletionResultType]::ParameterName, 'Events whose JSON matches `.path OP value`')
            [CompletionResult]::new('--since', '--since', [CompletionResultType]::ParameterName, 'Jobs started, or events, since then')
            [CompletionResult]::new('--grep', '--grep', [CompletionResultType]::ParameterName, 'Jobs or events that hold this text, in large or small letters')
            [CompletionResult]::new('--last', '--last', [CompletionResultType]::ParameterName, 'The last N jobs or events')
            [CompletionResult]::new('--take', '--take', [CompletionResultType]::ParameterName, 'At most this many; 0 for all [default: 100]')
            [CompletionResult]::new('--offset', '--offset', [CompletionResultType]::ParameterName, 'Skip this many first [default: 0]')
            [CompletionResult]::new('--context', '--context', [CompletionResultType]::ParameterName, 'Also this many events before and after each match')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--jobs', '--jobs', [CompletionResultType]::ParameterName, 'All jobs, the last started first')
            [CompletionResult]::new('--list', '--list', [CompletionResultType]::ParameterName, 'All jobs, the last started first')
            [CompletionResult]::new('--messages', '--messages', [CompletionResultType]::ParameterName, 'With --checkpoint: its messages')
            [CompletionResult]::new('--errors', '--errors', [CompletionResultType]::ParameterName, 'stopRunByError and retry')
            [CompletionResult]::new('--tools', '--tools', [CompletionResultType]::ParameterName, 'callTools, resolveToolResults and callInteractiveTool')
            [CompletionResult]::new('--delegations', '--delegations', [CompletionResultType]::ParameterName, 'callDelegate and stopRunByDelegate')
            [CompletionResult]::new('--events', '--events', [CompletionResultType]::ParameterName, 'Events, as they happened')
            [CompletionResult]::new('--steps', '--steps', [CompletionResultType]::ParameterName, 'Steps with their calls, instead of events')
            [CompletionResult]::new('--text', '--text', [CompletionResultType]::ParameterName, 'The job''s answer and nothing else')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on until the job ends, over crashes and resumptions; with --json, an event a line')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on until the job ends, over crashes and resumptions; with --json, an event a line')
            [CompletionResult]::new('--summary', '--summary', [CompletionResultType]::ParameterName, 'Counts of what is shown')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Arguments of calls and answers in full')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Arguments of calls and answers in full')
            [CompletionResult]::new('--full-events', '--full-events', [CompletionResultType]::ParameterName, 'In JSON: every event with its whole messages and checkpoints')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object (with --jobs, an array)')
            [CompletionResult]::new('--pretty', '--pretty', [CompletionResultType]::ParameterName, 'The same, indented')
            [CompletionResult]::new('--no-pager', '--no-pager', [CompletionResultType]::ParameterName, 'Print at once, without a pager')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;job' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('diff', 'diff', [CompletionResultType]::ParameterValue, 'Compares two checkpoints or jobs, message by message')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Removes jobs with all that is stored of them')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'perstack;job;diff' {
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object (with --jobs, an array)')
            [CompletionResult]::new('--pretty', '--pretty', [CompletionResultType]::ParameterName, 'The same, indented')
            [CompletionResult]::new('--no-pager', '--no-pager', [CompletionResultType]::ParameterName, 'Print at once, without a pager')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;job;rm' {
            [CompletionResult]::new('--older-than', '--older-than', [CompletionResultType]::ParameterName, 'All jobs on which nothing was done for this long, such as 12h, 30d or 8w')
            [CompletionResult]::new('--storage', '--storage', [CompletionResultType]::ParameterName, 'Folder that jobs are stored in [default: perstack]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-y', '-y', [CompletionResultType]::ParameterName, 'Remove without asking')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Remove without asking')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;job;help' {
            [CompletionResult]::new('diff', 'diff', [CompletionResultType]::ParameterValue, 'Compares two checkpoints or jobs, message by message')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Removes jobs with all that is stored of them')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'perstack;job;help;diff' {
            break
        }
        'perstack;job;help;rm' {
            break
        }
        'perstack;job;help;help' {
            break
        }
        'perstack;login' {
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'The port of this machine that the browser comes back to, where a registered client must name it [default: any]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--logout', '--logout', [CompletionResultType]::ParameterName, 'Forget the login instead')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;trust' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there')
            [CompletionResult]::new('--env-path', '--env-path', [CompletionResultType]::ParameterName, 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local')
            [CompletionResult]::new('--workspace', '--workspace', [CompletionResultType]::ParameterName, 'Folder that experts work in [default: the configuration''s, else the project''s root]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('--show', '--show', [CompletionResultType]::ParameterName, 'Show what there is to trust, and its digest; ask nothing')
            [CompletionResult]::new('--revoke', '--revoke', [CompletionResultType]::ParameterName, 'Take back what was agreed to for this folder')
            [CompletionResult]::new('--trust', '--trust', [CompletionResultType]::ParameterName, 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;schema' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;completions' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours: always, never, or by the terminal and the environment')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'perstack;help' {
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Runs a job')
            [CompletionResult]::new('resume', 'resume', [CompletionResultType]::ParameterValue, 'Continues a job from a checkpoint')
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Writes a first perstack.toml into this folder, with comments')
            [CompletionResult]::new('experts', 'experts', [CompletionResultType]::ParameterValue, 'Lists the experts with their descriptions')
            [CompletionResult]::new('list-tools', 'list-tools', [CompletionResultType]::ParameterValue, 'Lists the tools that experts would see')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Starts every skill once and writes perstack.lock')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill')
            [CompletionResult]::new('info', 'info', [CompletionResultType]::ParameterValue, 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox')
            [CompletionResult]::new('models', 'models', [CompletionResultType]::ParameterValue, 'Lists the known models: context, output, prices, abilities, tiers')
            [CompletionResult]::new('log', 'log', [CompletionResultType]::ParameterValue, 'Shows recent jobs, or one: runs, steps, calls, events')
            [CompletionResult]::new('job', 'job', [CompletionResultType]::ParameterValue, 'Compares recorded jobs, or removes them')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Logs in to a remote skill whose server requires it')
            [CompletionResult]::new('trust', 'trust', [CompletionResultType]::ParameterValue, 'Trusts this folder: what its configuration starts, sends and gives away')
            [CompletionResult]::new('schema', 'schema', [CompletionResultType]::ParameterValue, 'Prints the JSON Schema of perstack.toml')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Prints the completion script for a shell')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'perstack;help;run' {
            break
        }
        'perstack;help;resume' {
            break
        }
        'perstack;help;init' {
            break
        }
        'perstack;help;experts' {
            break
        }
        'perstack;help;list-tools' {
            break
        }
        'perstack;help;install' {
            break
        }
        'perstack;help;check' {
            break
        }
        'perstack;help;info' {
            break
        }
        'perstack;help;models' {
            break
        }
        'perstack;help;log' {
            break
        }
        'perstack;help;job' {
            [CompletionResult]::new('diff', 'diff', [CompletionResultType]::ParameterValue, 'Compares two checkpoints or jobs, message by message')
            [CompletionResult]::new('rm', 'rm', [CompletionResultType]::ParameterValue, 'Removes jobs with all that is stored of them')
            break
        }
        'perstack;help;job;diff' {
            break
        }
        'perstack;help;job;rm' {
            break
        }
        'perstack;help;login' {
            break
        }
        'perstack;help;trust' {
            break
        }
        'perstack;help;schema' {
            break
        }
        'perstack;help;completions' {
            break
        }
        'perstack;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}

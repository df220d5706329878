
use builtin;
use str;

set edit:completion:arg-completer[perstack] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'perstack'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'perstack'= {
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand run 'Runs a job'
            cand resume 'Continues a job from a checkpoint'
            cand init 'Writes a first perstack.toml into this folder, with comments'
            cand experts 'Lists the experts with their descriptions'
            cand list-tools 'Lists the tools that experts would see'
            cand install 'Starts every skill once and writes perstack.lock'
            cand check 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill'
            cand info 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox'
            cand models 'Lists the known models: context, output, prices, abilities, tiers'
            cand log 'Shows recent jobs, or one: runs, steps, calls, events'
            cand job 'Compares recorded jobs, or removes them'
            cand login 'Logs in to a remote skill whose server requires it'
            cand trust 'Trusts this folder: what its configuration starts, sends and gives away'
            cand schema 'Prints the JSON Schema of perstack.toml'
            cand completions 'Prints the completion script for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'perstack;run'= {
            cand --instruction 'Run an expert with this instruction and the built-in tools, which no configuration has to define'
            cand --file 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF'
            cand --job-id 'Id of the new job [default: a new one]'
            cand --continue-job 'Continue this job (its id, or a beginning or an end of it) from its latest checkpoint'
            cand --resume-from 'Continue from this checkpoint of the job (named in the same way)'
            cand --provider 'Model provider'
            cand --model 'Model, as the provider spells it'
            cand --reasoning-budget 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens'
            cand --max-steps 'Steps of each chain of experts that call each other [default: the configuration''s, else 100]'
            cand --max-retries 'Repeats of a failed model call [default: the configuration''s, else 5]'
            cand --timeout 'Time limit for one model call, in milliseconds [default: the configuration''s, else 300000]'
            cand --max-total-steps 'Steps of all experts together'
            cand --max-cost 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent'
            cand --max-tokens 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way'
            cand --max-duration 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped'
            cand --max-tool-repetitions 'Stop a run that makes the same call with the same result this many times in a row'
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --storage 'Folder that jobs are stored in [default: perstack in the project''s root]'
            cand --proxy 'HTTP(S) or SOCKS proxy for requests to models and remote skills'
            cand --output 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON'
            cand --filter 'Only events of these types, separated by commas; implies --output jsonl'
            cand --in-doubt 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]'
            cand --record 'Record every model exchange and tool result in this file'
            cand --replay 'Answer from this recorded session, without network or key'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --no-stdin 'Leave standard input alone. Without it, what is piped in is sent behind the query'
            cand --ensure 'Bring the job of this id to its end: start it, continue it, or print its answer again if it has completed'
            cand --continue 'Continue the latest job from its latest checkpoint'
            cand -i 'The query is the answer to an interactive call, and is sent as it is'
            cand --interactive-tool-call-result 'The query is the answer to an interactive call, and is sent as it is'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand --json 'Same as --output jsonl'
            cand --full-events 'Every event with its whole messages and checkpoints; implies --output jsonl'
            cand -q 'Show errors only'
            cand --quiet 'Show errors only'
            cand -v 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs'
            cand --verbose 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs'
            cand --stream 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end'
            cand --plain 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles'
            cand --bell 'Ring the terminal''s bell at the end of a job that took more than a minute'
            cand --replay-tools 'Take tool results from the recorded session too, instead of running tools'
            cand --no-interactive 'Never ask on the terminal: a question stops the job with exit code 4'
            cand --locked 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)'
            cand --frozen 'Use perstack.lock as it is, without checking that it is fresh'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'perstack;resume'= {
            cand --file 'Send this file along with the query (repeatable): a text, an image (PNG, JPEG, GIF, WebP) or a PDF'
            cand --provider 'Model provider'
            cand --model 'Model, as the provider spells it'
            cand --reasoning-budget 'Reasoning of the model: none, minimal, low, medium, high or a number of tokens'
            cand --max-steps 'Steps of each chain of experts that call each other [default: the configuration''s, else 100]'
            cand --max-retries 'Repeats of a failed model call [default: the configuration''s, else 5]'
            cand --timeout 'Time limit for one model call, in milliseconds [default: the configuration''s, else 300000]'
            cand --max-total-steps 'Steps of all experts together'
            cand --max-cost 'US dollars. The most that a request can cost is set aside before it is sent, so that no more is spent'
            cand --max-tokens 'Tokens of all prompts, cached parts included, and of all answers; set aside in the same way'
            cand --max-duration 'Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped'
            cand --max-tool-repetitions 'Stop a run that makes the same call with the same result this many times in a row'
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --storage 'Folder that jobs are stored in [default: perstack in the project''s root]'
            cand --proxy 'HTTP(S) or SOCKS proxy for requests to models and remote skills'
            cand --output 'Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON'
            cand --filter 'Only events of these types, separated by commas; implies --output jsonl'
            cand --in-doubt 'Calls that were interrupted before their result was recorded: report them to the model, retry them, or stop [default: ask on a terminal, else report]'
            cand --record 'Record every model exchange and tool result in this file'
            cand --replay 'Answer from this recorded session, without network or key'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --no-stdin 'Leave standard input alone. Without it, what is piped in is sent behind the query'
            cand -i 'The query is the answer to an interactive call, and is sent as it is'
            cand --interactive-tool-call-result 'The query is the answer to an interactive call, and is sent as it is'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand --json 'Same as --output jsonl'
            cand --full-events 'Every event with its whole messages and checkpoints; implies --output jsonl'
            cand -q 'Show errors only'
            cand --quiet 'Show errors only'
            cand -v 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs'
            cand --verbose 'Show more: reasoning and skills'' messages as they come, the text beside calls, edits and the head of outputs'
            cand --stream 'Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end'
            cand --plain 'On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles'
            cand --bell 'Ring the terminal''s bell at the end of a job that took more than a minute'
            cand --replay-tools 'Take tool results from the recorded session too, instead of running tools'
            cand --no-interactive 'Never ask on the terminal: a question stops the job with exit code 4'
            cand --locked 'Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)'
            cand --frozen 'Use perstack.lock as it is, without checking that it is fresh'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'perstack;init'= {
            cand --expert 'Name of the expert'
            cand --provider 'Model provider [default: none is named, and each run takes the first whose key is set]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;experts'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'An array of JSON objects, with skills and delegates'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;list-tools'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --storage 'Folder that jobs are stored in [default: perstack in the project''s root]'
            cand --proxy 'HTTP(S) or SOCKS proxy for requests to models and remote skills'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'An array of JSON objects, with each tool''s input schema'
            cand --live 'Start the skills and ask them, even if perstack.lock is fresh'
            cand -q 'Show errors only'
            cand --quiet 'Show errors only'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;install'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --check 'Write nothing; print how perstack.lock differs from the skills, and fail if it does'
            cand -q 'Show errors only'
            cand --quiet 'Show errors only'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;check'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'One JSON object with all findings'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;info'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --storage 'Folder that jobs are stored in [default: perstack in the project''s root]'
            cand --proxy 'HTTP(S) or SOCKS proxy for requests to models and remote skills'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'One JSON object'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;models'= {
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'An array of JSON objects, with all prices and the sources of the numbers'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;log'= {
            cand --job 'Same as JOB'
            cand --run 'Only this run'
            cand --checkpoint 'This checkpoint and its run'
            cand --step 'Steps: 5, >5, >=5, <5, <=5 or 1-10; alone, these steps whole'
            cand --type 'Events of this type'
            cand --filter 'Events whose JSON matches `.path OP value`'
            cand --since 'Jobs started, or events, since then'
            cand --grep 'Jobs or events that hold this text, in large or small letters'
            cand --last 'The last N jobs or events'
            cand --take 'At most this many; 0 for all [default: 100]'
            cand --offset 'Skip this many first [default: 0]'
            cand --context 'Also this many events before and after each match'
            cand --storage 'Folder that jobs are stored in [default: perstack]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --jobs 'All jobs, the last started first'
            cand --list 'All jobs, the last started first'
            cand --messages 'With --checkpoint: its messages'
            cand --errors 'stopRunByError and retry'
            cand --tools 'callTools, resolveToolResults and callInteractiveTool'
            cand --delegations 'callDelegate and stopRunByDelegate'
            cand --events 'Events, as they happened'
            cand --steps 'Steps with their calls, instead of events'
            cand --text 'The job''s answer and nothing else'
            cand -f 'Go on until the job ends, over crashes and resumptions; with --json, an event a line'
            cand --follow 'Go on until the job ends, over crashes and resumptions; with --json, an event a line'
            cand --summary 'Counts of what is shown'
            cand -v 'Arguments of calls and answers in full'
            cand --verbose 'Arguments of calls and answers in full'
            cand --full-events 'In JSON: every event with its whole messages and checkpoints'
            cand --json 'One JSON object (with --jobs, an array)'
            cand --pretty 'The same, indented'
            cand --no-pager 'Print at once, without a pager'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;job'= {
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -h 'Print help'
            cand --help 'Print help'
            cand diff 'Compares two checkpoints or jobs, message by message'
            cand rm 'Removes jobs with all that is stored of them'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'perstack;job;diff'= {
            cand --storage 'Folder that jobs are stored in [default: perstack]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --json 'One JSON object (with --jobs, an array)'
            cand --pretty 'The same, indented'
            cand --no-pager 'Print at once, without a pager'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;job;rm'= {
            cand --older-than 'All jobs on which nothing was done for this long, such as 12h, 30d or 8w'
            cand --storage 'Folder that jobs are stored in [default: perstack]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -y 'Remove without asking'
            cand --yes 'Remove without asking'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;job;help'= {
            cand diff 'Compares two checkpoints or jobs, message by message'
            cand rm 'Removes jobs with all that is stored of them'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'perstack;job;help;diff'= {
        }
        &'perstack;job;help;rm'= {
        }
        &'perstack;job;help;help'= {
        }
        &'perstack;login'= {
            cand --port 'The port of this machine that the browser comes back to, where a registered client must name it [default: any]'
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --logout 'Forget the login instead'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;trust'= {
            cand --config 'Configuration file; without it, perstack.toml of this folder or the nearest one above, which is then the project''s root: .env, jobs and experts'' work are there'
            cand --env-path 'File with environment variables (repeatable); without it, the configuration''s, else .env and .env.local'
            cand --workspace 'Folder that experts work in [default: the configuration''s, else the project''s root]'
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand --show 'Show what there is to trust, and its digest; ask nothing'
            cand --revoke 'Take back what was agreed to for this folder'
            cand --trust 'Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;schema'= {
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;completions'= {
            cand --color 'Colours: always, never, or by the terminal and the environment'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'perstack;help'= {
            cand run 'Runs a job'
            cand resume 'Continues a job from a checkpoint'
            cand init 'Writes a first perstack.toml into this folder, with comments'
            cand experts 'Lists the experts with their descriptions'
            cand list-tools 'Lists the tools that experts would see'
            cand install 'Starts every skill once and writes perstack.lock'
            cand check 'Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill'
            cand info 'Shows where everything is and what is in force: configuration, storage, provider, model, trust, sandbox'
            cand models 'Lists the known models: context, output, prices, abilities, tiers'
            cand log 'Shows recent jobs, or one: runs, steps, calls, events'
            cand job 'Compares recorded jobs, or removes them'
            cand login 'Logs in to a remote skill whose server requires it'
            cand trust 'Trusts this folder: what its configuration starts, sends and gives away'
            cand schema 'Prints the JSON Schema of perstack.toml'
            cand completions 'Prints the completion script for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'perstack;help;run'= {
        }
        &'perstack;help;resume'= {
        }
        &'perstack;help;init'= {
        }
        &'perstack;help;experts'= {
        }
        &'perstack;help;list-tools'= {
        }
        &'perstack;help;install'= {
        }
        &'perstack;help;check'= {
        }
        &'perstack;help;info'= {
        }
        &'perstack;help;models'= {
        }
        &'perstack;help;log'= {
        }
        &'perstack;help;job'= {
            cand diff 'Compares two checkpoints or jobs, message by message'
            cand rm 'Removes jobs with all that is stored of them'
        }
        &'perstack;help;job;diff'= {
        }
        &'perstack;help;job;rm'= {
        }
        &'perstack;help;login'= {
        }
        &'perstack;help;trust'= {
        }
        &'perstack;help;schema'= {
        }
        &'perstack;help;completions'= {
        }
        &'perstack;help;help'= {
        }
    ]
    $completions[$command]
}

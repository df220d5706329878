//! The folders that package managers and compilers keep what they fetch and make in. Contained programs may change them,
//! as they would outside: what is fetched there is checked by its manager, or made again.

use std::path::PathBuf;

use super::home::Home;

/// Caches beneath the home folder, each with the program that it belongs to; empty for those that are used if they are
/// there, and not made.
const CACHES: [(&str, &str); 68] = [
    (".bun/install/cache", "bun"),
    (".cabal/packages", ""),
    (".cache/Cypress", ""),
    (".cache/bazel", "bazel"),
    (".cache/bazelisk", ""),
    (".cache/black", ""),
    (".cache/cabal", ""),
    (".cache/ccache", "ccache"),
    (".cache/composer", ""),
    (".cache/deno", "deno"),
    (".cache/electron", ""),
    (".cache/electron-builder", ""),
    (".cache/esbuild", ""),
    (".cache/fontconfig", ""),
    (".cache/go-build", "go"),
    (".cache/goimports", ""),
    (".cache/golangci-lint", ""),
    (".cache/gopls", ""),
    (".cache/helm", ""),
    (".cache/huggingface/hub", ""),
    (".cache/matplotlib", ""),
    (".cache/ms-playwright", ""),
    (".cache/mypy", ""),
    (".cache/node", "node"),
    (".cache/node-gyp", ""),
    (".cache/npm", ""),
    (".cache/pip", "pip"),
    (".cache/pip-tools", ""),
    (".cache/pipenv", ""),
    (".cache/pnpm", "pnpm"),
    (".cache/pre-commit", ""),
    (".cache/prettier", ""),
    (".cache/puppeteer", ""),
    (".cache/pypoetry", ""),
    (".cache/rattler", ""),
    (".cache/ruff", ""),
    (".cache/sccache", ""),
    (".cache/staticcheck", ""),
    (".cache/torch", ""),
    (".cache/turbo", ""),
    (".cache/typescript", ""),
    (".cache/uv", "uv"),
    (".cache/virtualenv", ""),
    (".cache/yarn", "yarn"),
    (".cache/zig", ""),
    (".cargo/.global-cache", ""),
    (".cargo/.package-cache", ""),
    (".cargo/.package-cache-mutate", ""),
    (".cargo/git", "cargo"),
    (".cargo/registry", "cargo"),
    (".ccache", ""),
    (".composer/cache", ""),
    (".gradle/caches", ""),
    (".gradle/daemon", ""),
    (".gradle/native", ""),
    (".gradle/notifications", ""),
    (".gradle/workers", ""),
    (".gradle/wrapper", ""),
    (".local/share/NuGet", ""),
    (".local/share/pnpm/store", ""),
    (".local/state/pnpm", ""),
    (".m2/repository", "mvn"),
    (".node-gyp", ""),
    (".npm", "npm"),
    (".nuget/packages", ""),
    (".pub-cache", ""),
    (".yarn/berry", ""),
    ("go/pkg", "go"),
];

/// All caches that may be there.
pub(super) fn all(home: &Home) -> impl Iterator<Item = PathBuf> {
    CACHES.iter().map(|(path, _)| home.join(path))
}

/// Makes the missing caches of those programs that are in a folder of the search path `path`, as the programs themselves
/// would: contained, they cannot. One that cannot be made stays out of reach, and its program shows why.
pub(super) fn make(home: &Home, path: &str) {
    let is_there = |program: &str| std::env::split_paths(path).any(|folder| folder.join(program).is_file());
    for (cache, program) in CACHES.iter().filter(|(_, program)| !program.is_empty()) {
        let folder = home.join(cache);
        if !folder.exists() && is_there(program) {
            let _ = std::fs::create_dir_all(folder);
        }
    }
}

//! [`Home`]: the user's home folder, and the toolchains in it that contained programs may read. Everything else there is
//! out of reach without being named: keys, tokens, histories, other projects.

use std::path::{Path, PathBuf};

/// Folders and files of toolchains, and settings without secrets that change what tools do. None holds credentials as its
/// tool writes them: those of cargo, npm, pip and git are files of other names.
const TOOLCHAINS: [&str; 61] = [
    ".asdf",
    ".bun/bin",
    ".bun/install/global",
    ".cargo/bin",
    ".cargo/config",
    ".cargo/config.toml",
    ".cargo/env",
    ".config/fontconfig",
    ".config/git/attributes",
    ".config/git/config",
    ".config/git/ignore",
    ".config/yarn/global",
    ".conda/envs",
    ".conda/pkgs",
    ".deno/bin",
    ".dotnet/dotnet",
    ".dotnet/host",
    ".dotnet/packs",
    ".dotnet/sdk",
    ".dotnet/shared",
    ".dotnet/tools",
    ".elan",
    ".fnm",
    ".fonts",
    ".gem/bin",
    ".gem/ruby",
    ".gem/specs",
    ".ghcup",
    ".gitattributes",
    ".gitconfig",
    ".gitignore",
    ".gitignore_global",
    ".goenv",
    ".jenv",
    ".juliaup",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/fnm",
    ".local/share/fonts",
    ".local/share/mise",
    ".local/share/pipx",
    ".local/share/pnpm",
    ".local/share/uv/python",
    ".local/share/uv/tools",
    ".local/share/virtualenvs",
    ".nodenv",
    ".npm-global",
    ".nvm",
    ".opam",
    ".pixi",
    ".pyenv",
    ".python-version",
    ".rbenv",
    ".rustup",
    ".rvm",
    ".sdkman",
    ".terminfo",
    ".tool-versions",
    ".volta",
    "go",
];

/// A home folder that is there.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// As the variable has it, for programs that use that.
    given: PathBuf,
    /// Without links.
    real: PathBuf,
}

impl Home {
    /// The folder that a variable names, if it is one.
    pub fn find(given: &str) -> Option<Self> {
        let given = PathBuf::from(given);
        let real = given.canonicalize().ok()?;
        (given.is_absolute() && real.is_dir()).then_some(Self { given, real })
    }

    /// Returns true if `folder`, without links, is the home folder.
    pub fn is(&self, folder: &Path) -> bool {
        self.real == folder
    }

    /// Returns true if `folder`, without links, is the home folder or above it.
    pub fn is_in(&self, folder: &Path) -> bool {
        self.real.starts_with(folder)
    }

    /// Returns true if this is the home folder, or a folder above or directly in it.
    pub fn is_near(&self, folder: &Path) -> bool {
        self.is_in(folder) || folder.parent() == Some(&self.real)
    }

    /// Returns true if this is the home folder, a folder above, or a hidden one directly in it.
    pub fn is_private(&self, folder: &Path) -> bool {
        let is_hidden = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        self.is_in(folder) || (is_hidden && folder.parent() == Some(&self.real))
    }

    /// A path beneath it.
    pub fn join(&self, path: &str) -> PathBuf {
        self.given.join(path)
    }

    /// The same as it is named, and without links.
    pub fn places(&self, path: &str) -> Vec<PathBuf> {
        let mut places = vec![self.join(path), self.real.join(path)];
        places.extend(self.join(path).canonicalize());
        places
    }

    /// The toolchains that may be there.
    pub fn toolchains(&self) -> impl Iterator<Item = PathBuf> {
        TOOLCHAINS.iter().map(|path| self.join(path))
    }

    /// A path beneath it, as `~/…`.
    pub fn shorten(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(&self.given).or_else(|_| path.strip_prefix(&self.real)).ok()?;
        Some(format!("~/{}", rest.display()))
    }
}

//! The limits of what a folder, a file, a server or a model may decide: each attack beside what must go on working.

mod env_file;

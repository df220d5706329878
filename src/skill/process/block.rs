//! The block of memory that a process starts with, which holds its environment, keys and all. `/proc/PID/environ` shows
//! it for as long as the process runs, to root and to the same user, whatever becomes of the variables.
#![expect(unsafe_code, reason = "the block is written to where the system has put it")]

/// Overwrites the block of this process, after copying the variables elsewhere: they stay as they are for this program.
/// Keepers that are forked later have the wiped block too. To be called at the start of the program: where other threads
/// run already, which may hold on to a variable's memory, nothing is done.
#[cfg(target_os = "linux")]
pub fn wipe_environment_block() {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // Without /proc there is nothing to hide.
    if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        return;
    }
    // SAFETY: no other thread runs. The array ends with a null pointer, each text with a NUL; setting a variable makes a
    // copy on the heap and leaves the block alone, to which no variable leads then.
    unsafe {
        let mut texts = Vec::new();
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            texts.push(*at);
            at = at.add(1);
        }
        #[expect(clippy::disallowed_methods, reason = "the variables are moved, not used")]
        let variables: Vec<_> = std::env::vars_os().collect();
        for (name, value) in variables {
            // A name like `=C:`, which cannot be set, is lost with the block.
            if !name.as_encoded_bytes().contains(&b'=') {
                std::env::set_var(name, value);
            }
        }
        for text in texts {
            std::ptr::write_bytes(text, 0, libc::strlen(text));
        }
    }
}

/// Other systems keep it from other processes.
#[cfg(not(target_os = "linux"))]
pub fn wipe_environment_block() {}

//! The heap of this process. By default, glibc gives every thread an area of its own, which grows by a page and a system
//! call at a time. This program's threads wait most of the time, and share the first one.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "the allocator has no safe interface for it")
)]

/// Has all threads share one heap. To be called at the start of the program.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share_one_heap() {
    // SAFETY: the function takes two numbers and changes a setting of the allocator. Where it fails, all stays as it is.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Does nothing: other allocators decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_one_heap() {}

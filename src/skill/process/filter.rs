//! The rules that filters of system calls are made of. Called by `restrict` and `system_calls`, which know what is refused.

use std::collections::BTreeMap;

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// The rules of one system call, of which one must hold for it to be refused.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Adds a rule by which `call` is refused.
pub(super) fn refuse(
    rules: &mut Rules,
    call: i64,
    conditions: Vec<SeccompCondition>,
) -> Result<(), seccompiler::BackendError> {
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

/// The argument at `place` is this number, in its lower half: the kernel reads no more of an `int`.
pub(super) fn is(place: u8, number: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number.cast_unsigned().into())
}

/// The argument at `place` is another number.
pub(super) fn is_not(place: u8, number: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, number.cast_unsigned().into())
}

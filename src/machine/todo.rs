//! Tools that touch only the conversation's own state, answered without leaving the machine: `todo`, `clearTodo`,
//! `attemptCompletion`. Results are one text part with compact JSON, as the original's base skill gives.

use serde_json::{Value, json};

use crate::checkpoint::{Todo, TodoList};
use crate::content::Content;
use crate::tool::{ToolCall, ToolResult};

/// Adds tasks, marks tasks done, returns the list.
pub const ADD_TASKS: &str = "todo";
/// Empties the list.
pub const CLEAR_TASKS: &str = "clearTodo";
/// Ends the Run, unless tasks are open.
pub const ATTEMPT_COMPLETION: &str = "attemptCompletion";

/// Answers a call of `todo` or `clearTodo`, changing `list`.
pub fn answer(call: &ToolCall, list: &mut TodoList) -> ToolResult {
    if call.tool_name == CLEAR_TASKS {
        *list = TodoList::default();
        return result(call, &json!({ "todos": [] }));
    }
    let added = match strings(call, "newTodos") {
        Ok(titles) => titles,
        Err(problem) => return problem,
    };
    let completed = match numbers(call, "completedTodos") {
        Ok(ids) => ids,
        Err(problem) => return problem,
    };
    for title in added {
        list.todos.push(Todo { id: list.next_id, title, completed: false });
        list.next_id = list.next_id.saturating_add(1);
    }
    for todo in &mut list.todos {
        todo.completed |= completed.contains(&todo.id);
    }
    result(call, &json!({ "todos": list.todos }))
}

/// The outcome of `attemptCompletion`.
pub enum Completion {
    /// The Run may end; the text is the call's `result`, if it had one.
    Accepted { answer: ToolResult, text: Option<String> },
    /// Tasks are open, or the arguments are wrong: the model gets the reason.
    Refused(ToolResult),
}

/// Answers a call of `attemptCompletion`.
pub fn attempt_completion(call: &ToolCall, list: &TodoList) -> Completion {
    let text = match call.args.get("result") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Completion::Refused(wrong(call, "result", "a string")),
    };
    let open: Vec<&Todo> = list.todos.iter().filter(|todo| !todo.completed).collect();
    if open.is_empty() {
        Completion::Accepted { answer: result(call, &json!({})), text }
    } else {
        Completion::Refused(result(call, &json!({ "remainingTodos": open })))
    }
}

fn result(call: &ToolCall, json: &Value) -> ToolResult {
    ToolResult::new(call, vec![Content::text(json.to_string())])
}

fn wrong(call: &ToolCall, field: &str, expected: &str) -> ToolResult {
    ToolResult::error(call, format!("invalid arguments for {}: {field} must be {expected}", call.tool_name))
}

fn strings(call: &ToolCall, field: &str) -> Result<Vec<String>, ToolResult> {
    list_of(call, field, "an array of strings", |value| value.as_str().map(str::to_owned))
}

fn numbers(call: &ToolCall, field: &str) -> Result<Vec<u64>, ToolResult> {
    // An id that is no whole number of at least 0 names no task; unknown ids are ignored.
    list_of(call, field, "an array of numbers", |value| value.is_number().then(|| value.as_u64().unwrap_or(u64::MAX)))
}

fn list_of<T>(
    call: &ToolCall,
    field: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, ToolResult> {
    match call.args.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(read).collect::<Option<_>>().ok_or_else(|| wrong(call, field, expected))
        }
        Some(_) => Err(wrong(call, field, expected)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::BASE_SKILL;

    fn call(tool: &str, args: Value) -> ToolCall {
        let Value::Object(args) = args else { panic!("arguments are an object") };
        ToolCall { id: "c".into(), skill_name: BASE_SKILL.into(), tool_name: tool.into(), args }
    }

    fn text(result: &ToolResult) -> &str {
        result.result[0].as_text().unwrap()
    }

    #[test]
    fn tasks_are_added_completed_and_cleared() {
        let mut list = TodoList::default();
        let first = answer(&call(ADD_TASKS, json!({ "newTodos": ["a", "b"] })), &mut list);
        assert_eq!(
            text(&first),
            r#"{"todos":[{"id":0,"title":"a","completed":false},{"id":1,"title":"b","completed":false}]}"#
        );
        let second = answer(&call(ADD_TASKS, json!({ "completedTodos": [0, 7, -1] })), &mut list);
        assert_eq!(
            text(&second),
            r#"{"todos":[{"id":0,"title":"a","completed":true},{"id":1,"title":"b","completed":false}]}"#
        );
        let Completion::Refused(open) = attempt_completion(&call(ATTEMPT_COMPLETION, json!({})), &list) else {
            panic!("a task is open")
        };
        assert_eq!(text(&open), r#"{"remainingTodos":[{"id":1,"title":"b","completed":false}]}"#);
        assert_eq!(text(&answer(&call(CLEAR_TASKS, json!({})), &mut list)), r#"{"todos":[]}"#);
        assert_eq!(list, TodoList::default());
    }

    #[test]
    fn wrong_arguments_change_nothing_and_are_reported() {
        let mut list = TodoList::default();
        let refused = answer(&call(ADD_TASKS, json!({ "newTodos": ["a"], "completedTodos": "0" })), &mut list);
        assert!(refused.is_error);
        assert_eq!(text(&refused), "invalid arguments for todo: completedTodos must be an array of numbers");
        assert_eq!(list, TodoList::default());
    }
}

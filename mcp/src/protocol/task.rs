//! Tasks in messages: the tasks of 2025-11-25, and the extension of 2026-07-28 (SEP-2663). In the
//! view of all servers a task is `<server>~<id>`; `key` is the server's key in such names.

use crate::protocol::method::Method;
use crate::protocol::splice::Splice;
use crate::protocol::{json, name};
use bytes::Bytes;

/// The extension of 2026-07-28.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The member of `_meta` that says which task a message of 2025-11-25 belongs to.
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Whether capabilities have the extension in them.
pub(crate) fn declares(capabilities: &str) -> bool {
    let extensions = json::pick(capabilities, ["extensions"]).and_then(|[extensions]| extensions);
    extensions
        .and_then(|raw| json::pick(raw, [EXTENSION]))
        .is_some_and(|[found]| found.is_some_and(|raw| raw.starts_with('{')))
}

/// The status of a task as it stands.
pub(crate) fn status(task: &str) -> Option<&str> {
    json::pick(task, ["status"]).and_then(|[status]| status)
}

/// The ids of tasks in a result, as they stand.
pub(crate) fn ids(method: Method, result: &str) -> Vec<&str> {
    let [id, task] = match method {
        Method::ToolsCall | Method::TaskGet | Method::TaskCancel => {
            json::pick(result, ["taskId", "task"]).unwrap_or_default()
        }
        _ => [None, None],
    };
    let nested = task
        .filter(|_| method == Method::ToolsCall)
        .and_then(|task| json::pick(task, ["taskId"])?[0]);
    [id, nested, related(result)]
        .into_iter()
        .flatten()
        .filter(|raw| raw.starts_with('"'))
        .collect()
}

/// The id of the task that a message belongs to; `object` is its `params` or `result`.
pub(crate) fn related(object: &str) -> Option<&str> {
    let meta = json::pick(object, ["_meta"])
        .and_then(|[meta]| meta)
        .filter(|meta| meta.contains(RELATED))?;
    json::pick(meta, [RELATED]).and_then(|[task]| json::pick(task?, ["taskId"])?[0])
}

/// The id of the task that a server's message belongs to, and the one that a client of the view of
/// all servers knows it by.
pub(crate) fn exposed_in<'a>(key: &str, text: &'a str) -> Option<(&'a str, String)> {
    let params = Some(text)
        .filter(|text| text.contains(RELATED))
        .and_then(|text| json::pick(text, ["params"])?[0])?;
    let raw = related(params)?;
    let exposed = name::exposed_task(key, &json::string(raw)?);
    Some((raw, json::quote(&exposed)))
}

/// The same in the result of such a client, for the server that asked.
pub(crate) fn original_in<'a>(key: &str, result: &'a str) -> Option<(&'a str, String)> {
    let raw = Some(result)
        .filter(|result| result.contains(RELATED))
        .and_then(related)?;
    let exposed = json::string(raw)?;
    let (_, id) = name::original_task(&exposed).filter(|(server, _)| *server == key)?;
    Some((raw, json::quote(id)))
}

/// A server's message as a client of the view of all servers is to have it. `None`: as it is.
pub(crate) fn exposed(key: &str, text: &str) -> Option<Bytes> {
    let (raw, exposed) = exposed_in(key, text)?;
    let mut splice = Splice::new(text);
    splice.replace(raw, exposed);
    Some(splice.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_related_task_is_exposed_and_back() {
        let text = format!(r#"{{"params":{{"_meta":{{"{RELATED}":{{"taskId":"7"}}}}}}}}"#);
        let exposed = exposed("s", &text).unwrap();
        let exposed = std::str::from_utf8(&exposed).unwrap();
        let [params] = json::pick(exposed, ["params"]).unwrap();
        let name = name::exposed_task("s", "7");
        let found = original_in("s", params.unwrap());
        assert_eq!(found, Some((&*json::quote(&name), "\"7\"".to_owned())));
        assert_eq!(original_in("t", params.unwrap()), None);
        assert_eq!(exposed_in("s", "{}"), None);
    }
}

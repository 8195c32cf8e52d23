//! Questions of servers that legacy clients have not answered yet.

use crate::api::UpId;
use std::collections::HashMap;
use std::sync::Arc;

/// A question that a legacy client has not answered yet.
pub(crate) struct Asked {
    /// The call that it belongs to.
    pub(crate) call: u64,
    pub(crate) session: Arc<str>,
    pub(crate) asker: Asker,
}

/// Who asks.
pub(crate) enum Asker {
    /// A legacy server, by a request with this id of its own.
    Server { up: UpId, conn: usize, id: Box<str> },
    /// A modern server, by this entry of its round ([`crate::interactive::input_required_loop`]).
    Round(usize),
}

/// All of them, by the id that the client sees.
#[derive(Default)]
pub(crate) struct OpenQuestions {
    asked: HashMap<u64, Asked>,
}

impl OpenQuestions {
    pub(crate) fn len(&self) -> usize {
        self.asked.len()
    }

    pub(crate) fn insert(&mut self, id: u64, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// Takes the question that a session answers; `id` is text of JSON.
    pub(crate) fn take(&mut self, id: &str, session: &Arc<str>) -> Option<Asked> {
        let id = id.parse::<u64>().ok()?;
        let asked = self.asked.get(&id)?;
        if asked.session != *session {
            return None;
        }
        self.asked.remove(&id)
    }

    /// Whether a call has an open question.
    pub(crate) fn has(&self, call: u64) -> bool {
        self.asked.values().any(|asked| asked.call == call)
    }

    /// A call goes on under another number.
    pub(crate) fn renumber(&mut self, call: u64, next: u64) {
        let its = self.asked.values_mut().filter(|asked| asked.call == call);
        its.for_each(|asked| asked.call = next);
    }

    /// A call is over. The questions of its server are the heir's from now on, if there is one;
    /// gives their number. All others are forgotten.
    pub(crate) fn inherit(&mut self, call: u64, heir: Option<u64>) -> usize {
        let mut count = 0;
        self.asked.retain(|_, asked| {
            if asked.call != call {
                return true;
            }
            match (heir, &asked.asker) {
                (Some(heir), Asker::Server { .. }) => {
                    asked.call = heir;
                    count += 1;
                    true
                }
                _ => false,
            }
        });
        count
    }

    /// A server takes the question back that it asked with this id. Gives the id that the client
    /// knows, and the call.
    pub(crate) fn withdraw(&mut self, up: UpId, conn: usize, id: &str) -> Option<(u64, u64)> {
        let is_it = |asked: &Asked| match &asked.asker {
            Asker::Server {
                up: of,
                conn: on,
                id: own,
            } => (*of, *on) == (up, conn) && **own == *id,
            Asker::Round(_) => false,
        };
        let mut asked = self.asked.iter();
        let (ours, number) = asked
            .find(|(_, asked)| is_it(asked))
            .map(|(ours, asked)| (*ours, asked.call))?;
        self.asked.remove(&ours);
        Some((ours, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> OpenQuestions {
        let mut questions = OpenQuestions::default();
        let server = Asker::Server {
            up: UpId(1),
            conn: 2,
            id: "\"x\"".into(),
        };
        for (id, asker) in [(3, server), (4, Asker::Round(0))] {
            let session = "s".into();
            let asked = Asked {
                call: 9,
                session,
                asker,
            };
            questions.insert(id, asked);
        }
        questions
    }

    #[test]
    fn only_its_session_answers_a_question() {
        let mut questions = two();
        assert!(questions.take("3", &"other".into()).is_none());
        assert!(questions.take("\"3\"", &"s".into()).is_none());
        assert!(questions.take("3", &"s".into()).is_some());
        assert!(questions.take("3", &"s".into()).is_none() && questions.has(9));
    }

    #[test]
    fn an_heir_gets_the_questions_of_the_server_itself() {
        let mut questions = two();
        assert_eq!(questions.inherit(9, Some(10)), 1);
        assert!(questions.has(10) && !questions.has(9));
        assert_eq!(questions.withdraw(UpId(1), 0, "\"x\""), None);
        assert_eq!(questions.withdraw(UpId(1), 2, "\"x\""), Some((3, 10)));
        assert_eq!(two().inherit(9, None), 0);
        assert_eq!(questions.len(), 0);
    }
}

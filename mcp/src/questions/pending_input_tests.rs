//! Tests of the table of pending input.

use super::*;
use crate::observation::CallOutcome;

fn one() -> (PendingInputs, Accepted) {
    let origin = Origin {
        up: UpId(1),
        conn: 0,
        method: Method::ToolsCall,
        principal: "me".into(),
        subject: [0; 32],
    };
    let mut all = PendingInputs::default();
    all.insert(7, PendingInput::new(origin, 5));
    let retry = Accepted {
        round: 1,
        digest: [1; 32],
        at: 10,
    };
    (all, retry)
}

fn ask(pending: &mut PendingInput, hint: Option<&str>, id: &str) -> bool {
    pending.ask(hint.map(Into::into), id, "roots/list", "{}".into())
}

#[test]
fn answers_go_to_the_questions_that_the_client_was_told_of() {
    let (mut all, retry) = one();
    let pending = all.get_mut(7).unwrap();
    assert!(ask(pending, Some("a"), "1") && ask(pending, Some("a"), "2"));
    assert_eq!(pending.tell(100).0, ["\"a\":{}", "\"req_2\":{}"]);
    assert!(ask(pending, None, "3") && !pending.is_attended());
    assert_eq!(pending.judge(retry, 50), Retry::First);
    assert!(pending.accept(retry, 60).is_none());
    let resumed = pending.resume(r#"{"a":{},"req_3":{}}"#).unwrap();
    assert_eq!((resumed.number, resumed.answers.len()), (5, 1));
    assert!(resumed.missing && resumed.more);
    assert_eq!(pending.judge(retry, 50), Retry::Repeated);
    assert_eq!(pending.judge(Accepted { at: 60, ..retry }, 50), Retry::Used);
    for at in 0..QUESTIONS + 1 {
        assert_eq!(ask(pending, None, "4"), at < QUESTIONS - 2);
    }
}

#[test]
fn an_outcome_waits_for_a_client_that_is_away() {
    let (mut all, retry) = one();
    all.get_mut(7).unwrap().tell(100);
    assert_eq!(all.away(), [5]);
    assert!(all.keep_message(7, "x") && !all.keep_message(8, "x"));
    let outcome = (200, Bytes::from_static(b"done"), CallOutcome::Ok);
    assert!(matches!(all.end(7, &outcome, 90), Some(End::Later)));
    assert!(all.away().is_empty() && all.due(99).is_empty());
    let pending = all.get_mut(7).unwrap();
    assert_eq!(pending.accept(retry, 60), Some(outcome));
    assert_eq!((pending.stage(), all.due(60)), (Stage::Over(60), vec![7]));
}

#[test]
fn a_call_without_a_state_is_forgotten_at_its_end() {
    let (mut all, _) = one();
    assert!(!all.has_room("me", UpId(2), [1, 5, 5]));
    assert!(!all.has_room("you", UpId(1), [1, 1, 5]));
    assert!(!all.has_room("you", UpId(2), [1, 1, 1]));
    assert!(all.has_room("you", UpId(2), [1, 1, 2]));
    assert!(ask(all.get_mut(7).unwrap(), None, "1") && all.gather(7, 20));
    all.withdraw(UpId(1), 0, "1");
    assert_eq!(all.get(7).unwrap().stage(), Stage::Running);
    let outcome = (200, Bytes::new(), CallOutcome::Ok);
    assert!(matches!(all.end(7, &outcome, 90), Some(End::Now(5, _))));
    assert_eq!(all.len(), 0);
}

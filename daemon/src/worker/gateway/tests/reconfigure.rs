//! New configurations: numbers of upstreams, and those that finish their calls first.

use super::{Seen, beside, start, stdio, world};
use crate::ipc::messages::{Start, ToSupervisor, ToWorker};
use ggen_mcp::api::{Input, UpId};

fn next(names: &[&str], generation: u32) -> ToWorker {
    ToWorker::Reconfigure(Box::new(Start {
        generation,
        ..start(stdio(names))
    }))
}

fn retire(name: &str, within_ms: u64) -> ToWorker {
    ToWorker::Retire {
        upstreams: vec![name.to_owned()],
        within_ms,
    }
}

/// The lists that the relay was given, and who is held back with the last one.
fn told(seen: &Seen) -> (Vec<Vec<String>>, Vec<UpId>) {
    let (mut lists, mut held) = (Vec::new(), Vec::new());
    for (_, input) in seen.inputs.borrow().iter() {
        match input {
            Input::Reconfigure(list) => {
                lists.push(list.iter().map(|upstream| upstream.name.clone()).collect())
            }
            Input::Hold(ups) => held.clone_from(ups),
            _ => {}
        }
    }
    (lists, held)
}

#[tokio::test]
async fn an_upstream_that_goes_stays_until_its_calls_are_over_and_numbers_are_not_used_again() {
    let (driver, mut supervisor, seen) = world(stdio(&["a", "b"]), |_, _| {});
    beside(driver, async {
        seen.busy.borrow_mut().push(UpId(1));
        supervisor.sender.send(&retire("b", 20_000), &[]).await.unwrap();
        supervisor.sender.send(&next(&["a", "c"], 2), &[]).await.unwrap();
        assert!(matches!(supervisor.next().await, ToSupervisor::Reconfigured { generation: 2 }));
        assert_eq!(told(&seen), (vec![vec!["a".to_owned(), "c".to_owned(), "b".to_owned()]], vec![UpId(1)]));
        seen.busy.borrow_mut().clear();
        assert!(matches!(supervisor.next().await, ToSupervisor::Released { upstream } if upstream == "b"));
        assert_eq!(told(&seen).0[1], ["a", "c"]);
        assert!(told(&seen).1.is_empty());
        // It comes back as another one.
        supervisor.sender.send(&next(&["b", "a", "c"], 3), &[]).await.unwrap();
        assert!(matches!(supervisor.next().await, ToSupervisor::Reconfigured { generation: 3 }));
        let (_stdin, _stdout) = supervisor.child("b", None).await;
        let up = seen.wait(|seen| seen.iter().find_map(|(_, input)| if let Input::Up(up, _) = input { Some(*up) } else { None }));
        assert_eq!(up.await, UpId(3));
    })
    .await;
}

#[tokio::test]
async fn the_time_limit_ends_the_wait_for_calls() {
    let (driver, mut supervisor, seen) = world(stdio(&["a"]), |_, _| {});
    beside(driver, async {
        seen.busy.borrow_mut().push(UpId(0));
        supervisor.sender.send(&retire("a", 50), &[]).await.unwrap();
        supervisor.sender.send(&next(&[], 2), &[]).await.unwrap();
        assert!(matches!(
            supervisor.next().await,
            ToSupervisor::Reconfigured { generation: 2 }
        ));
        assert!(matches!(
            supervisor.next().await,
            ToSupervisor::Released { .. }
        ));
        assert!(told(&seen).0[1].is_empty());
    })
    .await;
}

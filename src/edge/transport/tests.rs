use std::{net::Ipv4Addr, time::Duration};

use serde_json::json;

use super::*;
use crate::edge::rewrite::Answer;
use crate::{
    edge::{admission::Admission, frames},
    id::SocketId,
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn permit() -> Permit {
    Admission::default().admit(PEER, std::time::Instant::now()).expect("no limits")
}

#[test]
fn a_new_websocket_is_looked_at_until_open_and_first_ping_are_through() {
    let transport = Transport::websocket(false, PEER, permit());
    let sid = Sid::new();
    let open = format!(r#"0{{"sid":"{sid}","upgrades":[]}}"#);
    assert_eq!(transport.judge(frames::TEXT, open.as_bytes()), Verdict::Opened(sid));
    assert_eq!(transport.judge(frames::TEXT, b"40{}"), Verdict::Pass);
    assert!(transport.expects_anything());
    assert_eq!(transport.judge(frames::TEXT, b"2"), Verdict::Answer(b"3"));
    assert!(!transport.expects_anything());
    assert_eq!(transport.judge(frames::TEXT, b"2"), Verdict::Pass, "only the first one is hidden");
}

#[test]
fn engine_io_3_has_no_first_ping() {
    let transport = Transport::websocket(true, PEER, permit());
    let open = format!(r#"0{{"sid":"{}"}}"#, Sid::ZERO.as_str().replace('\0', "A"));
    assert!(matches!(transport.judge(frames::TEXT, open.as_bytes()), Verdict::Opened(_)));
    assert!(!transport.expects_anything());
}

#[test]
fn a_refusal_is_spliced_once_into_the_error_of_its_namespace() {
    let transport = Transport::polling(false, PEER, permit());
    transport.expect_answer("chat", Answer::Refused(json!({ "code": "forbidden" })));
    assert!(transport.expects_anything());
    assert_eq!(transport.judge(frames::TEXT, br#"44{"message":"no"}"#), Verdict::Pass);
    assert_eq!(
        transport.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#),
        Verdict::Replace(br#"44/chat,{"message":"no","data":{"code":"forbidden"}}"#.to_vec()),
    );
    assert!(!transport.expects_anything());
    assert_eq!(transport.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#), Verdict::Pass);
}

#[test]
fn a_socket_hears_its_own_id_in_the_connect_of_its_namespace() {
    let transport = Transport::polling(false, PEER, permit());
    let (first, second) = (SocketId::random(), SocketId::random());
    transport.expect_answer("/chat", Answer::Admitted(first, None));
    transport.expect_answer("/chat", Answer::Admitted(second, None));
    let connect = br#"40/chat,{"sid":"AAAAAAAAAAAAAAAA"}"#;
    assert_eq!(transport.judge(frames::TEXT, br#"40{"sid":"AAAAAAAAAAAAAAAA"}"#), Verdict::Pass);
    assert_eq!(transport.judge(frames::TEXT, br#"44/chat,{"message":"no"}"#), Verdict::Pass);
    for id in [first, second] {
        let told = format!(r#"40/chat,{{"sid":"{id}"}}"#).into_bytes();
        assert_eq!(transport.judge(frames::TEXT, connect), Verdict::Replace(told));
    }
    assert!(!transport.expects_anything());
}

#[test]
fn only_the_first_kill_counts() {
    let transport = Transport::polling(false, PEER, permit());
    assert!(transport.mark_killed(KillReason::Drain, || ()));
    assert!(!transport.mark_killed(KillReason::Stalled, || panic!("counted twice")));
    assert!(transport.is_killed());
}

#[test]
fn only_one_websocket_takes_over() {
    let transport = Transport::polling(false, PEER, permit());
    assert!(transport.shift(Phase::Polling, Phase::Probing));
    assert!(!transport.shift(Phase::Polling, Phase::Probing));
    assert!(transport.shift(Phase::Probing, Phase::Websocket));
    assert_eq!(transport.phase(), Phase::Websocket);
}

#[test]
fn silence_is_measured_from_the_last_sign() {
    let (transport, ms) = (Transport::polling(false, PEER, permit()), Duration::from_millis);
    transport.seen(ms(100));
    assert!(!transport.is_silent(ms(150), ms(50)));
    assert!(transport.is_silent(ms(151), ms(50)));
    assert!(transport.shift(Phase::Polling, Phase::Probing));
    assert!(!transport.is_silent(ms(151), ms(50)), "a probe has a time limit of its own");
}

#[test]
fn the_numbers_of_the_reasons_are_their_places() {
    for (place, reason) in KillReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place + 1, "{}", reason.as_str());
    }
}

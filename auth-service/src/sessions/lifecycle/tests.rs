use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules(rotation: bool, grace: Duration) -> RefreshRules {
    RefreshRules {
        rotation,
        grace,
        token_expires: 3600 * SECOND,
        session_max_age: 30 * 86_400 * SECOND,
        leeway: Duration::ZERO,
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
}

fn session(generation: u64, rotated_at: Option<i64>) -> Session {
    let mut session = Session::begin(
        "user".into(),
        Origin::default(),
        Delivery::Header,
        &rules(true, 10 * SECOND),
        at(0),
    );
    session.generation = generation;
    session.rotated_at = rotated_at.map(at);
    session
}

fn token(session: &Session, generation: u64) -> RefreshClaims {
    RefreshClaims {
        subject: session.user.clone(),
        session: session.id.clone(),
        generation,
        id: session.secret.token_id(generation),
        issued_at: session.created_at.into(),
        expires_at: session.expires_at.into(),
    }
}

#[test]
fn the_first_refresh_after_a_login_always_rotates() {
    let session = session(0, None);
    assert_eq!(
        rules(true, 10 * SECOND).judge(&session, &token(&session, 0), Delivery::Header, at(0)),
        Verdict::Rotate
    );
}

#[test]
fn within_the_grace_the_replaced_token_and_the_new_one_are_answered_with_the_new_one() {
    let (session, rules) = (session(3, Some(1000)), rules(true, 10 * SECOND));
    for presented in [2, 3] {
        assert_eq!(
            rules.judge(
                &session,
                &token(&session, presented),
                Delivery::Header,
                at(1000)
            ),
            Verdict::Repeat
        );
        assert_eq!(
            rules.judge(
                &session,
                &token(&session, presented),
                Delivery::Header,
                at(10_999)
            ),
            Verdict::Repeat
        );
    }
    assert_eq!(
        rules.judge(&session, &token(&session, 2), Delivery::Header, at(11_000)),
        Verdict::Replay
    );
    assert_eq!(
        rules.judge(&session, &token(&session, 3), Delivery::Header, at(11_000)),
        Verdict::Rotate
    );
}

#[test]
fn an_older_generation_is_a_replay_even_within_the_grace() {
    let session = session(3, Some(1000));
    assert_eq!(
        rules(true, 10 * SECOND).judge(&session, &token(&session, 1), Delivery::Header, at(1000)),
        Verdict::Replay
    );
}

#[test]
fn a_clock_that_is_set_back_further_than_the_grace_does_not_make_it_longer() {
    let (session, rules) = (session(1, Some(300_000)), rules(true, 10 * SECOND));
    let judge = |generation, now| {
        let token = token(&session, generation);
        rules.judge(&session, &token, Delivery::Header, at(now))
    };
    for now in [290_001, 299_000, 309_999] {
        assert_eq!(judge(0, now), Verdict::Repeat, "{now}");
        assert_eq!(judge(1, now), Verdict::Repeat, "{now}");
    }
    for now in [0, 290_000, 310_000] {
        assert_eq!(judge(0, now), Verdict::Replay, "{now}");
        assert_eq!(judge(1, now), Verdict::Rotate, "{now}");
    }
}

#[test]
fn a_token_of_somebody_else_is_none_of_the_sessions_whatever_its_id() {
    let session = session(1, None);
    let mut other = token(&session, 1);
    other.subject = "somebody else".into();
    let verdict = rules(true, 10 * SECOND).judge(&session, &other, Delivery::Header, at(0));
    assert_eq!(verdict, Verdict::Forged);
}

#[test]
fn no_grace_is_strict_even_when_the_clock_is_set_back() {
    let (session, rules) = (session(1, Some(1000)), rules(true, Duration::ZERO));
    for now in [1000, 0] {
        assert_eq!(
            rules.judge(&session, &token(&session, 0), Delivery::Header, at(now)),
            Verdict::Replay
        );
        assert_eq!(
            rules.judge(&session, &token(&session, 1), Delivery::Header, at(now)),
            Verdict::Rotate
        );
    }
}

#[test]
fn with_rotation_off_the_token_stays_good() {
    let (session, rules) = (session(0, None), rules(false, 10 * SECOND));
    assert_eq!(
        rules.judge(&session, &token(&session, 0), Delivery::Header, at(59_999)),
        Verdict::Keep { touch: false }
    );
    assert_eq!(
        rules.judge(&session, &token(&session, 0), Delivery::Header, at(60_000)),
        Verdict::Keep { touch: true }
    );
}

#[test]
fn a_token_made_without_the_sessions_secret_is_forged() {
    let session = session(0, None);
    let mut token = token(&session, 0);
    token.generation = 1;
    assert_eq!(
        rules(true, 10 * SECOND).judge(&session, &token, Delivery::Header, at(0)),
        Verdict::Forged
    );
    token.id = "".into();
    assert_eq!(
        rules(true, 10 * SECOND).judge(&session, &token, Delivery::Header, at(0)),
        Verdict::Forged
    );
}

#[test]
fn a_token_that_came_another_way_is_good_for_nothing_and_changes_nothing() {
    let rules = rules(true, 10 * SECOND);
    for (delivery, by) in [
        (Delivery::Header, Delivery::Cookie),
        (Delivery::Cookie, Delivery::Header),
    ] {
        let mut session = session(3, None);
        session.delivery = delivery;
        for generation in [2, 3, 4] {
            let verdict = rules.judge(&session, &token(&session, generation), by, at(0));
            assert_eq!(verdict, Verdict::Misdelivered);
            assert!(!verdict.writes());
        }
    }
}

#[test]
fn no_refresh_token_outlives_the_sessions_greatest_age() {
    let rules = RefreshRules {
        session_max_age: 5000 * SECOND,
        ..rules(true, 10 * SECOND)
    };
    let mut session = Session::begin(
        "user".into(),
        Origin::default(),
        Delivery::Header,
        &rules,
        at(900),
    );
    assert_eq!(session.expires_at, at(3_600_000));
    session.rotate(&rules, at(3_000_700));
    assert_eq!(session.expires_at, at(5_000_000));
}

proptest! {
    #[test]
    fn an_ended_session_stays_ended_whatever_comes(generation in 0..5u64, presented in 0..5u64, now in 0..100_000i64, rotation: bool) {
        let mut session = session(generation, Some(1000));
        session.ended = Some(Ended { at: at(1000), reason: "logout".to_owned() });
        prop_assert_eq!(rules(rotation, 10 * SECOND).judge(&session, &token(&session, presented), Delivery::Header, at(now)), Verdict::Ended);
    }

    /// However the tokens seen so far are presented, and whenever: at most one rotation per grace, and a token that
    /// was answered with is good for the whole of the grace.
    #[test]
    fn a_session_rotates_at_most_once_per_grace(steps in proptest::collection::vec((0..2u64, 0..15_000i64), 1..40)) {
        let rules = rules(true, 10 * SECOND);
        let (mut session, mut now) = (session(0, None), 0);
        for (behind, passed) in steps {
            now += passed;
            let presented = token(&session, session.generation.saturating_sub(behind));
            match rules.judge(&session, &presented, Delivery::Header, at(now)) {
                Verdict::Rotate => {
                    prop_assert!(session.rotated_at.is_none_or(|rotated_at| rotated_at + rules.grace <= at(now)));
                    session.rotate(&rules, at(now));
                }
                Verdict::Repeat => prop_assert!(session.rotated_at.is_some_and(|rotated_at| at(now) < rotated_at + rules.grace)),
                Verdict::Replay => {
                    prop_assert!(presented.generation < session.generation);
                    break;
                }
                Verdict::Expired => break,
                verdict => prop_assert!(false, "{verdict:?}"),
            }
        }
    }
}

use super::counter::{COUNTED, SHORTLY};
use super::*;

fn attempts(per_user: u32, per_address: u32) -> Attempts {
    let rate = |count| Limit(Rate::new(count, Duration::from_hours(1)));
    Attempts::new(AttemptLimits {
        per_user: rate(per_user),
        per_address: rate(per_address),
    })
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_is_given_back_was_not_counted() {
    let attempts = attempts(3, 5);
    let attempt = async || {
        let mut attempt = attempts.from(Some(address("192.0.2.1"))).await?;
        attempt.for_user(&name("cosmo")).await.map(|()| attempt)
    };
    for _ in 0..100 {
        attempt().await.unwrap().give_back();
    }
    for _ in 0..3 {
        drop(attempt().await.unwrap());
    }
    let refused = attempt().await.unwrap_err();
    assert_eq!(refused.what, "user name");
    assert!(refused.retry_after > Duration::from_mins(19), "{refused:?}");
    assert!(
        refused.retry_after <= Duration::from_mins(20),
        "{refused:?}"
    );
    // The refused ones count for the address.
    drop(attempts.from(Some(address("192.0.2.1"))).await.unwrap());
    assert_eq!(
        attempts
            .from(Some(address("192.0.2.1")))
            .await
            .unwrap_err()
            .what,
        "address"
    );
    assert!(attempts.from(Some(address("192.0.2.2"))).await.is_ok());
    assert!(attempts.from(None).await.is_ok());
}

#[tokio::test]
async fn an_address_of_ones_own_has_a_count_of_its_own() {
    let attempts = attempts(1, 100);
    let mut attempt = attempts.from(None).await.unwrap();
    attempt.for_user(&name("cosmo")).await.unwrap();
    drop(attempt);
    let mut attempt = attempts.from(None).await.unwrap();
    assert!(attempt.for_user(&name("cosmo")).await.is_err());
    let home = address("192.0.2.1");
    assert!(attempt.for_user_at(&name("cosmo"), home).await.is_ok());
    drop(attempt);
    let mut attempt = attempts.from(None).await.unwrap();
    assert!(attempt.for_user_at(&name("cosmo"), home).await.is_err());
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_address() {
    let same = |one: &str, other: &str| same_network(address(one), address(other));
    assert!(same("2001:db8::1", "2001:db8::ffff:1"));
    assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
    assert!(!same("192.0.2.1", "192.0.2.2"));
}

#[tokio::test]
async fn a_flood_of_names_takes_no_more_memory_and_does_not_make_a_guessed_one_forgotten() {
    let attempts = attempts(20, 1);
    let guess = async |name: &str| {
        let mut attempt = attempts.from(None).await.unwrap();
        attempt.for_user(&self::name(name)).await
    };
    for _ in 0..20 {
        guess("cosmo").await.unwrap();
    }
    for number in 0..300_000 {
        let _ = guess(&format!("user{number}")).await;
        if number % 1000 == 0 {
            assert!(guess("cosmo").await.is_err(), "forgotten after {number}");
        }
    }
    let counter = attempts.0.of_users.as_ref().unwrap();
    assert!(counter.states.0.len() <= COUNTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_who_know_their_password_get_in_at_once_and_of_guesses_no_more_than_may_be() {
    for (right, expected) in [(true, 200), (false, 5)] {
        let attempts = attempts(5, 1);
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let attempts = attempts.clone();
                tokio::spawn(async move {
                    let mut attempt = attempts.from(None).await.unwrap();
                    attempt.for_user(&name("cosmo")).await?;
                    // What is looked at takes a while.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if right {
                        attempt.give_back();
                    }
                    Ok::<_, TooMany>(())
                })
            })
            .collect();
        let mut through = 0;
        for caller in callers {
            match caller.await.unwrap() {
                Ok(()) => through += 1,
                Err(too_many) => assert!(!too_many.undecided, "{too_many:?}"),
            }
        }
        assert_eq!(through, expected);
    }
}

#[tokio::test]
async fn nobody_waits_for_a_decision_for_ever() {
    let attempts = attempts(1, 1);
    let mut first = attempts.from(None).await.unwrap();
    first.for_user(&name("cosmo")).await.unwrap();
    let mut second = attempts.from(None).await.unwrap();
    let refused = second.for_user(&name("cosmo")).await.unwrap_err();
    assert!(refused.undecided && refused.retry_after == SHORTLY);
    drop(first);
    let refused = second.for_user(&name("cosmo")).await.unwrap_err();
    assert!(!refused.undecided);
}

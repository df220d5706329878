//! [`Cache`]: a fetched value that expires, such as a token or a set of keys.
//!
//! Used by each source of credentials; one fetch runs at a time.

use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::error::AuthError;

/// The time before its end at which a value is renewed: longer than a request takes to be checked, shorter than any
/// token lives. The vendors' own libraries take two to five minutes.
const MARGIN: Duration = Duration::from_mins(4);

/// A value and its end, if it has one.
#[derive(Clone)]
pub struct Fetched<T> {
    pub value: T,
    pub expires: Option<SystemTime>,
}

/// Holds the last value. One fetch at a time: whoever comes meanwhile waits for it and gets its value.
pub struct Cache<T>(Mutex<Option<Fetched<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Cache<T> {
    /// The held value, or, when it is near its end, that of `fetch`, which is not begun otherwise. A failed renewal
    /// does no harm as long as the old value holds.
    pub async fn get(&self, fetch: impl Future<Output = Result<Fetched<T>, AuthError>>) -> Result<T, AuthError> {
        let mut held = self.0.lock().await;
        if let Some(fetched) = held.as_ref().filter(|it| !it.ends_within(MARGIN)) {
            return Ok(fetched.value.clone());
        }
        match fetch.await {
            Ok(fetched) => Ok(held.insert(fetched).value.clone()),
            Err(error) => match held.as_ref().filter(|it| !it.ends_within(Duration::ZERO)) {
                Some(fetched) => Ok(fetched.value.clone()),
                None => Err(error),
            },
        }
    }
}

impl<T> Fetched<T> {
    fn ends_within(&self, span: Duration) -> bool {
        self.expires.is_some_and(|end| now().checked_add(span).is_none_or(|then| then >= end))
    }
}

/// The real time. Signatures and tokens need it even in a job whose clock is a cassette's, and it goes on while a
/// computer sleeps.
pub fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "servers compare it with theirs; nothing that is stored depends on it"
    )]
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Counter {
        async fn fetch(&self, seconds: Option<u64>) -> Result<Fetched<u64>, AuthError> {
            // Others get to run in between.
            tokio::task::yield_now().await;
            let expires = seconds.map(|seconds| now() + Duration::from_secs(seconds));
            Ok(Fetched { value: self.0.fetch_add(1, Ordering::Relaxed), expires })
        }
    }

    fn fails() -> impl Future<Output = Result<Fetched<u64>, AuthError>> {
        std::future::ready(Err(AuthError::unusable("the test", "fails")))
    }

    #[tokio::test]
    async fn a_stale_value_is_renewed_once_however_many_ask() {
        let (cache, counter) = (Arc::new(Cache::default()), Arc::new(Counter::default()));
        assert_eq!(cache.get(counter.fetch(Some(1))).await, Ok(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (cache, counter) = (Arc::clone(&cache), Arc::clone(&counter));
                tokio::spawn(async move { cache.get(counter.fetch(Some(3600))).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(1));
        }
    }

    #[tokio::test]
    async fn what_has_no_end_is_kept() {
        let (cache, counter) = (Cache::default(), Counter::default());
        assert_eq!(cache.get(counter.fetch(None)).await, Ok(0));
        assert_eq!(cache.get(fails()).await, Ok(0));
    }

    #[tokio::test]
    async fn a_failed_renewal_does_no_harm_before_the_end() {
        let (cache, counter) = (Cache::default(), Counter::default());
        assert_eq!(cache.get(counter.fetch(Some(60))).await, Ok(0));
        assert_eq!(cache.get(fails()).await, Ok(0));
        let dead = Cache::default();
        assert_eq!(dead.get(counter.fetch(Some(0))).await, Ok(1));
        assert!(dead.get(fails()).await.is_err());
    }
}

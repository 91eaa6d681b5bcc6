//! The trouble of a Redis that answers and does not work.

use redis::RedisError;

/// Codes of such trouble, and their meaning for an operator.
const CONDITIONS: [(&str, &str); 9] = [
    ("OOM", "it is full (maxmemory) and may evict nothing, so nothing can be written"),
    ("MISCONF", "it could not save its data, and takes no writes (stop-writes-on-bgsave-error)"),
    ("NOREPLICAS", "too few replicas follow it, so it takes no writes (min-replicas-to-write)"),
    ("LOADING", "it is still loading its data"),
    ("READONLY", "it is a replica, which takes no writes"),
    ("CLUSTERDOWN", "the cluster is down, or a slot of it has no owner that lives"),
    ("MASTERDOWN", "it is a replica that has lost its master"),
    ("BUSY", "somebody's script runs for too long"),
    ("NOPERM", "the user lacks a right; docs/redis.md has those that are needed"),
];

/// The error in words, after its code if that is one of ours. Holds no arguments and no secrets.
pub(crate) fn in_words(error: &RedisError) -> String {
    let (code, detail) = (error.code().unwrap_or_default(), error.detail().unwrap_or_default());
    // Redis 6.2 wraps an error inside of a script into another one.
    let is_it = |name: &str| code == name || detail.contains(&format!("-{name} "));
    match CONDITIONS.iter().find(|(name, _)| is_it(name)) {
        Some((name, meaning)) => format!("{name}: {meaning}"),
        None => {
            let text = error.to_string();
            let end = text.find(", with args beginning").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn a_condition_is_named_from_a_script_too() {
        let plain = make_extension_error("OOM".into(), Some("command not allowed".into()));
        assert_eq!(
            in_words(&plain),
            "OOM: it is full (maxmemory) and may evict nothing, so nothing can be written"
        );
        let in_script =
            "Error running script (call to f_1): @user_script:4: -NOREPLICAS Not enough";
        let wrapped = make_extension_error("ERR".into(), Some(in_script.into()));
        assert!(in_words(&wrapped).starts_with("NOREPLICAS: "));
        let unknown = "unknown command 'EVALSHA', with args beginning with: 'x' 'ada'";
        let unknown = make_extension_error("ERR".into(), Some(unknown.into()));
        assert!(!in_words(&unknown).contains("ada"), "{}", in_words(&unknown));
    }
}

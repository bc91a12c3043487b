//! What `redis-benchmark` reaches: the ceiling of a daemon that keeps its state in Redis.

use std::process::Command;

use super::Error;
use super::child::Server;

/// Commands a second.
pub(super) fn commands_per_second(
    redis: &Server,
    connections: usize,
    pipelined: usize,
    requests: u64,
    keys: u64,
    command: &[&str],
) -> Result<f64, Error> {
    let port = redis.address.port().to_string();
    let (connections, pipelined) = (connections.to_string(), pipelined.to_string());
    let (requests, keys) = (requests.to_string(), keys.to_string());
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-c", &connections, "-P", &pipelined, "-n", &requests, "-r", &keys])
        .arg("--csv")
        .args(command)
        .output()
        .map_err(Error::io("can't run redis-benchmark"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    last_rate(&said).ok_or_else(|| Error::Server(format!("redis-benchmark said: {said}")))
}

/// The rate in the last line of `redis-benchmark --csv`: its columns stand in quotes, and only the
/// first, the command, holds quotes or commas itself.
fn last_rate(csv: &str) -> Option<f64> {
    let columns: Vec<&str> = csv.lines().last()?.split("\",\"").collect();
    let is_number = |column: &&&str| column.trim_matches('"').parse::<f64>().is_ok();
    columns.iter().skip(1).find(is_number)?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_behind_a_command_with_quotes_and_commas() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\
                   \"EVAL return redis.call('HSET',KEYS[1]) {\"a\":\"b\",\"c\":null}\",\"415000.50\",\"0.1\"\n";
        assert_eq!(last_rate(csv), Some(415_000.5));
    }
}

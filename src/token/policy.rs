//! policy stub
use crate::config::Margin;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;
pub fn random() -> f64 { 0.5 }
pub fn refresh_at(_o: Timestamp, e: Timestamp, _m: Margin, _j: f64) -> Timestamp { e }
pub fn expires_at(b: Timestamp, _l: Duration) -> Timestamp { b }
pub fn backoff(_n: u32, r: Option<Duration>, _x: f64) -> Duration { r.unwrap_or(Duration::from_secs(1)) }
pub fn cooldown(b: Duration, _row: u32) -> Duration { b }
#[derive(Debug)]
pub struct Budget(u32);
impl Budget { pub fn new(n: u32) -> Self { Self(n) } pub fn take(&mut self, _: Instant) -> bool { true } }

//! The deaths of the crash matrix, and what they cost.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The deaths in one kind of store, and what they cost.
#[derive(Default)]
pub struct Tally {
    /// Deaths and losses, by the step of the death.
    deaths: BTreeMap<&'static str, (u32, u32)>,
    /// The deaths at random moments that lost a grant whose response the process had received.
    pub after_the_answer: u32,
    pub recovered: u32,
    slowest: Duration,
}

pub const IN_A_ROTATION: &str = "any moment of a rotation";
pub const IN_A_START: &str = "any moment of a start";

// === impl Tally ===

impl Tally {
    /// `point`: a step, [`IN_A_ROTATION`] or [`IN_A_START`].
    pub fn death(&mut self, point: &'static str, lost: bool, was_answered: bool) {
        let (deaths, losses) = self.deaths.entry(point).or_default();
        *deaths += 1;
        *losses += u32::from(lost);
        self.after_the_answer += u32::from(lost && was_answered && [IN_A_ROTATION, IN_A_START].contains(&point));
    }

    /// Deaths and losses at a point.
    pub fn at(&self, name: &str) -> (u32, u32) {
        self.deaths.get(name).copied().unwrap_or_default()
    }

    pub fn at_any_moment(&self) -> u32 {
        self.at(IN_A_ROTATION).0 + self.at(IN_A_START).0
    }

    pub fn recovery(&mut self, took: Duration) {
        self.recovered += 1;
        self.slowest = self.slowest.max(took);
    }

    /// Deaths and losses.
    pub fn count(&self) -> (u32, u32) {
        self.deaths.values().fold((0, 0), |(deaths, losses), (more, lost)| (deaths + more, losses + lost))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, losses) = self.count();
        writeln!(
            f,
            "{losses} grants lost, all of them between the server's commit and ours; {} recovered as the proxy ran, the slowest \
             in {:.0?}",
            self.recovered, self.slowest
        )?;
        let (moments, lost) = (self.at_any_moment(), self.after_the_answer);
        writeln!(f, "of {moments} kills at a random moment, {lost} lost a grant whose answer had arrived")?;
        writeln!(f, "\n| killed at | kills | lost there |\n|---|---|---|")?;
        for (point, (deaths, losses)) in &self.deaths {
            writeln!(f, "| {point} | {deaths} | {losses} |")?;
        }
        Ok(())
    }
}

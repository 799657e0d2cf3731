//! The authorization server: a token is spent when its request arrives, not when the answer does.

use crate::mutation::Mutation;
use crate::protocol::{Protocol, ServerKind};
use crate::state::{Answer, Issued, Orphan, State, Status, Step, Token};

// === impl Protocol ===

impl Protocol {
    pub fn arrive(&self, state: &mut State, who: usize, together: bool) {
        let Step::Calling { attempt, .. } = state.replicas[who].step else { return };
        // Not one of those that this arrival races with.
        state.replicas[who].step = Step::Answered(attempt, Answer::Ambiguous);
        let answer = self.answer(state, attempt.token, together);
        state.issued(attempt.token).unclear -= self.unclear();
        state.replicas[who].step = Step::Answered(attempt, answer);
        if let Answer::Issued { refresh, access } = answer
            && self.is(Mutation::PublishedBeforeCommit)
        {
            self.go_on_with(state, who, self.renewed(&attempt, refresh, access));
        }
    }

    pub fn busy(&self, state: &mut State, who: usize) {
        let Step::Calling { attempt, .. } = state.replicas[who].step else { return };
        state.issued(attempt.token).unclear -= self.unclear();
        state.replicas[who].step = Step::Answered(attempt, Answer::Transient);
    }

    /// What a presentation without a clear answer counts: nothing, where a token is good for many.
    pub fn unclear(&self) -> u8 {
        u8::from(self.server != ServerKind::Keeping)
    }

    pub fn time_out(&self, state: &mut State, who: usize) {
        let Step::Calling { attempt, raced, .. } = state.replicas[who].step else { return };
        state.server.orphans.push(Orphan { token: attempt.token, raced });
        state.server.orphans.sort_unstable();
        state.replicas[who].step = Step::Answered(attempt, Answer::Ambiguous);
    }

    pub fn orphan_arrives(&self, state: &mut State, which: usize, together: bool) {
        let Orphan { token, .. } = state.server.orphans.remove(which);
        if let Answer::Issued { .. } = self.answer(state, token, together) {
            state.issued(token).lost = true;
        }
    }

    fn answer(&self, state: &mut State, token: Token, together: bool) -> Answer {
        let Issued { status, family, .. } = state.server.tokens[usize::from(token)];
        if status != Status::Live && !together {
            if self.server == ServerKind::Strict {
                let members = state.server.tokens.iter_mut().filter(|issued| issued.family == family);
                members
                    .filter(|issued| issued.status == Status::Live)
                    .for_each(|issued| issued.status = Status::Revoked);
            }
            return Answer::Rejected;
        }
        let refresh = if self.server == ServerKind::Keeping {
            token
        } else {
            state.issued(token).status = Status::Spent;
            if self.server == ServerKind::LeagueRacing {
                state.mark_racing(token);
            }
            self.issue(state, family, Some(token))
        };
        state.server.access += 1;
        Answer::Issued { refresh, access: state.server.access }
    }

    pub fn issue(&self, state: &mut State, family: u8, from: Option<Token>) -> Token {
        let token = u8::try_from(state.server.tokens.len()).expect("few tokens");
        state.server.tokens.push(Issued {
            status: Status::Live,
            family,
            from,
            unclear: 0,
            lost: false,
            given_again: false,
        });
        token
    }
}

// === impl State ===

impl State {
    /// The requests that the server has looked at already, perhaps, and found good.
    fn mark_racing(&mut self, spent: Token) {
        for replica in &mut self.replicas {
            if let Step::Calling { attempt, raced, .. } = &mut replica.step {
                *raced |= attempt.token == spent;
            }
        }
        for orphan in &mut self.server.orphans {
            orphan.raced |= orphan.token == spent;
        }
    }
}

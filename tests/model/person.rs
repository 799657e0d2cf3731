//! A person who logs in and runs `import`, as in `token/import`.

use crate::actions::Store;
use crate::mutations::Mutation;
use crate::protocol::Protocol;
use crate::state::{Grant, Lineage, Person, State};
use crate::store::{Write, Written};

impl<const N: usize> Protocol<N> {
    pub fn read_for_import(&self, s: &mut State<N>) {
        s.leased = true;
        s.person = Person::Importing { seen: s.stored.version(), holds: true };
    }

    pub fn import(&self, s: &mut State<N>, bare: bool) {
        let Person::Importing { seen, holds } = s.person else { return };
        let mut issued = *s;
        let token = issued.issue(true);
        let lineage = Lineage::Imported;
        let wanted =
            Grant { lineage, generation: seen.generation + u8::from(!bare), token, presented: 0, needs_login: false };
        let compares = !self.is(Mutation::AnImportDoesNotCompare);
        let mut written = issued;
        let done = self.write(&mut written, &Write { seen, wanted, may: holds, compares }, Store::Answers);
        if let Some(Written::Done) = done {
            *s = written;
            s.person = Person::Done;
        } else {
            s.person = Person::Ready;
        }
        s.leased &= !holds;
    }
}

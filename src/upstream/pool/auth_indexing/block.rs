//! Reads which entries of the dynamic table a header block adds and uses (RFC 7541 §6). It skips names and values.

/// The number of an entry, counted from the first one that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A literal that begins at this byte, and is added to the table.
    Added { at: usize, entry: Entry },
    /// An index: name and value of an entry.
    Used(Entry),
}

/// The block is not valid HPACK.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The static table has 61 entries (RFC 7541 appendix A).
const FIRST_DYNAMIC: usize = 62;

/// `added`: how many entries were added so far.
pub(super) fn read(block: &[u8], added: &mut u64, mut seen: impl FnMut(Field)) -> Result<(), Malformed> {
    let mut rest = block;
    while let Some(first) = rest.first().copied() {
        let at = block.len() - rest.len();
        // Indexed, literal with indexing, size update, literal without indexing or never indexed.
        if first & 0x80 != 0 {
            let index = integer(&mut rest, 7)?;
            let age = index.checked_sub(FIRST_DYNAMIC).and_then(|age| u64::try_from(age).ok());
            if let Some(number) = age.and_then(|age| added.checked_sub(age)) {
                seen(Field::Used(Entry(number)));
            }
        } else if first & 0x40 != 0 {
            literal(&mut rest, 6)?;
            *added += 1;
            seen(Field::Added { at, entry: Entry(*added) });
        } else if first & 0x20 != 0 {
            integer(&mut rest, 5)?;
        } else {
            literal(&mut rest, 4)?;
        }
    }
    Ok(())
}

fn literal(rest: &mut &[u8], prefix: u32) -> Result<(), Malformed> {
    if integer(rest, prefix)? == 0 {
        string(rest)?;
    }
    string(rest)
}

/// Skips a string (RFC 7541 §5.2), Huffman-coded or not.
fn string(rest: &mut &[u8]) -> Result<(), Malformed> {
    let length = integer(rest, 7)?;
    *rest = rest.get(length..).ok_or(Malformed)?;
    Ok(())
}

/// Reads an integer with a prefix of this many bits (RFC 7541 §5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let full = (1 << prefix) - 1;
    let mut value = usize::from(next(rest)?) & full;
    if value < full {
        return Ok(value);
    }
    // Enough bits for every length and index.
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(next(rest)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn next(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, others) = rest.split_first().ok_or(Malformed)?;
    *rest = others;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(block: &[u8], added: &mut u64) -> Result<Vec<Field>, Malformed> {
        let mut fields = Vec::new();
        read(block, added, |field| fields.push(field)).map(|()| fields)
    }

    #[test]
    fn entries_are_numbered_as_both_tables_have_them() {
        let mut added = 0;
        // `:method: GET` of the static table, then `a: b` twice, as new entries, the second with the static name `cookie` (32).
        let block = [0x82, 0x40, 1, b'a', 1, b'b', 0x40 | 32, 1, b'b'];
        let (first, second) = (Entry(1), Entry(2));
        let expected = [Field::Added { at: 1, entry: first }, Field::Added { at: 6, entry: second }];
        assert_eq!(fields(&block, &mut added), Ok(expected.to_vec()));
        // The newest entry is 62. Literals without indexing and size updates add no entry.
        let block = [0x20, 0x00, 1, b'a', 1, b'c', 0x1f, 8, 1, b'x', 0x80 | 62, 0x80 | 63, 0x80 | 64];
        assert_eq!(
            fields(&block, &mut added),
            Ok(vec![Field::Used(second), Field::Used(first), Field::Used(Entry(0))])
        );
        let block = [0x40, 1, b'd', 0, 0x80 | 63];
        assert_eq!(fields(&block, &mut added), Ok(vec![Field::Added { at: 0, entry: Entry(3) }, Field::Used(second)]));
    }

    #[test]
    fn what_is_not_hpack_is_malformed() {
        for block in
            [&[0x40_u8][..], &[0x40, 5, b'a'], &[0xff], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x0f, 8, 0x7f, 0xff]]
        {
            assert_eq!(fields(block, &mut 0), Err(Malformed), "{block:?}");
        }
    }
}

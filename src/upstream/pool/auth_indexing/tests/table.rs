//! What is in the dynamic tables, and what is sent when a table has no room.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Other fields of a block: indexes of the static table.
const BEFORE: &[u8] = &[0x82, 0x84];
const AFTER: &[u8] = &[0x86];

/// The restored block, if h2 writes the field like this.
fn resolved(fields: &AuthIndexing, coding: &[u8], strings: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.restore(1, &[BEFORE, coding, &strings.concat(), AFTER].concat(), &mut out).unwrap();
    out
}

#[test]
fn a_value_that_a_table_has_no_room_for_is_marked_as_never_to_be_indexed() {
    for (length, entry) in [(900, true), (2003, true), (2004, false), (9000, false)] {
        let (fields, mut headers) = (AuthIndexing::default(), HeaderMap::new());
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&token('t', length)).unwrap());
        fields.replace_token(&mut headers).unwrap();
        assert_eq!(headers.contains_key(AUTHORIZATION), !entry, "{length}");
        assert_eq!(headers.len(), 1);
        let (name, value) = headers.iter().next().unwrap();
        assert!(!entry || name.as_str().len() + value.len() == AUTHORIZATION.as_str().len() + length);
        let strings = [if entry { huffman(name.as_str()) } else { vec![] }, huffman(value.to_str().unwrap())];
        let strings = strings.each_ref().map(Vec::as_slice);
        let (cases, strings) = match entry {
            true => (vec![(vec![0x40], vec![0x57]), (vec![0], vec![0x1f, 8])], &strings[..]),
            false => (vec![(vec![0x0f, 8], vec![0x1f, 8])], &strings[1..]),
        };
        for (written, sent) in cases {
            let out = resolved(&fields, &written, strings);
            assert!(out.starts_with(&[BEFORE, &sent[..]].concat()), "{length} {written:?}");
            assert!(out.ends_with(&[token('t', length).as_bytes(), AFTER].concat()), "{length} {written:?}");
        }
    }
}

#[tokio::test]
async fn the_value_goes_out_once_a_connection() {
    LocalSet::new()
        .run_until(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            serve(far);
            let written = Rc::<Written>::default();
            let (mut sender, fields) = over(Counted { io: near, written: Rc::clone(&written) }).await;
            for generation in ['a', 'b'] {
                check(&mut sender, &fields, &token(generation, 900), &[], 0).await;
                let before = written.bytes.get();
                for _ in 0..10 {
                    check(&mut sender, &fields, &token(generation, 900), &[], 0).await;
                }
                let each = (written.bytes.get() - before) / 10;
                assert!(each < 100, "{each} bytes a request");
            }
        })
        .await;
}

/// Many lengths, so that some fill the table to the byte. If the tables counted differently, an index would name an evicted entry.
/// name an entry that is gone.
#[tokio::test]
async fn what_others_drive_out_of_the_table_is_sent_again() {
    LocalSet::new()
        .run_until(async {
            let (mut sender, fields) = connected(64 * 1024).await;
            let mut random = 1_u32;
            for number in 0..8000_u32 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let length = usize::try_from(random >> 24).unwrap();
                let others = [("x-other".into(), format!("{number:05}{}", "~".repeat(length)))];
                check(&mut sender, &fields, &token('t', 900), &others, 0).await;
            }
            let known = fields.known.borrow();
            assert_eq!(known.asked, 8000, "{} were written", known.written);
            assert!(known.written > 100, "{} were written", known.written);
        })
        .await;
}

/// Relays between a server and its client, and adds the size of the table to the server's first SETTINGS.
async fn with_table(size: u8, mut server: DuplexStream, mut client: DuplexStream) {
    let mut head = [0; 9];
    server.read_exact(&mut head).await.unwrap();
    assert_eq!((head[3], head[4]), (4, 0), "not SETTINGS");
    head[2] += 6;
    client.write_all(&[&head[..], &[0, 1, 0, 0, 0, size]].concat()).await.unwrap();
    // Until one of them ends.
    let _ = tokio::io::copy_bidirectional(&mut server, &mut client).await;
}

#[tokio::test]
async fn an_upstream_without_room_in_its_table_gets_the_value_by_each_request() {
    LocalSet::new()
        .run_until(async {
            for size in [0, 200] {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let (server, relayed) = tokio::io::duplex(64 * 1024);
                serve(server);
                tokio::spawn(with_table(size, relayed, far));
                let (mut sender, fields) = over(near).await;
                for number in 0..40 {
                    check(&mut sender, &fields, &token('t', 900), &[("x-number".into(), number.to_string())], 0).await;
                }
                let known = fields.known.borrow();
                assert!(!known.pays());
                assert!(known.written < 12, "{} of {}", known.written, known.asked);
            }
        })
        .await;
}

//! One gzip member (RFC 1952) from fragments that were compressed at different times.
//!
//! Each fragment is a sequence of DEFLATE blocks that refers to nothing before it and ends at a byte boundary, so any may
//! follow any other. Several members in a row would be simpler, but browsers show only the first, and curl stops with an
//! error.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, CompressError, Compression, FlushCompress};

/// Compressed text, shared by its clones.
#[derive(Clone)]
pub(super) struct Fragment {
    bytes: Bytes,
    /// The checksum of the text.
    crc: Hasher,
    /// The length of the text, in bytes.
    length: u64,
}

/// 1 % more bytes than at zlib's default of 6, in less time.
const LEVEL: u32 = 4;

/// Compresses one text after the other. Reused across scrapes: allocating and freeing its third of a megabyte at each would
/// fragment the heap.
pub(super) struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, text: impl Iterator<Item = String>) -> Result<Fragment, CompressError> {
        self.0.reset();
        let (mut bytes, mut crc, mut length) = (Vec::new(), Hasher::new(), 0);
        for piece in text {
            crc.update(piece.as_bytes());
            length += piece.len() as u64;
            self.push(piece.as_bytes(), &mut bytes, FlushCompress::None)?;
        }
        self.push(&[], &mut bytes, FlushCompress::Sync)?;
        bytes.shrink_to_fit();
        Ok(Fragment { bytes: bytes.into(), crc, length })
    }

    fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> Result<(), CompressError> {
        loop {
            out.reserve(ROOM);
            let before = self.0.total_in();
            self.0.compress_vec(text, out, flush)?;
            text = &text[usize::try_from(self.0.total_in() - before).unwrap_or(text.len())..];
            // With room left in the output, all of the text has been taken, and flushed where that was asked for.
            if out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

/// The least spare capacity of the output before each step, in bytes; a flush needs more than six.
const ROOM: usize = 1 << 10;

/// Magic number, DEFLATE, no flags, no time, no hint of the level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block, with fixed Huffman codes.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

pub(super) fn gzip_member(fragments: &[Fragment]) -> Bytes {
    let (mut crc, mut length) = (Hasher::new(), 0_u64);
    for fragment in fragments {
        crc.combine(&fragment.crc);
        length += fragment.length;
    }
    // The length modulo 2^32, as the format has it.
    let (crc, length) = (crc.finalize().to_le_bytes(), &length.to_le_bytes()[..4]);
    let mut parts = vec![&HEADER[..]];
    parts.extend(fragments.iter().map(|fragment| &*fragment.bytes));
    parts.extend([&LAST_BLOCK[..], &crc, length]);
    parts.concat().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::bufread::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Repeats itself, or does not and so takes as much room compressed.
    fn some_piece() -> impl Strategy<Value = String> {
        let repeated = (0..200_000_usize).prop_map(|length| "x".repeat(length));
        prop_oneof![8 => "[a-c]{0,3000}", 1 => "[ -~]{40000}", 1 => repeated]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_decoder_gives_the_texts_back(texts in prop::collection::vec(prop::collection::vec(some_piece(), 0..4), 0..6)) {
            let mut compressor = Compressor::default();
            // In another order than that in which they were compressed.
            let texts_backwards = texts.iter().rev();
            let mut fragments: Vec<_> =
                texts_backwards.map(|text| compressor.compress(text.iter().cloned()).unwrap()).collect();
            fragments.reverse();
            let member = gzip_member(&fragments);
            let mut decoded = String::new();
            // One member: a decoder that stops at the first gives all, and nothing is left.
            let mut decoder = GzDecoder::new(&*member);
            decoder.read_to_string(&mut decoded).unwrap();
            prop_assert_eq!(decoded, texts.concat().concat());
            prop_assert!(decoder.into_inner().is_empty());
        }
    }
}

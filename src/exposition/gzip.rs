//! One gzip member (RFC 1952) from fragments that were compressed at different times.
//!
//! Each fragment is a sequence of DEFLATE blocks that refers to nothing before it and ends at a byte's border, so any of
//! them may follow any other. Several members in a row would be simpler, but browsers show only the first, and curl stops
//! with an error.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Compressed text that can be joined.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    pub(super) bytes: Bytes,
    /// Of the text.
    pub(super) crc: u32,
    /// Of the text, in bytes.
    pub(super) length: u64,
}

/// Magic number, DEFLATE, no flags, no time, no hint of the level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last block, with fixed codes and nothing in it.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// A hundredth more bytes than at the usual 6, and sooner ready after a start.
const LEVEL: u32 = 4;

/// Compresses texts one after the other. It takes a third of a megabyte, whatever their length.
pub(super) struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, text: &str) -> Fragment {
        self.0.reset();
        let mut out = Vec::with_capacity(text.len() / 4 + 64);
        loop {
            let taken = usize::try_from(self.0.total_in()).unwrap_or(text.len());
            let status = self.0.compress_vec(&text.as_bytes()[taken..], &mut out, FlushCompress::Full);
            // With room left in the output, everything has been taken and flushed. An error there is none: the state is
            // this compressor's own.
            if out.len() < out.capacity() || !matches!(status, Ok(Status::Ok)) {
                break;
            }
            out.reserve(out.capacity());
        }
        out.shrink_to_fit();
        Fragment { bytes: out.into(), crc: crc32fast::hash(text.as_bytes()), length: text.len() as u64 }
    }
}

/// The fragments as one member.
pub(super) fn member(fragments: impl IntoIterator<Item = Fragment>) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from_static(&HEADER)];
    let mut sum = Hasher::new();
    let mut length = 0_u64;
    for fragment in fragments {
        sum.combine(&Hasher::new_with_initial_len(fragment.crc, fragment.length));
        length += fragment.length;
        pieces.push(fragment.bytes);
    }
    let mut end = LAST_BLOCK.to_vec();
    end.extend_from_slice(&sum.finalize().to_le_bytes());
    // Modulo 2^32, as the format has it.
    end.extend_from_slice(&length.to_le_bytes()[..4]);
    pieces.push(end.into());
    pieces
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_decoder_gives_the_texts_back(texts in prop::collection::vec("[a-c]{0,3000}", 0..8)) {
            let mut compressor = Compressor::default();
            let member = member(texts.iter().map(|text| compressor.compress(text))).concat();
            let mut decoded = String::new();
            // One member: a decoder that stops at the first gives all, and nothing is left.
            let mut decoder = GzDecoder::new(member.as_slice());
            decoder.read_to_string(&mut decoded).unwrap();
            prop_assert_eq!(decoded, texts.concat());
            prop_assert!(decoder.into_inner().is_empty());
        }
    }
}

//! One gzip member (RFC 1952) from fragments that were compressed at different times.
//!
//! Each fragment is a sequence of DEFLATE blocks that refers to nothing before it and ends at a byte boundary, so any may
//! follow any other. Several members in a row would be simpler, but browsers show only the first, and curl stops with an
//! error.

use std::io::{self, Write as _};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Compressed text.
pub(super) struct Fragment {
    bytes: Vec<u8>,
    /// The checksum and the length of the text.
    crc: Crc,
}

/// 1 % more bytes than at zlib's default of 6, in less time.
const LEVEL: u32 = 4;

/// Compresses one text after the other. Reused across scrapes: allocating and freeing its third of a megabyte at each would
/// fragment the heap.
pub(super) struct Compressor(DeflateEncoder<Vec<u8>>);

impl Default for Compressor {
    fn default() -> Self {
        Self(DeflateEncoder::new(Vec::new(), Compression::new(LEVEL)))
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, text: impl Iterator<Item = String>) -> io::Result<Fragment> {
        // The end of the text before goes into a buffer that nobody reads.
        self.0.reset(Vec::new())?;
        let mut crc = Crc::new();
        for piece in text {
            crc.update(piece.as_bytes());
            self.0.write_all(piece.as_bytes())?;
        }
        self.0.flush()?;
        let mut bytes = mem::take(self.0.get_mut());
        bytes.shrink_to_fit();
        Ok(Fragment { bytes, crc })
    }
}

/// Magic number, DEFLATE, no flags, no time, no hint of the level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block, with fixed Huffman codes.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

pub(super) fn gzip_member(fragments: &[Arc<Fragment>]) -> Bytes {
    let mut crc = Crc::new();
    for fragment in fragments {
        crc.combine(&fragment.crc);
    }
    // The length modulo 2^32, as the format has it.
    let trailer = [crc.sum(), crc.amount()].map(u32::to_le_bytes);
    let mut parts = vec![&HEADER[..]];
    parts.extend(fragments.iter().map(|fragment| fragment.bytes.as_slice()));
    parts.extend([&LAST_BLOCK, trailer.as_flattened()]);
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
                texts_backwards.map(|text| Arc::new(compressor.compress(text.iter().cloned()).unwrap())).collect();
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

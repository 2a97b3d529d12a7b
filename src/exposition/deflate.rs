//! DEFLATE (RFC 1951) for lines that are much like the line before, and that have to be compressed anew at every scrape.
//!
//! A general compressor searches for what is known here: each part of a line begins where the same part of the line
//! before began, but for a few bytes, or stands in full at a place that is given. Blocks use the fixed codes
//! (section 3.2.6), so that nothing is counted first.

use std::ops::Range;

use crc32fast::Hasher;

use super::gzip::Fragment;

/// The shortest match that there is a code for, the shortest that takes less room than the bytes it stands for, and the
/// longest that there is a code for.
const SHORTEST_LENGTH: usize = 3;
const SHORTEST_MATCH: usize = 4;
const LONGEST_MATCH: usize = 258;
/// How far back a match may reach.
pub(super) const WINDOW: usize = 32 << 10;
/// Text is kept up to about this length before it is summed up and let go; the line before stays.
const LET_GO_AT: usize = 64 << 10;
/// What a line takes, so that there is room for the one that goes beyond.
const LINE: usize = 1 << 10;

/// Compresses lines, each given as its parts and a value at the end.
pub(super) struct LineCompressor {
    bits: BitWriter,
    text: String,
    /// Bytes before those in `text`, which have been let go.
    let_go: usize,
    /// Where in `text` those bytes begin that are not summed up yet.
    unsummed: usize,
    /// The parts of the line under way, and of the line before.
    line: Vec<Range<usize>>,
    before: Vec<Range<usize>>,
    /// A match that may go on in the next part.
    pending: Match,
    hasher: Hasher,
    length: u64,
}

#[derive(Clone, Copy, Default)]
struct Match {
    start: usize,
    length: usize,
    distance: usize,
}

impl LineCompressor {
    /// Lines that follow on `preceding`, which has been compressed already, and that will take about `expected` bytes.
    /// Positions are counted from the beginning of `preceding`.
    pub(super) fn after(preceding: &str, expected: usize) -> Self {
        let mut bits = BitWriter { bytes: Vec::with_capacity(expected), ..BitWriter::default() };
        bits.put(0b010, 3); // not the last block; fixed codes
        let mut text = String::with_capacity(preceding.len() + LET_GO_AT + LINE);
        text.push_str(preceding);
        Self {
            bits,
            unsummed: text.len(),
            text,
            let_go: 0,
            line: Vec::new(),
            before: Vec::new(),
            pending: Match::default(),
            hasher: Hasher::new(),
            length: 0,
        }
    }

    /// Adds the next part of the line. It is much like the same part of the line before, or the same as what stands at
    /// the position `elsewhere`.
    pub(super) fn part(&mut self, elsewhere: Option<usize>, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        let part = start..self.text.len();
        let elsewhere = elsewhere
            .and_then(|position| position.checked_sub(self.let_go))
            .filter(|known| *known < start && start - known <= WINDOW)
            .map(|known| known..start.min(known + part.len()));
        match elsewhere.or_else(|| self.before.get(self.line.len()).cloned()) {
            Some(known) => self.compress(part.clone(), known),
            None => self.literals(part.clone()),
        }
        self.line.push(part);
    }

    /// Adds the value of a line, which is unlike the one before, and ends the line.
    pub(super) fn value(&mut self, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        self.literals(start..self.text.len());
        self.flush_match();
        std::mem::swap(&mut self.before, &mut self.line);
        self.line.clear();
        if start > LET_GO_AT {
            self.let_go();
        }
    }

    /// Lets all text go but the line before.
    fn let_go(&mut self) {
        let keep = self.before.first().map_or(self.text.len(), |part| part.start);
        self.sum_up(keep);
        self.text.drain(..keep);
        self.let_go += keep;
        self.unsummed = 0;
        for part in &mut self.before {
            *part = part.start - keep..part.end - keep;
        }
    }

    fn sum_up(&mut self, end: usize) {
        let bytes = &self.text.as_bytes()[self.unsummed..end];
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// A part that is much like one before it: what both begin and end with is taken from there.
    fn compress(&mut self, part: Range<usize>, known: Range<usize>) {
        let text = self.text.as_bytes();
        let (new, old) = (&text[part.clone()], &text[known.clone()]);
        let shorter = new.len().min(old.len());
        let prefix = common_prefix(new, old);
        let suffix = new.iter().rev().zip(old.iter().rev()).take(shorter - prefix).take_while(|(a, b)| a == b).count();
        self.copy(part.start, prefix, part.start - known.start);
        self.literals(part.start + prefix..part.end - suffix);
        self.copy(part.end - suffix, suffix, part.end - known.end);
    }

    fn copy(&mut self, start: usize, length: usize, distance: usize) {
        if length == 0 {
            return;
        }
        if self.pending.distance != distance {
            self.flush_match();
            self.pending = Match { start, length: 0, distance };
        }
        self.pending.length += length;
    }

    fn literals(&mut self, span: Range<usize>) {
        if !span.is_empty() {
            self.flush_match();
            self.bits.literals(&self.text.as_bytes()[span]);
        }
    }

    fn flush_match(&mut self) {
        let Match { mut start, mut length, distance } = std::mem::take(&mut self.pending);
        while length >= SHORTEST_MATCH && distance <= WINDOW {
            let taken = length.min(LONGEST_MATCH);
            self.bits.reference(taken, distance);
            start += taken;
            length -= taken;
        }
        self.bits.literals(&self.text.as_bytes()[start..start + length]);
    }

    /// The lines, ended at a byte's border so that anything may follow.
    pub(super) fn finish(mut self) -> Fragment {
        self.bits.end_block();
        self.sum_up(self.text.len());
        Fragment { bytes: self.bits.bytes.into(), crc: self.hasher.finalize(), length: self.length }
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Most of it in eights, since it is most of the text.
    let eights = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count() * 8;
    eights + a[eights..].iter().zip(&b[eights..]).take_while(|(a, b)| a == b).count()
}

/// Bits, the first of them the lowest of a byte.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    waiting: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits, at most 32.
    #[inline]
    fn put(&mut self, bits: u32, count: u32) {
        self.waiting |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&self.waiting.to_le_bytes()[..4]);
            self.waiting >>= 32;
            self.count -= 32;
        }
    }

    fn literals(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (code, length) = SYMBOLS[usize::from(*byte)];
            self.put(code.into(), length.into());
        }
    }

    /// As many bytes as `length` from `distance` bytes back.
    fn reference(&mut self, length: usize, distance: usize) {
        let (symbol, extra, count) = length_symbol(length);
        let (code, code_length) = SYMBOLS[257 + symbol as usize];
        self.put(u32::from(code) | extra << code_length, u32::from(code_length) + count);
        let (symbol, extra, count) = distance_symbol(distance);
        // Distances have a code of five bits each, which is their symbol.
        self.put(symbol.reverse_bits() >> (u32::BITS - 5) | extra << 5, 5 + count);
    }

    /// Ends the block, and fills up to a byte's border with an empty stored block.
    fn end_block(&mut self) {
        let (code, length) = SYMBOLS[256];
        self.put(code.into(), length.into());
        self.put(0b000, 3);
        while self.count > 0 {
            self.bytes.push(self.waiting.to_le_bytes()[0]);
            self.waiting >>= 8;
            self.count = self.count.saturating_sub(8);
        }
        self.bytes.extend_from_slice(&[0x00, 0x00, 0xff, 0xff]);
    }
}

/// The symbol of a length counted from 257, its extra bits and their count (section 3.2.5).
fn length_symbol(length: usize) -> (u32, u32, u32) {
    // The longest has a symbol of its own.
    if length == LONGEST_MATCH { (28, 0, 0) } else { symbol(length - SHORTEST_LENGTH, 2) }
}

/// The symbol of a distance, its extra bits and their count.
fn distance_symbol(distance: usize) -> (u32, u32, u32) {
    symbol(distance - 1, 1)
}

/// The symbol of a value, its extra bits and their count. Small values have one each; of larger ones, each power of two is
/// cut into `2^bits` symbols.
#[expect(clippy::cast_possible_truncation, reason = "no value is above 32,768")]
fn symbol(value: usize, bits: u32) -> (u32, u32, u32) {
    let value = value as u32;
    let extra = value.checked_ilog2().unwrap_or_default().saturating_sub(bits);
    ((extra << bits) + (value >> extra), value & ((1 << extra) - 1), extra)
}

/// Section 3.2.6: the code of each symbol, as it is written, and its length.
const SYMBOLS: [(u16, u8); 288] = symbols();

const fn symbols() -> [(u16, u8); 288] {
    let mut table = [(0, 0); 288];
    let mut symbol = 0_u16;
    while symbol < 288 {
        let (code, length) = match symbol {
            0..=143 => (0b0011_0000 + symbol, 8),
            144..=255 => (0b1_1001_0000 + symbol - 144, 9),
            256..=279 => (symbol - 256, 7),
            _ => (0b1100_0000 + symbol - 280, 8),
        };
        table[symbol as usize] = (reversed(code, length), length);
        symbol += 1;
    }
    table
}

/// Codes are written from their highest bit on, all else from the lowest.
const fn reversed(code: u16, length: u8) -> u16 {
    code.reverse_bits() >> (16 - length)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::gzip::{self, Compressor};

    /// What a decoder makes of lines after some text.
    fn round_trip(preceding: &str, lines: &[(Option<usize>, [String; 3])]) -> String {
        let mut compressor = LineCompressor::after(preceding, 0);
        for (elsewhere, [first, second, value]) in lines {
            compressor.part(None, |out| out.push_str(first));
            compressor.part(*elsewhere, |out| out.push_str(second));
            compressor.value(|out| out.push_str(value));
        }
        let before = Compressor::default().compress(preceding);
        let member = gzip::member([before, compressor.finish()]).concat();
        let mut text = String::new();
        GzDecoder::new(member.as_slice()).read_to_string(&mut text).unwrap();
        text
    }

    fn plain(preceding: &str, lines: &[(Option<usize>, [String; 3])]) -> String {
        lines.iter().fold(preceding.to_owned(), |text, (_, parts)| text + &parts.concat())
    }

    proptest! {
        /// The decoder checks length and checksum too.
        #[test]
        fn a_decoder_gives_the_lines_back(
            preceding in "[a-c]{0,300}",
            lines in prop::collection::vec(
                (prop::option::of(0..400_usize), ["[ab\u{80}-\u{fff}]{0,9}", "[a-c]{0,400}", "[0-9]{0,12}"]),
                0..60,
            ),
        ) {
            prop_assert_eq!(round_trip(&preceding, &lines), plain(&preceding, &lines));
        }
    }

    /// Section 3.2.5: the smallest length of each symbol from 257 on, and how many extra bits say how much more it is.
    #[rustfmt::skip]
    const LENGTHS: [(u32, u32); 29] = [
        (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2), (23, 2),
        (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5), (163, 5),
        (195, 5), (227, 5), (258, 0),
    ];

    /// The same for distances.
    #[rustfmt::skip]
    const DISTANCES: [(u32, u32); 30] = [
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4), (49, 4), (65, 5), (97, 5),
        (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8), (1025, 9), (1537, 9), (2049, 10), (3073, 10), (4097, 11),
        (6145, 11), (8193, 12), (12289, 12), (16385, 13), (24577, 13),
    ];

    #[test]
    fn symbols_are_those_of_the_standard() {
        for (number, (smallest, count)) in (0..).zip(LENGTHS) {
            let most = if smallest == 227 { 257 } else { smallest + (1 << count) - 1 };
            for length in smallest..=most {
                assert_eq!(length_symbol(length as usize), (number, length - smallest, count), "{length}");
            }
        }
        for (number, (smallest, count)) in (0..).zip(DISTANCES) {
            for distance in smallest..smallest + (1 << count) {
                assert_eq!(distance_symbol(distance as usize), (number, distance - smallest, count), "{distance}");
            }
        }
    }

    #[test]
    fn long_texts_and_long_lines_are_let_go_in_time() {
        for length in [1, 100, 20_000, 40_000, 70_000] {
            let name = "x".repeat(length);
            let line = |n: usize| (Some(n * 7), [format!("{name}{n}"), name.clone(), n.to_string()]);
            let lines: Vec<_> = (0..12).map(line).collect();
            assert_eq!(round_trip(&name, &lines), plain(&name, &lines), "{length}");
        }
    }

    #[test]
    fn what_stands_elsewhere_is_referred_to() {
        let name: String = (0..200_u32).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
        let size = |elsewhere| {
            let mut lines = LineCompressor::after(&name, 0);
            lines.part(elsewhere, |out| out.push_str(&name));
            lines.value(|out| out.push('1'));
            lines.finish().bytes.len()
        };
        assert!(size(Some(0)) < 16 && size(None) > 200, "{} {}", size(Some(0)), size(None));
    }
}

//! The page as a body: ready pieces that are shared, or text that is written as it is read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::large::{Family, GROUPS};
use crate::inventory::Snapshot;

/// A compressed page. Everybody who is reading it shares all of it, and has only a place in it.
#[derive(Debug)]
pub struct GzipPage {
    pieces: Arc<[Bytes]>,
    next: usize,
    left: u64,
}

impl GzipPage {
    pub(super) fn new(pieces: Arc<[Bytes]>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, next: 0, left }
    }
}

impl Body for GzipPage {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.get(self.next).cloned();
        self.next += 1;
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Text is handed on once there is so much of it.
const PIECE: usize = 16 << 10;

/// The page as text. Only the piece under way is held, however long the page is and however many read it.
#[derive(Debug)]
pub struct TextPage {
    ends: VecDeque<String>,
    snapshot: Option<Arc<Snapshot>>,
    now: f64,
    group: usize,
    family: usize,
    row: usize,
}

impl TextPage {
    /// A page that has `head` before the families of `snapshot`, and `tail` after them.
    pub(super) fn new(head: String, snapshot: Option<Arc<Snapshot>>, tail: String, now: f64) -> Self {
        Self { ends: [head, tail].into(), snapshot, now, group: 0, family: 0, row: 0 }
    }

    fn family(&self) -> Option<&'static Family> {
        GROUPS.get(self.group)?.get(self.family)
    }
}

impl Iterator for TextPage {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut piece = match self.ends.len() {
            2 => self.ends.pop_front()?,
            _ => String::with_capacity(2 * PIECE),
        };
        while let (Some(snapshot), Some(family)) = (&self.snapshot, self.family()) {
            if self.row == 0 && !family.is_empty(snapshot, self.now) {
                family.write_head(&mut piece);
            }
            let count = family.rows.count(snapshot);
            while self.row < count {
                family.write_row(snapshot, self.row, self.now, &mut piece);
                self.row += 1;
                if self.row < count && piece.len() >= PIECE {
                    return Some(piece);
                }
            }
            self.row = 0;
            self.family += 1;
            if self.family == GROUPS[self.group].len() {
                (self.group, self.family) = (self.group + 1, 0);
            }
        }
        piece.push_str(&self.ends.pop_front()?);
        Some(piece)
    }
}

//! A file's bytes in copy-on-write chunks, so that a copy of a machine costs little.
//!
//! Invariant: a missing chunk reads as zero, and so does everything behind the length.

use std::ops::Range;
use std::sync::Arc;

const CHUNK: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    chunks: Vec<Option<Arc<[u8; CHUNK]>>>,
    len: usize,
}

impl Image {
    pub(super) fn from_bytes(content: &[u8]) -> Self {
        let mut image = Self::default();
        image.resize(content.len());
        image.write(0, content);
        image
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut content = vec![0; self.len];
        self.read(0, &mut content);
        content
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes that are shared together with one of them.
    pub(super) fn chunk_of(offset: usize) -> Range<usize> {
        let start = offset / CHUNK * CHUNK;
        start..start + CHUNK
    }

    /// Whether nothing was ever written near a place; behind the length nothing was.
    pub(super) fn is_blank(&self, offset: usize) -> bool {
        self.chunks.get(offset / CHUNK).is_none_or(Option::is_none)
    }

    /// Fills `into`; the range must lie inside.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let (chunk, at) = ((offset + done) / CHUNK, (offset + done) % CHUNK);
            let count = (CHUNK - at).min(into.len() - done);
            let part = &mut into[done..done + count];
            match &self.chunks[chunk] {
                Some(bytes) => part.copy_from_slice(&bytes[at..at + count]),
                None => part.fill(0),
            }
            done += count;
        }
    }

    /// Overwrites; the range must lie inside.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (chunk, at) = ((offset + done) / CHUNK, (offset + done) % CHUNK);
            let count = (CHUNK - at).min(data.len() - done);
            let bytes = self.chunks[chunk].get_or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(bytes)[at..at + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
    }

    /// Takes over the chunk around a place of an image of the same length; behind its end there is none.
    pub(super) fn share_chunk(&mut self, from: &Self, offset: usize) {
        let at = offset / CHUNK;
        if let (Some(into), Some(chunk)) = (self.chunks.get_mut(at), from.chunks.get(at)) {
            into.clone_from(chunk);
        }
    }

    pub(super) fn resize(&mut self, len: usize) {
        let cut = self.len.min(len.next_multiple_of(CHUNK));
        if len < cut {
            self.write(len, &vec![0; cut - len]);
        }
        self.chunks.resize(len.div_ceil(CHUNK), None);
        self.len = len;
    }
}

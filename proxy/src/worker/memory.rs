//! Memory that is lent while bytes move, and given back for the next one: an idle connection holds none of it.

use std::cell::RefCell;

use http1::Message;

use crate::net::Pipe;

/// Holds most heads that are known to be whole, as those of HTTP/2.
const TINY: usize = 1024;
/// Holds the head of most requests.
const SMALL: usize = 8 * 1024;
/// Holds any head; bodies move fastest in pieces of this size.
const LARGE: usize = 64 * 1024;
/// What is kept of each kind; beyond that memory goes back to the allocator.
const KEPT_MAX: usize = 64;
/// The same of the tiny ones: a connection of HTTP/2 has a hundred requests at once.
const TINY_KEPT_MAX: usize = 1024;
/// A buffer for writing that has grown beyond this is not kept.
const OUT_KEPT_MAX: usize = 64 * 1024;
/// Holds a request whose body is read together with its head. Memory for a copy of a body that has grown beyond this is not kept:
/// it holds a large piece behind what came with the head.
const UPLOAD: usize = SMALL + LARGE;

/// A worker's memory for messages and bodies.
#[derive(Default)]
pub(crate) struct Memory {
    #[expect(clippy::vec_box, reason = "a message is handed on by its pointer")]
    tiny: RefCell<Vec<Box<Message>>>,
    #[expect(clippy::vec_box, reason = "a message is handed on by its pointer")]
    small: RefCell<Vec<Box<Message>>>,
    #[expect(clippy::vec_box, reason = "a message is handed on by its pointer")]
    large: RefCell<Vec<Box<Message>>>,
    #[expect(clippy::vec_box, reason = "a message is handed on by its pointer")]
    uploads: RefCell<Vec<Box<Message>>>,
    blocks: RefCell<Vec<Box<[u8]>>>,
    outs: RefCell<Vec<Vec<u8>>>,
    bodies: RefCell<Vec<Vec<u8>>>,
    pipes: RefCell<Vec<Pipe>>,
}

fn lend<T>(kept: &RefCell<Vec<T>>, make: impl FnOnce() -> T) -> T {
    let lent = kept.borrow_mut().pop();
    lent.unwrap_or_else(make)
}

fn keep<T>(kept: &RefCell<Vec<T>>, returned: T) {
    keep_up_to(KEPT_MAX, kept, returned);
}

fn keep_up_to<T>(most: usize, kept: &RefCell<Vec<T>>, returned: T) {
    let mut kept = kept.borrow_mut();
    if kept.len() < most {
        kept.push(returned);
    }
}

impl Memory {
    /// For the head of a request.
    pub(crate) fn message(&self) -> Box<Message> {
        lend(&self.small, || Box::new(Message::new(vec![0; SMALL].into())))
    }

    /// For an answer, whose body is read into the same buffer.
    pub(crate) fn large_message(&self) -> Box<Message> {
        lend(&self.large, || Box::new(Message::new(vec![0; LARGE].into())))
    }

    /// For a request that is likely to be [an upload](Memory::is_upload).
    pub(crate) fn upload(&self) -> Box<Message> {
        lend(&self.uploads, || Box::new(Message::new(vec![0; UPLOAD].into())))
    }

    /// Whether a request has a body that is too long for the memory of most, and that an upload's has room for.
    pub(crate) fn is_upload(request: &Message) -> bool {
        request.length().is_some_and(|length| length > SMALL as u64 && length <= UPLOAD as u64)
    }

    /// Has less memory hold the beginning of a message that was no upload, or of which little has come.
    pub(crate) fn fit(&self, message: &mut Box<Message>) {
        if message.capacity() == UPLOAD && message.received().len() <= SMALL {
            let fitting = self.beginning(message.received());
            self.give_back(std::mem::replace(message, fitting));
        }
    }

    /// A message of which `text`, no more than an upload, has come.
    pub(crate) fn beginning(&self, text: &[u8]) -> Box<Message> {
        let mut message = match text.len() {
            0..=SMALL => self.message(),
            length if length <= LARGE => self.large_message(),
            _ => self.upload(),
        };
        let length = text.len().min(message.space().len());
        if let (Some(space), Some(text)) = (message.space().get_mut(..length), text.get(..length)) {
            space.copy_from_slice(text);
        }
        message.filled(length);
        message
    }

    /// A message that has come already; nothing if no message is that long.
    pub(crate) fn message_of(&self, text: &[u8]) -> Option<Box<Message>> {
        let mut message = match text.len() {
            0..=TINY => lend(&self.tiny, || Box::new(Message::new(vec![0; TINY].into()))),
            length if length <= SMALL => self.message(),
            _ => self.large_message(),
        };
        let Some(space) = message.space().get_mut(..text.len()) else {
            self.give_back_unused(message);
            return None;
        };
        space.copy_from_slice(text);
        message.filled(text.len());
        Some(message)
    }

    /// Puts a message that doesn't fit into a buffer where any does.
    pub(crate) fn enlarge(&self, message: &mut Message) {
        message.grow(vec![0; LARGE].into());
    }

    /// Takes a message back.
    pub(crate) fn give_back(&self, mut message: Box<Message>) {
        let block = message.take_block();
        message.reset();
        match block {
            Some(block) if message.capacity() == 0 => drop(message.grow(block)),
            Some(block) => keep(&self.blocks, block),
            None => {}
        }
        self.give_back_unused(message);
    }

    /// Takes a message back that has not been read into.
    pub(crate) fn give_back_unused(&self, message: Box<Message>) {
        match message.capacity() {
            TINY => keep_up_to(TINY_KEPT_MAX, &self.tiny, message),
            SMALL => keep(&self.small, message),
            LARGE => keep(&self.large, message),
            UPLOAD => keep(&self.uploads, message),
            _ => {}
        }
    }

    /// Takes back what a body was read into.
    pub(crate) fn give_back_block(&self, block: Box<[u8]>) {
        if block.len() == LARGE {
            keep(&self.blocks, block);
        }
    }

    /// For the rest of a body.
    pub(crate) fn block(&self) -> Box<[u8]> {
        lend(&self.blocks, || vec![0; LARGE].into())
    }

    /// For a head on its way out; empty.
    pub(crate) fn out(&self) -> Vec<u8> {
        lend(&self.outs, || Vec::with_capacity(1024))
    }

    /// Takes that back.
    #[inline]
    pub(crate) fn give_back_out(&self, mut out: Vec<u8>) {
        if out.capacity() > 0 && out.capacity() <= OUT_KEPT_MAX {
            out.clear();
            keep(&self.outs, out);
        }
    }

    /// For the copy of a body; what is in it means nothing.
    pub(crate) fn body(&self) -> Vec<u8> {
        lend(&self.bodies, || vec![0; 1024])
    }

    /// Takes that back.
    pub(crate) fn give_back_body(&self, body: Vec<u8>) {
        if body.capacity() > 0 && body.capacity() <= UPLOAD {
            keep(&self.bodies, body);
        }
    }

    /// For a body that doesn't pass through our memory; none if the system has no descriptor left.
    pub(crate) fn pipe(&self) -> Option<Pipe> {
        let kept = self.pipes.borrow_mut().pop();
        kept.or_else(|| Pipe::new().ok())
    }

    /// Takes it back, if it is empty.
    pub(crate) fn give_back_pipe(&self, pipe: Pipe) {
        if pipe.held() == 0 {
            keep(&self.pipes, pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_message_is_put_where_it_has_room() {
        let memory = Memory::default();
        for (length, capacity) in
            [(1, SMALL), (SMALL, SMALL), (SMALL + 1, LARGE), (LARGE + 1, UPLOAD), (UPLOAD, UPLOAD)]
        {
            let text = vec![b'a'; length];
            let message = memory.beginning(&text);
            assert_eq!((message.received(), message.capacity()), (&*text, capacity));
        }
    }

    #[test]
    fn what_is_no_upload_leaves_the_memory_for_one() {
        let memory = Memory::default();
        for (length, capacity) in [(0, SMALL), (SMALL, SMALL), (SMALL + 1, UPLOAD)] {
            let mut message = memory.upload();
            let text = vec![b'a'; length];
            message.space()[..length].copy_from_slice(&text);
            message.filled(length);
            memory.fit(&mut message);
            assert_eq!((message.received(), message.capacity()), (&*text, capacity));
            assert_eq!(memory.uploads.borrow().len(), usize::from(capacity != UPLOAD), "it is lent again");
        }
    }
}

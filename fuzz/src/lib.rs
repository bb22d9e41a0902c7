//! What several targets use.

mod pieces;
mod responses;

pub use pieces::Pieces;
pub use responses::{Response, responses};

/// The first line of an input is for something else than the rest.
pub fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[]),
    }
}

/// Where to cut bytes: after so many of them, each time; at the end, all that is left.
pub fn cut<'a>(mut bytes: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &size in sizes {
        let size = usize::from(size).clamp(1, bytes.len().max(1));
        if bytes.len() <= size {
            break;
        }
        let (piece, rest) = bytes.split_at(size);
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

//! Several parts of a file in one response: `multipart/byteranges` (RFC 9110, section 14.6).

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use super::super::Body;
use super::Pieces;

/// The body, and its type.
pub(super) fn multipart(
    file: &Arc<File>,
    content_type: &HeaderValue,
    parts: &[Range<u64>],
    length: u64,
) -> (Body, HeaderValue) {
    let boundary = boundary();
    let mut sections = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let mut head = if n == 0 { Vec::new() } else { b"\r\n".to_vec() };
        head.extend_from_slice(format!("--{boundary}\r\ncontent-type: ").as_bytes());
        head.extend_from_slice(content_type.as_bytes());
        let range = format!("\r\ncontent-range: bytes {}-{}/{length}\r\n\r\n", part.start, part.end - 1);
        head.extend_from_slice(range.as_bytes());
        sections.push((Bytes::from(head), Pieces { file: file.clone(), at: part.start, end: part.end }));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    let of_sections = sections.iter().map(|(head, pieces)| head.len() as u64 + pieces.end - pieces.at);
    let length = of_sections.sum::<u64>() + end.len() as u64;
    let body = Body::stream(move |out| {
        for (head, pieces) in sections {
            out.send(head)?;
            pieces.send(out)?;
        }
        out.send(end.into())
    });
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    (body.with_length(length), HeaderValue::from_str(&content_type).expect("letters and digits"))
}

/// Nobody who writes a file can know it: std's maps have random keys for the same reason.
fn boundary() -> String {
    let random = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", random(), random())
}

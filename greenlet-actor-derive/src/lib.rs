//! The `#[actor]` attribute of [greenlet-actor](https://docs.rs/greenlet-actor), which re-exports it and says what it does.

#![forbid(unsafe_code)]

mod expand;
mod method;

use proc_macro::TokenStream;

/// Makes an actor of an `impl` block: see `greenlet_actor::actor`.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, block: TokenStream) -> TokenStream {
    let expanded = syn::parse(arguments)
        .and_then(|arguments| Ok((arguments, syn::parse(block)?)))
        .and_then(|(arguments, block)| expand::expand(arguments, block));
    expanded.unwrap_or_else(|error| error.to_compile_error()).into()
}

//! What `#[actor]` writes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{
    Error, FnArg, GenericParam, Ident, ImplItem, ItemImpl, Path, Result, Token, Type, Visibility, parse_quote,
};

use crate::method::{Answer, Ends, Method};

/// `#[actor(pub, debug, message = .., handle = .., crate = ..)]`
#[derive(Default)]
pub(crate) struct Arguments {
    visibility: Option<Visibility>,
    message: Option<Ident>,
    handle: Option<Ident>,
    path: Option<Path>,
    describes: Describes,
}

/// Whether messages are `Debug`, and described in reports.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Describes {
    Messages,
    #[default]
    Nothing,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            if input.peek(Token![pub]) {
                arguments.visibility = Some(input.parse()?);
            } else if input.peek(Token![crate]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                arguments.path = Some(Path::parse_mod_style(input)?);
            } else {
                let name: Ident = input.parse()?;
                if name != "debug" {
                    input.parse::<Token![=]>()?;
                }
                match name.to_string().as_str() {
                    "debug" => arguments.describes = Describes::Messages,
                    "message" => arguments.message = Some(input.parse()?),
                    "handle" => arguments.handle = Some(input.parse()?),
                    other => {
                        let message = format!(
                            "`{other}` is unknown: there are `pub`, `debug`, `message`, `handle` and `crate`"
                        );
                        return Err(Error::new(name.span(), message));
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// The names that the handle has for itself.
const RESERVED: [&str; 1] = ["within"];

pub(crate) fn expand(arguments: Arguments, mut block: ItemImpl) -> Result<TokenStream> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(
            path,
            "#[actor] is for an impl block of the actor itself, not of a trait",
        ));
    }
    let name = match &*block.self_ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.clone()),
        _ => None,
    };
    let name = name.ok_or_else(|| Error::new_spanned(&block.self_ty, "an actor is a struct or an enum"))?;
    if let Some(lifetime) = block.generics.lifetimes().next() {
        return Err(Error::new_spanned(lifetime, "an actor outlives its maker: it borrows nothing"));
    }

    let (hooks, items): (Vec<_>, Vec<_>) = std::mem::take(&mut block.items).into_iter().partition(is_hook);
    block.items = items;
    let hooks: Vec<_> = hooks.into_iter().map(without_mark).collect();
    let mut methods = Vec::new();
    let mut errors = None::<Error>;
    for item in &block.items {
        let ImplItem::Fn(item) = item else { continue };
        // Functions without `self` are what they were.
        if !matches!(item.sig.inputs.first(), Some(FnArg::Receiver(_))) {
            continue;
        }
        let method = Method::new(item).and_then(|method| {
            if RESERVED.iter().any(|reserved| method.name == reserved) {
                let message =
                    format!("the handle has a `{}` of its own: call the method otherwise", method.name);
                return Err(Error::new(method.name.span(), message));
            }
            Ok(method)
        });
        match (method, &mut errors) {
            (Ok(method), _) => methods.push(method),
            // All that is wrong at once.
            (Err(error), Some(errors)) => errors.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    if let Some(errors) = errors {
        return Err(errors);
    }

    let code = Code {
        krate: arguments.path.unwrap_or_else(|| parse_quote!(::greenlet_actor)),
        message: arguments.message.unwrap_or_else(|| format_ident!("{name}Message")),
        handle: arguments.handle.unwrap_or_else(|| format_ident!("{name}Ref")),
        visibility: arguments.visibility.unwrap_or_else(|| widest(&methods)),
        describes: arguments.describes,
        name,
        block: &block,
        methods: &methods,
    };
    let (messages, constructors) = (code.messages(), code.constructors());
    let (actor, handle) = (code.actor(&hooks), code.handle());
    let debug = (code.describes == Describes::Messages).then(|| code.debug());
    Ok(quote!(#block #messages #debug #constructors #actor #handle))
}

fn is_hook(item: &ImplItem) -> bool {
    matches!(item, ImplItem::Fn(item) if item.attrs.iter().any(|attribute| attribute.path().is_ident("hook")))
}

fn without_mark(mut item: ImplItem) -> ImplItem {
    if let ImplItem::Fn(item) = &mut item {
        item.attrs.retain(|attribute| !attribute.path().is_ident("hook"));
    }
    item
}

/// Who can call any of the methods can name the messages.
fn widest(methods: &[Method]) -> Visibility {
    let rank = |visibility: &Visibility| match visibility {
        Visibility::Public(_) => 2,
        Visibility::Restricted(_) => 1,
        Visibility::Inherited => 0,
    };
    let visibilities = methods.iter().map(|method| &method.visibility);
    visibilities.max_by_key(|visibility| rank(visibility)).cloned().unwrap_or(Visibility::Inherited)
}

/// What is put into the message of `__reply`.
fn reply_value(method: &Method) -> TokenStream {
    match method.answer {
        Answer::Later(..) => quote!(__reply),
        _ => quote!(::core::option::Option::Some(__reply)),
    }
}

struct Code<'a> {
    krate: Path,
    name: Ident,
    message: Ident,
    handle: Ident,
    visibility: Visibility,
    describes: Describes,
    block: &'a ItemImpl,
    methods: &'a [Method],
}

impl Code<'_> {
    /// The enum of messages.
    fn messages(&self) -> TokenStream {
        let Code { name, message, visibility, block, .. } = self;
        let (generics, bounds) = (&block.generics, &block.generics.where_clause);
        let variants = self.methods.iter().map(|method| {
            let Method { variant, docs, cfgs, .. } = method;
            let (fields, types): (Vec<_>, Vec<_>) = method.fields().unzip();
            let own = format!("See `{name}::{}`.", method.name);
            let reply = self.reply_type(method);
            let each = fields.iter().map(|field| format!("The argument `{field}`."));
            quote! {
                #(#docs)* #[doc = ""] #[doc = #own] #(#cfgs)*
                #variant {
                    #(#[doc = #each] #fields: #types,)*
                    #[doc = "Where the answer goes."] __reply: #reply,
                }
            }
        });
        let used = block.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            _ => None,
        });
        let (used, docs) = (used.collect::<Vec<_>>(), format!("The messages of `{name}`."));
        // An enum has to use its parameters.
        let phantom = (!used.is_empty()).then(|| {
            quote! {
                #[doc(hidden)]
                __Never(::core::convert::Infallible, ::core::marker::PhantomData<fn() -> (#(#used,)*)>),
            }
        });
        quote! {
            #[doc = #docs]
            #visibility enum #message #generics #bounds { #(#variants,)* #phantom }
        }
    }

    /// Shows a message as a call of its method.
    fn debug(&self) -> TokenStream {
        let Code { message, block, .. } = self;
        let (generics, types, bounds) = block.generics.split_for_impl();
        let arms = self.methods.iter().map(|method| {
            let Method { name, variant, cfgs, .. } = method;
            let fields: Vec<_> = method.fields().map(|(field, _)| field).collect();
            let (name, names) = (name.to_string(), fields.iter().map(ToString::to_string));
            quote! {
                #(#cfgs)*
                #message::#variant { #(#fields,)* .. } => f.debug_struct(#name)#(.field(#names, #fields))*.finish(),
            }
        });
        let phantom = block.generics.type_params().next().is_some();
        let never = phantom.then(|| quote!(#message::__Never(__never, _) => match *__never {},));
        let this = if self.methods.is_empty() && !phantom { quote!(*self) } else { quote!(self) };
        quote! {
            impl #generics ::core::fmt::Debug for #message #types #bounds {
                #[allow(unused_variables)]
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    match #this { #(#arms)* #never }
                }
            }
        }
    }

    /// Functions that make messages, for those who send them otherwise than by the handle.
    fn constructors(&self) -> TokenStream {
        let Code { krate, message, block, .. } = self;
        let (generics, types, bounds) = block.generics.split_for_impl();
        let functions = self.methods.iter().map(|method| {
            let Method { name, variant, cfgs, visibility, .. } = method;
            let (fields, field_types): (Vec<_>, Vec<_>) = method.fields().unzip();
            let (ask, answer) = (format_ident!("ask_{}", name), method.answer_type());
            let reply = reply_value(method);
            let ask_docs =
                format!("The question that has `{name}` answered, for `ActorRef::ask` and the like.");
            let asks = quote! {
                #[doc = #ask_docs]
                #(#cfgs)*
                #visibility fn #ask(
                    #(#fields: #field_types),*
                ) -> impl ::core::ops::FnOnce(#krate::Reply<#answer>) -> Self {
                    move |__reply| #message::#variant { #(#fields,)* __reply: #reply }
                }
            };
            if matches!(method.answer, Answer::Later(..)) {
                return asks;
            }
            let docs = format!("The message that has the actor `{name}`, without an answer.");
            quote! {
                #asks

                #[doc = #docs]
                #(#cfgs)*
                #visibility fn #name(#(#fields: #field_types),*) -> Self {
                    #message::#variant { #(#fields,)* __reply: ::core::option::Option::None }
                }
            }
        });
        quote! {
            #[allow(dead_code)]
            impl #generics #message #types #bounds { #(#functions)* }
        }
    }

    fn reply_type(&self, method: &Method) -> TokenStream {
        let (krate, answer) = (&self.krate, method.answer_type());
        match method.answer {
            Answer::Later(..) => quote!(#krate::Reply<#answer>),
            _ => quote!(::core::option::Option<#krate::Reply<#answer>>),
        }
    }

    /// The implementation of `Actor`.
    fn actor(&self, hooks: &[ImplItem]) -> TokenStream {
        let Code { krate, message, block, .. } = self;
        let (generics, types, bounds) = block.generics.split_for_impl();
        let this = &block.self_ty;
        let phantom = block.generics.type_params().next().is_some();
        let never = phantom.then(|| quote!(#message::__Never(__never, _) => match *__never {},));
        let never_owned = phantom.then(|| quote!(#message::__Never(__never, _) => match __never {},));
        let arms = self.methods.iter().map(|method| {
            let Method { name, variant, cfgs, .. } = method;
            let fields: Vec<_> = method.fields().map(|(field, _)| field).collect();
            let arguments = method.arguments();
            let answers = quote! {
                if let ::core::option::Option::Some(__reply) = __reply {
                    __reply.send(__answer);
                }
            };
            let handles = match method.answer {
                Answer::Returned(_) => quote!(let __answer = Self::#name(#arguments); #answers),
                Answer::Fallible(_) => quote!(let __answer = Self::#name(#arguments)?; #answers),
                Answer::Later(_, Ends::Never) => quote!(Self::#name(#arguments);),
                Answer::Later(_, Ends::ByResult) => quote!(Self::#name(#arguments)?;),
            };
            quote!(#(#cfgs)* #message::#variant { #(#fields,)* __reply } => { #handles })
        });
        let describe = (self.describes == Describes::Messages).then(|| {
            quote! {
                const DESCRIBE: ::core::option::Option<#krate::Describe<Self::Message>> =
                    ::core::option::Option::Some(<Self::Message as ::core::fmt::Debug>::fmt);
            }
        });
        let labels = self.methods.iter().map(|method| {
            let Method { name, variant, cfgs, .. } = method;
            let label = name.to_string();
            quote!(#(#cfgs)* #message::#variant { .. } => #label,)
        });
        // No message at all: the match is on the value itself.
        let message_ref =
            if self.methods.is_empty() && !phantom { quote!(*__message) } else { quote!(__message) };
        quote! {
            #[allow(clippy::let_unit_value, clippy::semicolon_if_nothing_returned, unreachable_code, unused_variables)]
            impl #generics #krate::Actor for #this #bounds {
                type Message = #message #types;
                #describe

                fn receive(
                    &mut self,
                    __message: Self::Message,
                    __ctx: &mut #krate::Context<Self>,
                ) -> ::core::result::Result<(), #krate::Exit> {
                    match __message { #(#arms)* #never_owned }
                    ::core::result::Result::Ok(())
                }

                fn label(__message: &Self::Message) -> &'static str {
                    match #message_ref { #(#labels)* #never }
                }

                #(#hooks)*
            }
        }
    }

    /// The typed handle.
    fn handle(&self) -> TokenStream {
        let Code { krate, name, message, handle, visibility, block, .. } = self;
        let (generics, types, bounds) = block.generics.split_for_impl();
        let declared = &block.generics;
        let docs =
            format!("A `{name}` as others see it: an `ActorRef` with a method for each of its messages.");
        let methods = self.methods.iter().map(|method| self.handle_methods(method));
        quote! {
            #[doc = #docs]
            #visibility struct #handle #declared #bounds {
                actor: #krate::ActorRef<#message #types>,
                timeout: ::core::time::Duration,
            }

            #[allow(dead_code)]
            impl #generics #handle #types #bounds {
                /// The same actor, whose answers are waited for this long instead of 5 seconds.
                #[must_use]
                #visibility fn within(&self, timeout: ::core::time::Duration) -> Self {
                    #handle { actor: ::core::clone::Clone::clone(&self.actor), timeout }
                }

                #(#methods)*
            }

            impl #generics ::core::convert::From<#krate::ActorRef<#message #types>> for #handle #types #bounds {
                fn from(actor: #krate::ActorRef<#message #types>) -> Self {
                    #handle { actor, timeout: #krate::DEFAULT_TIMEOUT }
                }
            }

            impl #generics ::core::convert::From<#handle #types> for #krate::ActorRef<#message #types> #bounds {
                fn from(handle: #handle #types) -> Self {
                    handle.actor
                }
            }

            impl #generics ::core::ops::Deref for #handle #types #bounds {
                type Target = #krate::ActorRef<#message #types>;

                fn deref(&self) -> &Self::Target {
                    &self.actor
                }
            }

            impl #generics ::core::clone::Clone for #handle #types #bounds {
                fn clone(&self) -> Self {
                    self.within(self.timeout)
                }
            }

            impl #generics ::core::fmt::Debug for #handle #types #bounds {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::write!(f, ::core::concat!(::core::stringify!(#handle), "({})"), self.actor)
                }
            }
        }
    }

    /// The call of a method, and its cast.
    fn handle_methods(&self, method: &Method) -> TokenStream {
        let Code { krate, message, block, .. } = self;
        let Method { name, variant, docs, cfgs, visibility, .. } = method;
        let (_, types, _) = block.generics.split_for_impl();
        let (fields, field_types): (Vec<_>, Vec<_>) = method.fields().unzip();
        let answer = method.answer_type();
        let reply = reply_value(method);
        let call_docs = format!("Asks the actor to `{name}`, and waits for the answer.");
        let call = quote! {
            #(#docs)*
            #[doc = ""]
            #[doc = #call_docs]
            #[doc = ""]
            #[doc = "# Errors"]
            #[doc = "`AskError`, as `ActorRef::ask`."]
            #(#cfgs)*
            #visibility fn #name(
                &self #(, #fields: #field_types)*
            ) -> ::core::result::Result<#answer, #krate::AskError> {
                self.actor.ask(
                    |__reply| #message::#variant { #(#fields,)* __reply: #reply },
                    self.timeout,
                )
            }
        };
        // Who hands on a reply is meant to be asked.
        if matches!(method.answer, Answer::Later(..)) {
            return call;
        }
        let cast = format_ident!("cast_{}", name);
        let cast_docs = format!("Tells the actor to `{name}`, and does not wait.");
        quote! {
            #call

            #(#docs)*
            #[doc = ""]
            #[doc = #cast_docs]
            #[doc = ""]
            #[doc = "# Errors"]
            #[doc = "`SendError`, as `ActorRef::send`."]
            #(#cfgs)*
            #visibility fn #cast(
                &self #(, #fields: #field_types)*
            ) -> ::core::result::Result<(), #krate::SendError<#message #types>> {
                self.actor.send(#message::#variant { #(#fields,)* __reply: ::core::option::Option::None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &str, block: &str) -> String {
        let expanded = syn::parse_str(arguments)
            .and_then(|arguments| expand(arguments, syn::parse_str(block).expect("it is a block")));
        let error = expanded.expect_err("it is wrong");
        error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let cases = [
            ("fn f(self) {}", "an actor keeps its state: take `&self` or `&mut self`"),
            ("async fn f(&self) {}", "an actor's method blocks cooperatively: write it without `async`"),
            (
                "fn f<T>(&self, t: T) {}",
                "a method that becomes a message has no generics of its own: a message has one type",
            ),
            ("fn f(&self, (a, b): (u8, u8)) {}", "an argument of a message needs a name"),
            (
                "fn f(&self, name: &str) {}",
                "a message outlives the call: take an owned value, such as `String` for `&str`",
            ),
            (
                "fn f(&self, name: impl Into<String>) {}",
                "a message has one type: name it instead of `impl Trait`",
            ),
            (
                "fn f(&self, reply: Reply<u8>) -> u8 { 0 }",
                "a method that answers by a `Reply` returns nothing, or `Result<(), Exit>`",
            ),
            (
                "fn f(&self, a: Reply<u8>, b: Reply<u8>) {}",
                "one `Reply` is handed to a method: there is one asker",
            ),
            ("fn within(&self) {}", "the handle has a `within` of its own: call the method otherwise"),
        ];
        for (method, expected) in cases {
            assert_eq!(error("", &format!("impl Account {{ {method} }}")), expected);
        }
    }

    #[test]
    fn all_errors_of_a_block_are_told_at_once() {
        let both = error("", "impl A { fn f(self) {} fn g(&self, name: &str) {} }");
        assert_eq!(both.matches("; ").count(), 1);
    }

    #[test]
    fn the_block_and_the_arguments_are_looked_at() {
        assert!(error("", "impl Actor for Account {}").contains("not of a trait"));
        assert!(error("", "impl<'a> Account<'a> {}").contains("it borrows nothing"));
        assert!(error("", "impl (u8, u8) {}").contains("a struct or an enum"));
        assert!(error("messages = Order", "impl A {}").contains("`messages` is unknown"));
    }

    #[test]
    fn a_static_reference_is_a_value_like_another() {
        let block = syn::parse_str("impl A { fn f(&self, name: &'static str) {} }").unwrap();
        assert!(expand(Arguments::default(), block).is_ok());
    }
}

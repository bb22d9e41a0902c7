//! A method that becomes a message.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ImplItemFn, Pat, PathArguments, PathSegment, Result,
    ReturnType, Type, Visibility,
};

pub(crate) struct Method {
    pub(crate) name: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) variant: Ident,
    /// What is said of it everywhere: documentation, and what switches it on and off.
    pub(crate) docs: Vec<Attribute>,
    pub(crate) cfgs: Vec<Attribute>,
    parameters: Vec<Parameter>,
    pub(crate) answer: Answer,
}

/// A parameter, in the order of the method.
enum Parameter {
    Field(Ident, Box<Type>),
    Context,
    Reply,
}

/// How the asker gets an answer of which type.
pub(crate) enum Answer {
    /// What the method returns.
    Returned(Box<Type>),
    /// The method returns that in a `Result<_, Exit>`, whose error ends the actor.
    Fallible(Box<Type>),
    /// By a `Reply` that is handed to the method. Whether the method may end the actor.
    Later(Box<Type>, Ends),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Never,
    ByResult,
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return Vec::new() };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// The one argument of a type with that name.
fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == name)?;
    match arguments(segment)[..] {
        [argument] => Some(argument),
        _ => None,
    }
}

fn is_context(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => {
            last_segment(&reference.elem).is_some_and(|segment| segment.ident == "Context")
        }
        _ => false,
    }
}

/// `T` of a `Result<T, Exit>`.
fn fallible(ty: &Type) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Result")?;
    match arguments(segment)[..] {
        [value, error] if last_segment(error).is_some_and(|error| error.ident == "Exit") => Some(value),
        _ => None,
    }
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

fn variant_of(name: &Ident) -> Ident {
    let text = name.to_string();
    let text = text.strip_prefix("r#").unwrap_or(&text);
    let mut variant = String::new();
    for word in text.split('_').filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        variant.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        variant.extend(letters);
    }
    format_ident!("{variant}", span = name.span())
}

impl Method {
    pub(crate) fn new(item: &ImplItemFn) -> Result<Method> {
        let signature = &item.sig;
        if let Some(asyncness) = &signature.asyncness {
            let message = "an actor's method blocks cooperatively: write it without `async`";
            return Err(Error::new_spanned(asyncness, message));
        }
        if let Some(parameter) = signature.generics.params.first() {
            let message =
                "a method that becomes a message has no generics of its own: a message has one type";
            return Err(Error::new_spanned(parameter, message));
        }
        let mut reply = None;
        let mut parameters = Vec::new();
        for input in &signature.inputs {
            match input {
                FnArg::Receiver(receiver) if receiver.reference.is_none() => {
                    let message = "an actor keeps its state: take `&self` or `&mut self`";
                    return Err(Error::new_spanned(receiver, message));
                }
                FnArg::Receiver(_) => {}
                FnArg::Typed(input) if is_context(&input.ty) => parameters.push(Parameter::Context),
                FnArg::Typed(input) => {
                    if let Some(ty) = argument_of(&input.ty, "Reply") {
                        if reply.replace(ty.clone()).is_some() {
                            let message = "one `Reply` is handed to a method: there is one asker";
                            return Err(Error::new_spanned(input, message));
                        }
                        parameters.push(Parameter::Reply);
                        continue;
                    }
                    parameters.push(field(&input.pat, &input.ty)?);
                }
            }
        }
        let unit: Type = syn::parse_quote!(());
        let returned = match &signature.output {
            ReturnType::Default => unit,
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        let answer = match (reply, fallible(&returned)) {
            (Some(reply), None) if is_unit(&returned) => Answer::Later(Box::new(reply), Ends::Never),
            (Some(reply), Some(value)) if is_unit(value) => Answer::Later(Box::new(reply), Ends::ByResult),
            (Some(_), _) => {
                let message = "a method that answers by a `Reply` returns nothing, or `Result<(), Exit>`";
                return Err(Error::new_spanned(&signature.output, message));
            }
            (None, Some(value)) => Answer::Fallible(Box::new(value.clone())),
            (None, None) => Answer::Returned(Box::new(returned)),
        };
        let of = |name: &str| -> Vec<_> {
            item.attrs.iter().filter(|attribute| attribute.path().is_ident(name)).cloned().collect()
        };
        Ok(Method {
            name: signature.ident.clone(),
            visibility: item.vis.clone(),
            variant: variant_of(&signature.ident),
            docs: of("doc"),
            cfgs: of("cfg"),
            parameters,
            answer,
        })
    }

    /// The arguments of a message: name and type.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&Ident, &Type)> {
        self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Field(name, ty) => Some((name, &**ty)),
            Parameter::Context | Parameter::Reply => None,
        })
    }

    /// The type of the answer.
    pub(crate) fn answer_type(&self) -> &Type {
        match &self.answer {
            Answer::Returned(ty) | Answer::Fallible(ty) | Answer::Later(ty, _) => ty,
        }
    }

    /// The arguments of the call that handles a message.
    pub(crate) fn arguments(&self) -> TokenStream {
        let arguments = self.parameters.iter().map(|parameter| match parameter {
            Parameter::Field(name, _) => name.to_token_stream(),
            Parameter::Context => quote!(__ctx),
            Parameter::Reply => quote!(__reply),
        });
        quote!(self #(, #arguments)*)
    }
}

fn field(pattern: &Pat, ty: &Type) -> Result<Parameter> {
    let Pat::Ident(name) = pattern else {
        return Err(Error::new_spanned(pattern, "an argument of a message needs a name"));
    };
    match ty {
        Type::Reference(reference)
            if reference.lifetime.as_ref().is_none_or(|lifetime| lifetime.ident != "static") =>
        {
            let message = "a message outlives the call: take an owned value, such as `String` for `&str`";
            Err(Error::new_spanned(ty, message))
        }
        Type::ImplTrait(_) => {
            Err(Error::new_spanned(ty, "a message has one type: name it instead of `impl Trait`"))
        }
        _ => Ok(Parameter::Field(name.ident.clone(), Box::new(ty.clone()))),
    }
}

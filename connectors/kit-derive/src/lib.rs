//! `#[derive(ConnectorOptions)]`: one struct declares a connector's options, their manual and their reading.
//!
//! Each named field is an option. Its doc comment is the manual's sentence, its type gives kind and
//! secrecy, `Option<T>` may be left out, and a field that is neither `Option` nor has a default is
//! required. `#[option(…)]` takes `name = "a.b"`, `alias = "x"` (repeatable), `default = "5 ms"`,
//! `choice = "a|b|c"`. Invariant: what the manual says is what is read.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Lit, LitStr, Meta, Result, Type, parse_macro_input,
};

/// Implements `laminar_connector_kit::ConnectorOptions` for a struct with named fields.
#[proc_macro_derive(ConnectorOptions, attributes(option))]
pub fn connector_options(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "options are declared by a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "options are declared by named fields"));
    };
    let options = fields.named.iter().map(Declared::of).collect::<Result<Vec<_>>>()?;
    let name = &input.ident;
    let specs = options.iter().map(Declared::spec);
    let reads = options.iter().enumerate().map(|(index, option)| option.read(index));
    Ok(quote! {
        impl ::laminar_connector_kit::ConnectorOptions for #name {
            const OPTIONS: &'static [::laminar_connector_kit::OptionSpec] = &[#(#specs),*];

            fn from_options(
                given: &::laminar_connector_kit::Options,
            ) -> ::std::result::Result<Self, ::laminar_connector_kit::ConnectorError> {
                ::std::result::Result::Ok(Self { #(#reads),* })
            }
        }
    })
}

/// One field as declared.
struct Declared<'a> {
    field: &'a Field,
    /// The type of the value, without `Option`.
    value: &'a Type,
    optional: bool,
    name: String,
    aliases: Vec<String>,
    default: Option<String>,
    choice: Option<Vec<String>>,
    doc: String,
}

impl<'a> Declared<'a> {
    fn of(field: &'a Field) -> Result<Self> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "an option has a name"));
        };
        let inner = inside_option(&field.ty);
        let mut declared = Self {
            field,
            value: inner.unwrap_or(&field.ty),
            optional: inner.is_some(),
            name: ident.to_string(),
            aliases: Vec::new(),
            default: None,
            choice: None,
            doc: doc_text(&field.attrs),
        };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("option")) {
            declared.attribute(attribute)?;
        }
        if declared.doc.is_empty() {
            return Err(Error::new_spanned(field, "an option needs a doc comment: it is the manual's text"));
        }
        if declared.optional && declared.default.is_some() {
            return Err(Error::new_spanned(field, "an option with a default is always there: drop the Option"));
        }
        Ok(declared)
    }

    fn attribute(&mut self, attribute: &Attribute) -> Result<()> {
        attribute.parse_nested_meta(|meta| {
            let text = meta.value()?.parse::<LitStr>()?.value();
            if meta.path.is_ident("name") {
                self.name = text;
            } else if meta.path.is_ident("alias") {
                self.aliases.push(text);
            } else if meta.path.is_ident("default") {
                self.default = Some(text);
            } else if meta.path.is_ident("choice") {
                self.choice = Some(text.split('|').map(|word| word.trim().to_string()).collect());
            } else {
                return Err(meta.error("known are name, alias, default and choice"));
            }
            Ok(())
        })
    }

    fn spec(&self) -> Tokens {
        let (name, aliases, doc, value) = (&self.name, &self.aliases, &self.doc, self.value);
        let required = !self.optional && self.default.is_none();
        let default = match &self.default {
            Some(text) => quote!(::std::option::Option::Some(#text)),
            None => quote!(::std::option::Option::None),
        };
        let kind = match &self.choice {
            Some(words) => quote!(::laminar_connector_kit::OptionKind::Choice(&[#(#words),*])),
            None => quote!(<#value as ::laminar_connector_kit::OptionValue>::KIND),
        };
        quote! {
            ::laminar_connector_kit::OptionSpec {
                name: #name,
                aliases: &[#(#aliases),*],
                kind: #kind,
                default: #default,
                required: #required,
                secret: <#value as ::laminar_connector_kit::OptionValue>::SECRET,
                doc: #doc,
            }
        }
    }

    fn read(&self, index: usize) -> Tokens {
        let (ident, value) = (&self.field.ident, self.value);
        let spec = quote!(&<Self as ::laminar_connector_kit::ConnectorOptions>::OPTIONS[#index]);
        if self.optional {
            quote!(#ident: ::laminar_connector_kit::read_optional::<#value>(#spec, given)?)
        } else {
            quote!(#ident: ::laminar_connector_kit::read_required::<#value>(#spec, given)?)
        }
    }
}

/// `T` of `Option<T>`.
fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}

/// The doc comment as one line.
fn doc_text(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(literal) = &pair.value
            && let Lit::Str(text) = &literal.lit
        {
            lines.push(text.value().trim().to_string());
        }
    }
    lines.join(" ").trim().to_string()
}

//! [`vendor_variables`]: the variables that the vendors' rows read, by what a folder's own `.env` may do with them.
//!
//! `config` decides by them which variables of an implicit `.env` take effect. A test finds variables that the code reads
//! and no row lists.

use crate::environment::{Environment, VendorVariables};
use crate::setting::{ProviderName, ProviderSetting};

use super::endpoint::EndpointInputs;
use super::rows::VENDORS;
use super::{Vendor, WithoutKey, vendor};

/// The variables of every vendor.
pub fn vendor_variables() -> Vec<VendorVariables> {
    VENDORS.iter().map(of_vendor).collect()
}

/// The variable that holds the key to a provider; the first, where it has several. `None` for one without keys.
pub fn key_variable(provider: ProviderName) -> Option<&'static str> {
    vendor(provider).keys.first().map(|key| key.0)
}

fn of_vendor(vendor: &'static Vendor) -> VendorVariables {
    let single = vendor.keys.iter().map(|key| vec![key.0]);
    let headers = vendor.headers.iter().flat_map(|header| header.variables);
    VendorVariables {
        keys: single.chain(vendor.key_sets.iter().map(|set| set.to_vec())).collect(),
        beside: vendor.place.iter().chain(headers).copied().collect(),
        users_own: vendor.users_own.to_vec(),
        needs_no_key: Box::new(|name, value| {
            vendor.without_key == WithoutKey::NotNeeded && is_here(vendor, name, value)
        }),
    }
}

/// Returns true when `value` of the variable `name` makes the vendor's address one of this machine.
fn is_here(vendor: &Vendor, name: &str, value: &str) -> bool {
    let environment: Environment = [(name.to_owned(), value.to_owned())].into_iter().collect();
    let place = EndpointInputs { setting: &ProviderSetting::default(), environment: &environment };
    (vendor.address)(place).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::environment::is_users_own;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// Texts that look like names of variables in the code of this folder that reads the environment.
    fn named() -> BTreeSet<String> {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provider"), &mut files);
        let mut names = BTreeSet::new();
        for file in files {
            let text = fs::read_to_string(file).unwrap();
            let code = text.split("\nmod tests").next().unwrap();
            if !code.contains("environment") && !code.contains("Vendor = Vendor {") {
                continue;
            }
            let is_name = |word: &&str| {
                word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            };
            names.extend(code.split('"').filter(is_name).map(str::to_owned));
        }
        names
    }

    #[test]
    fn every_variable_that_is_read_has_its_place() {
        let vendors = vendor_variables();
        let listed: BTreeSet<&str> = vendors.iter().flat_map(VendorVariables::names).collect();
        // The language of a program's messages.
        let harmless = "LC_ALL";
        let named = named();
        let is_listed =
            |name: &str| listed.contains(name) || is_users_own(name) || name == harmless || name.starts_with("CARGO_");
        let missing: Vec<&String> = named.iter().filter(|name| !is_listed(name)).collect();
        assert_eq!(missing, Vec::<&String>::new(), "add them to their vendor's row: place, users_own or a key");
        assert!(named.len() > 40 && named.contains("CLOUDSDK_CONFIG") && named.contains("AWS_PROFILE"), "{named:?}");
    }

    #[test]
    fn only_a_vendor_without_a_key_is_reached_without_one_and_only_here() {
        let admitted = |name: &str, value: &str| {
            let vendors = vendor_variables();
            let vendor = vendors.iter().find(|vendor| vendor.beside.contains(&name)).unwrap();
            (vendor.needs_no_key)(name, value)
        };
        for host in ["localhost", "127.0.0.1:8000", "[::1]:9", "0.0.0.0", ":8000", "http://localhost:1/api"] {
            assert!(admitted("OLLAMA_HOST", host), "{host}");
        }
        for host in
            ["192.168.1.7", "owls", "https://owls.example.com", "localhost.example.com", "http://localhost@evil/"]
        {
            assert!(!admitted("OLLAMA_HOST", host), "{host}");
        }
        assert!(admitted("OLLAMA_BASE_URL", "http://127.0.0.1:2"));
        assert!(!admitted("OPENAI_BASE_URL", "http://127.0.0.1:2"));
        assert!(!admitted("AWS_ENDPOINT_URL", "http://127.0.0.1:2"));
    }
}

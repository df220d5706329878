//! [`EndpointInputs`]: the settings and variables from which a vendor's address is made.
//!
//! Called by the vendors' rows. A setting takes precedence over a variable. Parts of a host name are checked, so that
//! none leads to another host. Which addresses are safe to send a key to is left to [`BaseUrl`].

use crate::environment::Environment;
use crate::setting::ProviderSetting;

use crate::provider::ProviderError;
use crate::provider::vendor::aws_profile;
use crate::provider::vendor::base_url::BaseUrl;

/// Ollama's port (its documentation's default).
const OLLAMA_PORT: u16 = 11434;
/// The original library's version of Azure's interface.
const AZURE_API_VERSION: &str = "v1";

/// The sources of an address.
#[derive(Clone, Copy)]
pub struct EndpointInputs<'a> {
    pub setting: &'a ProviderSetting,
    pub environment: &'a Environment,
}

impl<'a> EndpointInputs<'a> {
    /// The address that the user names, and the setting or variable that holds it.
    fn named(self, variables: &'static [&'static str]) -> Option<(&'a str, &'static str)> {
        let of_setting = self.setting.base_url.as_deref().map(|url| (url, "baseUrl"));
        of_setting.or_else(|| variables.iter().find_map(|name| self.variable(name).map(|url| (url, *name))))
    }

    fn variable(self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The setting, else the first variable that has a value.
    fn value(self, setting: Option<&'a str>, variables: &[&str]) -> Option<&'a str> {
        let setting = setting.map(str::trim).filter(|value| !value.is_empty());
        setting.or_else(|| variables.iter().find_map(|name| self.variable(name)))
    }

    /// An address that all customers share, unless the user names another.
    pub fn at(self, home: &str, variables: &'static [&'static str]) -> Result<BaseUrl, ProviderError> {
        match self.named(variables) {
            Some((url, origin)) => BaseUrl::parse(url, origin),
            None => BaseUrl::parse(home, "baseUrl"),
        }
    }

    /// Ollama's address: `OLLAMA_HOST` in each form that Ollama takes, with `/api` whether the user wrote it or not.
    pub fn ollama(self) -> Result<BaseUrl, ProviderError> {
        let base = match self.named(&["OLLAMA_BASE_URL"]) {
            Some((url, origin)) => BaseUrl::parse_keyless(url, origin)?,
            None => match self.variable("OLLAMA_HOST") {
                Some(host) => BaseUrl::parse_keyless(&ollama_host(host), "OLLAMA_HOST")?,
                None => BaseUrl::parse_keyless(&format!("http://127.0.0.1:{OLLAMA_PORT}"), "baseUrl")?,
            },
        };
        Ok(base.ending_with("/api"))
    }

    /// Azure's address of a resource, with the interface's version on every request. `AZURE_OPENAI_ENDPOINT` names the
    /// resource's host alone, as Azure's portal shows it.
    pub fn azure(self) -> Result<BaseUrl, ProviderError> {
        let base = if let Some((url, origin)) = self.named(&["AZURE_BASE_URL"]) {
            BaseUrl::parse(url, origin)?
        } else if let Some(name) = self.value(self.setting.resource_name.as_deref(), &["AZURE_RESOURCE_NAME"]) {
            let name = checked(name, "AZURE_RESOURCE_NAME or resourceName", "")?;
            BaseUrl::parse(&format!("https://{name}.openai.azure.com/openai"), "resourceName")?
        } else if let Some(url) = self.variable("AZURE_OPENAI_ENDPOINT") {
            let base = BaseUrl::parse(url, "AZURE_OPENAI_ENDPOINT")?;
            if base.join("").ends_with("/openai/v1") { base } else { base.ending_with("/openai") }
        } else {
            return Err(ProviderError::MissingPlace {
                name: "AZURE_RESOURCE_NAME or baseUrl",
                reason: "provider azure-openai must know whose resource to ask",
                remedy: "set AZURE_RESOURCE_NAME in the environment, in .env beside its key, or resourceName in [provider.setting]",
            });
        };
        let version = self.value(self.setting.api_version.as_deref(), &["AZURE_API_VERSION"]);
        let base = if self.setting.use_deployment_based_urls == Some(true) { base } else { base.ending_with("/v1") };
        Ok(base.with_parameter("api-version", version.unwrap_or(AZURE_API_VERSION)))
    }

    /// Bedrock's address of a region's models.
    pub fn bedrock(self) -> Result<BaseUrl, ProviderError> {
        const VARIABLES: &[&str] = &["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"];
        if let Some((url, origin)) = self.named(VARIABLES) {
            return BaseUrl::parse(url, origin);
        }
        let region = self.aws_region()?;
        // The partition in China has a domain of its own.
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        BaseUrl::parse(&format!("https://bedrock-runtime.{region}.{domain}"), "region")
    }

    /// The region that requests are signed for: the setting's, the variables', that of the profile in AWS's files.
    ///
    /// # Errors
    /// [`ProviderError::MissingPlace`], [`ProviderError::InvalidPlace`].
    pub fn aws_region(self) -> Result<String, ProviderError> {
        let named = self.value(self.setting.region.as_deref(), &["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = named.map(str::to_owned).or_else(|| aws_profile::region(self.environment));
        let region = region.ok_or(ProviderError::MissingPlace {
            name: "AWS_REGION",
            reason: "provider amazon-bedrock must know the region of its models",
            remedy: "set AWS_REGION in the environment, in .env beside a key, or region in [provider.setting]",
        })?;
        checked(&region, "AWS_REGION or region", "").map(str::to_owned)
    }

    /// Vertex AI's address of a project's models at a location. `project_of_credentials` is called when neither setting
    /// nor variable names the project.
    pub fn vertex(self, project_of_credentials: impl FnOnce() -> Option<String>) -> Result<BaseUrl, ProviderError> {
        if let Some((url, origin)) = self.named(&["GOOGLE_VERTEX_BASE_URL"]) {
            return BaseUrl::parse(url, origin);
        }
        let variables = ["GOOGLE_VERTEX_PROJECT", "GOOGLE_CLOUD_PROJECT"];
        let project = self.value(self.setting.project.as_deref(), &variables).map(str::to_owned);
        let project = project.or_else(project_of_credentials).ok_or(ProviderError::MissingPlace {
            name: "GOOGLE_VERTEX_PROJECT",
            reason: "provider google-vertex must know whose models to ask, and the credentials do not name it",
            remedy: "set GOOGLE_VERTEX_PROJECT in the environment, or project in [provider.setting]",
        })?;
        // Projects of a domain are written `example.com:name`.
        let project = checked(&project, "GOOGLE_VERTEX_PROJECT or project", ".:")?;
        let variables = ["GOOGLE_VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION"];
        let location = self.value(self.setting.location.as_deref(), &variables).ok_or(ProviderError::MissingPlace {
            name: "GOOGLE_VERTEX_LOCATION",
            reason: "provider google-vertex must know where its models are",
            remedy: "set GOOGLE_VERTEX_LOCATION in the environment, or location in [provider.setting], to \
                     global or a region such as europe-west4",
        })?;
        let location = checked(location, "GOOGLE_VERTEX_LOCATION or location", "")?;
        let host = match location {
            "global" => "aiplatform.googleapis.com".to_owned(),
            // Multi-regions have hosts of another form.
            "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
            region => format!("{region}-aiplatform.googleapis.com"),
        };
        let path = format!("/v1beta1/projects/{project}/locations/{location}/publishers/google");
        BaseUrl::parse(&format!("https://{host}{path}"), "location")
    }
}

/// `OLLAMA_HOST` as an address: `host`, `host:port`, `:port` or a URL. A server's own
/// "listen everywhere" means this machine.
fn ollama_host(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !is_bare_v6(host) =>
        {
            (host, Some(port))
        }
        _ => (authority.trim_end_matches(':'), None),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "[::]" | "::" => "[::1]".to_owned(),
        bare if bare.matches(':').count() > 1 && !bare.starts_with('[') => format!("[{bare}]"),
        host => host.to_owned(),
    };
    let default = match (scheme, text.contains("://")) {
        ("https", _) => "443".to_owned(),
        // A URL without a port has its scheme's, as Ollama's own client reads it.
        (_, true) => "80".to_owned(),
        (_, false) => OLLAMA_PORT.to_string(),
    };
    format!("{scheme}://{host}:{}{path}", port.unwrap_or(&default))
}

/// Returns true when `host`, the text before the last colon, is a part of an IPv6 address without brackets.
fn is_bare_v6(host: &str) -> bool {
    host.contains(':') && !host.ends_with(']')
}

/// `value`, unless it has other characters than letters, digits, `-`, `_` and `more`: it becomes a part of an address.
fn checked<'a>(value: &'a str, origin: &'static str, more: &str) -> Result<&'a str, ProviderError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || more.contains(c);
    if !value.is_empty() && value.chars().all(is_allowed) {
        return Ok(value);
    }
    let value = value.chars().take(60).collect();
    Err(ProviderError::InvalidPlace { origin, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::ErrorHint as _;
    use crate::provider::testing::environment;

    type Address = fn(EndpointInputs<'_>) -> Result<BaseUrl, ProviderError>;

    const OLLAMA: Address = |place| place.ollama();
    const AZURE: Address = |place| place.azure();
    const BEDROCK: Address = |place| place.bedrock();

    fn joined(setting: &ProviderSetting, pairs: &[(&str, &str)], address: Address) -> Result<String, String> {
        let environment = environment(pairs);
        let place = EndpointInputs { setting, environment: &environment };
        address(place).map(|base| base.join("/p")).map_err(|error| error.with_hint())
    }

    fn of_variables(pairs: &[(&str, &str)], address: Address) -> Result<String, String> {
        joined(&ProviderSetting::default(), pairs, address)
    }

    #[test]
    fn the_setting_beats_the_variables_and_these_the_vendors_own() {
        let address: Address = |place| place.at("https://home.example.com/v1", &["FIRST", "SECOND"]);
        let setting =
            ProviderSetting { base_url: Some("https://set.example.com".to_owned()), ..ProviderSetting::default() };
        let pairs = [("FIRST", "https://first.example.com"), ("SECOND", "https://second.example.com")];
        assert_eq!(joined(&setting, &pairs, address).as_deref(), Ok("https://set.example.com/p"));
        assert_eq!(of_variables(&pairs, address).as_deref(), Ok("https://first.example.com/p"));
        assert_eq!(of_variables(&pairs[1..], address).as_deref(), Ok("https://second.example.com/p"));
        assert_eq!(of_variables(&[], address).as_deref(), Ok("https://home.example.com/v1/p"));
    }

    #[test]
    fn ollama_is_found_by_each_form_of_its_address() {
        let expected = [
            ("", "http://127.0.0.1:11434/api/p"),
            ("localhost", "http://localhost:11434/api/p"),
            ("0.0.0.0:8000", "http://127.0.0.1:8000/api/p"),
            (":8000", "http://127.0.0.1:8000/api/p"),
            ("192.168.1.7", "http://192.168.1.7:11434/api/p"),
            ("http://192.168.1.7:1/", "http://192.168.1.7:1/api/p"),
            ("https://owls.example.com", "https://owls.example.com/api/p"),
            ("http://localhost/api", "http://localhost/api/p"),
            ("[::1]:9", "http://[::1]:9/api/p"),
            ("::1", "http://[::1]:11434/api/p"),
            ("0.0.0.0", "http://127.0.0.1:11434/api/p"),
        ];
        for (host, url) in expected {
            assert_eq!(of_variables(&[("OLLAMA_HOST", host)], OLLAMA).as_deref(), Ok(url), "{host}");
        }
        let both = [("OLLAMA_HOST", "localhost:1"), ("OLLAMA_BASE_URL", "http://127.0.0.1:2/api/")];
        assert_eq!(of_variables(&both, OLLAMA).as_deref(), Ok("http://127.0.0.1:2/api/p"));
    }

    #[test]
    fn azure_is_a_resource_with_a_version() {
        let resource = [("AZURE_RESOURCE_NAME", "owls")];
        assert_eq!(
            of_variables(&resource, AZURE).as_deref(),
            Ok("https://owls.openai.azure.com/openai/v1/p?api-version=v1")
        );
        let setting = ProviderSetting {
            resource_name: Some("nest".to_owned()),
            api_version: Some("2024-10-21".to_owned()),
            use_deployment_based_urls: Some(true),
            ..ProviderSetting::default()
        };
        assert_eq!(
            joined(&setting, &resource, AZURE).as_deref(),
            Ok("https://nest.openai.azure.com/openai/p?api-version=2024-10-21")
        );
        let endpoint = [("AZURE_OPENAI_ENDPOINT", "https://owls.openai.azure.com/"), ("AZURE_API_VERSION", "preview")];
        assert_eq!(
            of_variables(&endpoint, AZURE).as_deref(),
            Ok("https://owls.openai.azure.com/openai/v1/p?api-version=preview")
        );
        for url in ["http://127.0.0.1:9/openai", "http://127.0.0.1:9/openai/v1/"] {
            assert_eq!(
                of_variables(&[("AZURE_BASE_URL", url)], AZURE).as_deref(),
                Ok("http://127.0.0.1:9/openai/v1/p?api-version=v1")
            );
        }
    }

    #[test]
    fn azure_without_a_resource_names_what_to_set() {
        assert_eq!(
            of_variables(&[], AZURE).unwrap_err(),
            "AZURE_RESOURCE_NAME or baseUrl is not set: provider azure-openai must know whose resource to ask; set \
             AZURE_RESOURCE_NAME in the environment, in .env beside its key, or resourceName in [provider.setting]"
        );
    }

    #[test]
    fn what_becomes_a_host_cannot_lead_elsewhere() {
        for name in ["evil.example.com/", "a#", "a b", "owls.evil"] {
            let error = of_variables(&[("AZURE_RESOURCE_NAME", name)], AZURE).unwrap_err();
            assert!(error.starts_with("AZURE_RESOURCE_NAME or resourceName is "), "{error}");
        }
    }

    #[test]
    fn bedrock_is_a_region() {
        let region = |pairs: &[(&str, &str)]| of_variables(pairs, BEDROCK);
        assert_eq!(
            region(&[("AWS_REGION", "eu-central-1"), ("AWS_DEFAULT_REGION", "us-east-1")]).as_deref(),
            Ok("https://bedrock-runtime.eu-central-1.amazonaws.com/p")
        );
        assert_eq!(
            region(&[("AWS_DEFAULT_REGION", "cn-north-1")]).as_deref(),
            Ok("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/p")
        );
        let endpoints =
            [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:2")];
        assert_eq!(region(&endpoints).as_deref(), Ok("http://127.0.0.1:2/p"));
        assert_eq!(
            region(&[]).unwrap_err(),
            "AWS_REGION is not set: provider amazon-bedrock must know the region of its models; set AWS_REGION in the \
             environment, in .env beside a key, or region in [provider.setting]"
        );
    }

    #[test]
    fn vertex_is_a_project_at_a_location() {
        let address: Address = |place| place.vertex(|| Some("example.com:theirs".to_owned()));
        let at = |location: &str| {
            of_variables(&[("GOOGLE_VERTEX_PROJECT", "owls"), ("GOOGLE_VERTEX_LOCATION", location)], address)
        };
        let url = |host: &str, location: &str| {
            Ok(format!("https://{host}/v1beta1/projects/owls/locations/{location}/publishers/google/p"))
        };
        assert_eq!(at("global"), url("aiplatform.googleapis.com", "global"));
        assert_eq!(at("europe-west4"), url("europe-west4-aiplatform.googleapis.com", "europe-west4"));
        assert_eq!(at("eu"), url("aiplatform.eu.rep.googleapis.com", "eu"));
        let theirs = of_variables(&[("GOOGLE_VERTEX_LOCATION", "global")], address).unwrap();
        assert!(theirs.contains("/projects/example.com:theirs/"), "{theirs}");
        let nowhere = of_variables(&[("GOOGLE_VERTEX_PROJECT", "owls")], address).unwrap_err();
        assert!(nowhere.starts_with("GOOGLE_VERTEX_LOCATION is not set: "), "{nowhere}");
        let nobody = of_variables(&[("GOOGLE_VERTEX_LOCATION", "global")], |place| place.vertex(|| None)).unwrap_err();
        assert!(nobody.starts_with("GOOGLE_VERTEX_PROJECT is not set: "), "{nobody}");
    }
}

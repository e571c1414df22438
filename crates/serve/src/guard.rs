//! Which requests are allowed: by the host that a request names, and by the site whose page sends it.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderName, ORIGIN};
use hyper::{HeaderMap, Uri};

use crate::Refusal;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks that a request is for this server.
///
/// A name that another site has made to lead here (DNS rebinding) is neither an address nor `localhost` nor one of `names`.
///
/// # Errors
/// [`Refusal::Host`].
pub(crate) fn host(uri: &Uri, headers: &HeaderMap, names: &[String]) -> Result<(), Refusal> {
    let mut named = headers.get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return Err(Refusal::Host) };
    let host = host.to_str().map_err(|_| Refusal::Host)?;
    let of_target = uri.authority().map(hyper::http::uri::Authority::as_str);
    for authority in [Some(host), of_target].into_iter().flatten() {
        let name = name(authority).ok_or(Refusal::Host)?;
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        if !is_address && name != "localhost" && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Err(Refusal::Host);
        }
    }
    Ok(())
}

/// The name or address of an authority, without its port and in lower case; `None` for what is none.
fn name(authority: &str) -> Option<String> {
    let parsed: hyper::http::uri::Authority = authority.parse().ok()?;
    (!authority.contains('@') && !parsed.host().is_empty()).then(|| parsed.host().to_ascii_lowercase())
}

/// Checks that no page of another site sends a request. Programs, which name no site, may.
///
/// # Errors
/// [`Refusal::Origin`].
pub(crate) fn origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let foreign = headers.get(FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none");
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let same = match (text(&ORIGIN), text(&HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let origin = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    };
    if foreign || !same { Err(Refusal::Origin) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn a_request_is_answered_by_its_address_or_a_name_that_was_given_and_by_no_other_name() {
        let check = |host: &str, expected: bool| {
            let (uri, names) = (Uri::from_static("/"), ["box.local".to_owned()]);
            let found = super::host(&uri, &headers(&[("host", host)]), &names);
            assert_eq!(found.is_ok(), expected, "{host}");
        };
        for mine in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:80", "192.168.0.7", "Box.local:8080"] {
            check(mine, true);
        }
        for foreign in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "a@127.0.0.1"]
        {
            check(foreign, false);
        }
        let host =
            |uri: &'static str, lines: &[(&str, &str)]| super::host(&Uri::from_static(uri), &headers(lines), &[]);
        assert_eq!(host("/", &[]), Err(Refusal::Host), "no host at all");
        assert_eq!(
            host("http://evil.example/", &[("host", "localhost")]),
            Err(Refusal::Host),
            "the target names another"
        );
    }

    #[test]
    fn a_page_of_another_site_asks_nothing_and_a_program_may() {
        let check = |lines: &[(&str, &str)], expected: bool| {
            assert_eq!(super::origin(&headers(lines)).is_ok(), expected, "{lines:?}");
        };
        let host = ("host", "127.0.0.1:8080");
        check(&[host], true);
        check(&[host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")], true);
        check(&[host, ("sec-fetch-site", "none")], true);
        check(&[host, ("origin", "http://evil.example")], false);
        check(&[host, ("origin", "http://127.0.0.1:9090")], false);
        check(&[host, ("origin", "null")], false);
        check(&[host, ("sec-fetch-site", "cross-site")], false);
    }
}

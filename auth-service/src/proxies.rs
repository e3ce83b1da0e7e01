//! Where a request comes from, when it comes by way of proxies: their word is taken, and nobody else's.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The addresses and networks of proxies that are believed. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    /// Whether it was said that somebody else writes what a proxy writes.
    said: Arc<AtomicBool>,
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks = text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let parse = |text: &str| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse()).map_err(|_| {
                "write addresses and networks like 10.0.0.2, 10.1.0.0/16 with commas between them"
                    .to_owned()
            })
        };
        let networks = networks.map(parse).collect::<Result<_, _>>()?;
        Ok(Self {
            networks,
            said: Arc::default(),
        })
    }
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The address of the client whose request this peer has sent: the peer, or, where that is a trusted proxy, whoever stands
    /// nearest to it in `X-Forwarded-For` or `Forwarded` (RFC 7239) and is no trusted proxy. What stands farther away anybody
    /// could have written.
    ///
    /// A proxy writes one of the two headers and may hand on the other as it came: where both are there and do not agree, neither
    /// is believed.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            self.wonder_about(peer, headers);
            return peer;
        }
        let named = [
            self.nearest(&values(headers, &X_FORWARDED_FOR, str::trim)),
            self.nearest(&values(headers, &FORWARDED, forwarded_for)),
        ];
        match named {
            [Some(one), Some(other)] if one != other => peer,
            [one, other] => one.or(other).unwrap_or(peer),
        }
    }

    /// Most likely a proxy that nobody has named, and then all of its users are one address. It may as well be a client that made the
    /// header up, and can do so at every request: it is said once.
    fn wonder_about(&self, peer: IpAddr, headers: &HeaderMap) {
        let forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if forwarded && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "X-Forwarded-For or Forwarded comes from an address that TRUSTED_PROXIES does not name, and is not believed: if that is \
                 your proxy, name it there, or all of its users count as one; this is not said again"
            );
        }
    }

    /// `None`: there is none, or one that cannot be read stands before it.
    fn nearest(&self, hops: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut farthest = None;
        for hop in hops.iter().rev() {
            let Some(hop) = *hop else { return farthest };
            farthest = Some(hop);
            if !self.trusts(hop) {
                break;
            }
        }
        farthest
    }
}

/// The hops that a header lists over all of its lines, the farthest first; `None` where one cannot be read.
fn values(
    headers: &HeaderMap,
    name: &HeaderName,
    address_of: fn(&str) -> &str,
) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(name).iter();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or("?").split(','));
    hops.map(|hop| address(address_of(hop))).collect()
}

/// The `for` parameter of an element of `Forwarded`.
fn forwarded_for(element: &str) -> &str {
    let parameters = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut found = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let value = found.next().map_or("", |(_, value)| value);
    value.trim().trim_matches('"')
}

/// An address, be it with a port, and be it in the brackets of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    address
        .or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        let proxies: TrustedProxies = "10.0.0.0/8, 192.0.2.7, fd00::/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let lines = [
            ("x-forwarded-for", "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
        ];
        assert_eq!(client("203.0.113.9", &lines), "203.0.113.9");
        assert_eq!(client("10.0.0.2", &lines), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.2", &lines), "198.51.100.1");
        assert_eq!(client("10.0.0.2", &[]), "10.0.0.2");
        let none = TrustedProxies::default();
        let headers = HeaderMap::new();
        assert_eq!(
            none.client([10, 0, 0, 2].into(), &headers).to_string(),
            "10.0.0.2"
        );
    }

    #[test]
    fn the_nearest_that_is_no_proxy_is_the_client_and_what_is_farther_is_hearsay() {
        for (line, expected) in [
            ("203.0.113.1, 198.51.100.1", "198.51.100.1"),
            (
                "203.0.113.1, 198.51.100.1, 192.0.2.7, 10.1.2.3",
                "198.51.100.1",
            ),
            ("198.51.100.1:4711", "198.51.100.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            // All of them are ours.
            ("10.9.9.9", "10.9.9.9"),
            // Nobody: what cannot be read hides what is behind it.
            ("198.51.100.1, unknown", "10.0.0.2"),
            ("198.51.100.1, unknown, 10.1.1.1", "10.1.1.1"),
            ("", "10.0.0.2"),
        ] {
            assert_eq!(
                client("10.0.0.2", &[("x-forwarded-for", line)]),
                expected,
                "{line}"
            );
        }
        let two = [
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(client("10.0.0.2", &two), "198.51.100.1");
    }

    #[test]
    fn the_header_of_rfc_7239_is_read_too() {
        for (line, expected) in [
            (
                "for=203.0.113.1, for=198.51.100.1;proto=https;by=10.0.0.2",
                "198.51.100.1",
            ),
            ("proto=https;For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=198.51.100.1, for=_hidden", "10.0.0.2"),
            ("by=198.51.100.1", "10.0.0.2"),
        ] {
            assert_eq!(
                client("10.0.0.2", &[("forwarded", line)]),
                expected,
                "{line}"
            );
        }
        let disagree = [
            ("x-forwarded-for", "198.51.100.1"),
            ("forwarded", "for=203.0.113.1"),
        ];
        assert_eq!(client("10.0.0.2", &disagree), "10.0.0.2");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["proxy", "10.0.0.0/40", "10.0.0.1 10.0.0.2", "*"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
        assert!("".parse::<TrustedProxies>().is_ok());
    }
}

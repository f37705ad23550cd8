//! Closed networks: internal, without a host address on their bridge, without IPv6.
//!
//! `--internal` alone is not closed on Docker Engine 20.10: the bridge has an address of the host's, and
//! whoever is on the network reaches the host by it.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::{Engine, EngineError, Labels};

/// Docker Engine 28: the first whose bridges may have an isolated gateway.
const ISOLATED_GATEWAY_API: (usize, usize) = (1, 48);

/// A closed network as the engine made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedNetwork {
    pub id: String,
    pub name: String,
    /// Addresses on its link: what the bridge would have if the host had one there, and the next one, since
    /// from engine 28 on the first container gets what was the gateway's. None: they are not known.
    pub link: BTreeSet<Ipv4Addr>,
}

impl Engine {
    /// Creates a closed network; an existing one of the name is an error.
    pub async fn create_closed_network(
        &self,
        name: &str,
        labels: &Labels,
    ) -> Result<ClosedNetwork, EngineError> {
        let mut options = HashMap::from([("com.docker.network.bridge.inhibit_ipv4", "true")]);
        // From engine 28 on the first option is not what keeps the host away; engine 27 refuses these.
        if self.api_version >= ISOLATED_GATEWAY_API {
            options.insert("com.docker.network.bridge.gateway_mode_ipv4", "isolated");
            options.insert("com.docker.network.bridge.gateway_mode_ipv6", "isolated");
        }
        let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            enable_ipv6: Some(false),
            attachable: Some(false),
            options: Some(options),
            labels: Some(labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            ..NetworkCreateRequest::default()
        };
        let what = format!("create the network `{name}`");
        self.only_network_of_the_name(name, None).await?;
        let created = self
            .docker
            .create_network(request)
            .await
            .map_err(|e| EngineError::from_bollard(what.clone(), e))?;
        let found = self
            .docker
            .inspect_network(&created.id, None)
            .await
            .map_err(|e| EngineError::from_bollard(what, e))?;
        self.only_network_of_the_name(name, Some(&created.id)).await?;
        let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let named = configs.iter().filter_map(|config| config.gateway.as_deref()?.parse().ok());
        let first = configs.iter().filter_map(|config| first_addresses(config.subnet.as_deref()?)).flatten();
        Ok(ClosedNetwork { id: created.id, name: name.to_owned(), link: named.chain(first).collect() })
    }

    /// Returns every address that the host may have on the engine's bridges: the gateways of all networks,
    /// also of those where it has none.
    pub async fn host_addresses(&self) -> Result<Vec<IpAddr>, EngineError> {
        let networks = self
            .docker
            .list_networks(None)
            .await
            .map_err(|e| EngineError::from_bollard("list the networks", e))?;
        let mut addresses = self.bridge_gateways().await?;
        let configs = networks.into_iter().filter_map(|network| network.ipam?.config).flatten();
        addresses.extend(configs.filter_map(|config| config.gateway?.parse::<IpAddr>().ok()));
        Ok(addresses)
    }

    /// Refuses a name that a network has already: the engine would make another one of the same name, and
    /// nobody knows which of the two a container then joins.
    async fn only_network_of_the_name(&self, name: &str, own: Option<&str>) -> Result<(), EngineError> {
        let what = || format!("create the network `{name}`");
        let filters = HashMap::from([("name", vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_networks(Some(options)).await;
        let found = found.map_err(|e| EngineError::from_bollard(what(), e))?;
        // The filter takes a part of a name too.
        let other =
            found.into_iter().find(|one| one.name.as_deref() == Some(name) && one.id.as_deref() != own);
        match other {
            None => Ok(()),
            Some(_) => Err(EngineError::Answered {
                what: what(),
                status: 409,
                message: format!("there is another network `{name}`"),
            }),
        }
    }
}

/// The first two usable addresses of a subnet: the engine gives one of them to its bridge if to any.
fn first_addresses(subnet: &str) -> Option<[Ipv4Addr; 2]> {
    let (network, _) = subnet.split_once('/')?;
    let network: Ipv4Addr = network.parse().ok()?;
    let second = u32::from(network).checked_add(2)?;
    Some([second - 1, second].map(Ipv4Addr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_addresses_are_those_after_the_networks_own() {
        let addresses = [Ipv4Addr::new(172, 20, 0, 1), Ipv4Addr::new(172, 20, 0, 2)];
        assert_eq!(first_addresses("172.20.0.0/16"), Some(addresses));
        assert_eq!(first_addresses("255.255.255.254/31"), None);
        assert_eq!(first_addresses("fd00::/64"), None);
    }
}

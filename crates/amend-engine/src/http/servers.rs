//! The servers of an engine: which there are, how each is connected to and checked, and the
//! client of each.

use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use super::address::Address;
use super::client::{Client, connection_error};
use super::dialect::Dialect;
use super::endpoints_file::{EndpointsError, EndpointsFile};
use super::fleet::MemberId;
use super::known_server::KnownServer;
use super::model_entry::ModelEntry;
use super::probe::probe;
use super::profile::Profile;
use super::send_error::SendError;
use super::settings::EndpointSettings;
use super::transport::Transport;
use amend_core::model::{ChoiceNeeds, EngineError, ProbeError, ProbeNeeds};

/// The servers, in the order in which they were listed first. Their numbers are those of the
/// fleet.
pub struct Servers {
    all: Vec<Server>,
    settings: Arc<EndpointSettings>,
    /// The model that all must serve.
    model: ModelEntry,
    file: Option<EndpointsFile>,
    /// What each server is asked before it is used, once the first was asked.
    needs: Option<ProbeNeeds>,
}

struct Server {
    address: Address,
    /// `None` until the server was reached for the first time.
    client: Option<Arc<Client>>,
    is_probed: bool,
    /// Whether the user was warned that it can't be used.
    is_reported: bool,
}

/// The check of a server, to be run by any thread.
pub struct Checkup {
    address: Address,
    settings: Arc<EndpointSettings>,
    model: ModelEntry,
    client: Option<Arc<Client>>,
    needs: Option<ProbeNeeds>,
}

impl Servers {
    /// Requests the list of models of every server. Servers that are down are left out for now.
    ///
    /// # Errors
    /// No server can be reached, one rejects the key, or one does not have the model.
    pub fn connect(settings: &Arc<EndpointSettings>) -> Result<Self, EngineError> {
        let lists = models_of_all(settings);
        let mut model: Option<ModelEntry> = None;
        let mut all = Vec::new();
        let mut down = Vec::new();
        for (address, (transport, list)) in settings.addresses.iter().zip(lists) {
            let mut server = Server::new(address.clone());
            match list {
                Ok(list) => {
                    let entry = match &model {
                        Some(model) => model.find_same(address, &list)?,
                        None => ModelEntry::find(address, &list, settings.model.as_deref())?,
                    };
                    server.client = Some(Arc::new(client(settings, address, transport, &entry)));
                    model.get_or_insert(entry);
                }
                Err(error) if error.may_pass() => {
                    server.is_reported = true;
                    down.push(error);
                }
                Err(error) => return Err(connection_error(&error, settings.key_variable)),
            }
            all.push(server);
        }
        let Some(model) = model else {
            return Err(match down.first() {
                Some(error) => connection_error(error, settings.key_variable),
                None => EngineError::new("no address of a server is given").hinted("pass -m URL"),
            });
        };
        for error in down {
            tracing::warn!("{error}; the server is tried again later");
        }
        let file = settings.file.clone();
        Ok(Self { all, settings: Arc::clone(settings), model, file, needs: None })
    }

    /// The numbers of all servers.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..self.all.len()).map(MemberId)
    }

    pub fn address(&self, id: MemberId) -> &Address {
        &self.all[id.0].address
    }

    /// The client of a server that was reached.
    pub fn client(&self, id: MemberId) -> Option<&Arc<Client>> {
        self.all[id.0].client.as_ref()
    }

    /// The model that all servers have.
    pub fn model(&self) -> &ModelEntry {
        &self.model
    }

    /// The client whose profile describes the servers, once it was probed.
    pub fn probed(&self) -> Option<&Client> {
        let server = self.all.iter().find(|server| server.is_probed)?;
        server.client.as_deref()
    }

    /// Adds a server that was not reached yet.
    pub fn add(&mut self, address: Address) {
        self.all.push(Server::new(address));
    }

    /// The addresses in the file, if it has changed, or what is wrong with it.
    pub fn poll(&mut self, now: Instant) -> Option<Result<Vec<Address>, EndpointsError>> {
        self.file.as_mut()?.poll(now)
    }

    /// Asks each server for what a run needs. The first one determines how choices are asked
    /// for. Returns those that failed and must be checked again.
    ///
    /// # Errors
    /// All servers fail, or one can't do what the run needs.
    pub fn probe(&mut self, needs: &ProbeNeeds) -> Result<Vec<MemberId>, ProbeError> {
        let mut failed = Vec::new();
        let mut needs = needs.clone();
        let mut rest = self.all.iter_mut().enumerate().filter(|(_, it)| it.client.is_some());
        for (at, server) in rest.by_ref() {
            match server.probe(&needs) {
                Ok(()) => {
                    needs = in_the_same_way(needs, server.client.as_deref());
                    break;
                }
                Err(ProbeError::Engine(error)) => failed.push((at, error)),
                Err(error) => return Err(error),
            }
        }
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                rest.map(|(at, server)| (at, scope.spawn(|| server.probe(&needs)))).collect();
            threads.into_iter().map(|(at, thread)| (at, joined(thread))).collect()
        });
        for (at, result) in results {
            match result {
                Ok(()) => {}
                Err(ProbeError::Engine(error)) => failed.push((at, error)),
                Err(error) => return Err(error),
            }
        }
        if self.probed().is_none()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error.into());
        }
        self.needs = Some(needs);
        let mut ids = Vec::new();
        for (at, error) in failed {
            let server = &mut self.all[at];
            tracing::warn!("{error}; {} is tried again later", server.address);
            server.is_reported = true;
            ids.push(MemberId(at));
        }
        Ok(ids)
    }

    /// The check of a server that is due.
    pub fn checkup(&self, id: MemberId) -> Checkup {
        let server = &self.all[id.0];
        Checkup {
            address: server.address.clone(),
            settings: Arc::clone(&self.settings),
            model: self.model.clone(),
            client: server.client.clone(),
            needs: if server.is_probed { None } else { self.needs.clone() },
        }
    }

    /// Notes the result of a check. Warns of the first failure.
    pub fn checked(&mut self, id: MemberId, result: Result<Arc<Client>, EngineError>) -> bool {
        let server = &mut self.all[id.0];
        match result {
            Ok(client) => {
                tracing::info!("{} is used", server.address);
                server.client = Some(client);
                server.is_probed = self.needs.is_some();
                server.is_reported = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut server.is_reported, true) {
                    tracing::warn!("{error}; {} is tried again later", server.address);
                } else {
                    tracing::debug!("{error}; {} is tried again later", server.address);
                }
                false
            }
        }
    }

    /// Notes that the user was warned of a failure.
    pub fn report(&mut self, id: MemberId) {
        self.all[id.0].is_reported = true;
    }
}

impl Server {
    fn new(address: Address) -> Self {
        Self { address, client: None, is_probed: false, is_reported: false }
    }

    fn probe(&mut self, needs: &ProbeNeeds) -> Result<(), ProbeError> {
        if let Some(client) = &self.client {
            probe(client, needs)?;
            self.is_probed = true;
        }
        Ok(())
    }
}

impl Checkup {
    /// Checks whether the server lists the model, and asks what it can do if that is not known.
    ///
    /// # Errors
    /// It can't be used now.
    pub fn run(self) -> Result<Arc<Client>, EngineError> {
        let Self { address, settings, model, client: known, needs } = self;
        let transport = match &known {
            Some(client) => client.transport.clone(),
            None => transport(&settings, &address),
        };
        let list = transport
            .get_once("models")
            .map_err(|error| connection_error(&error, settings.key_variable))?;
        let entry = model.find_same(&address, &list)?;
        let client =
            known.unwrap_or_else(|| Arc::new(client(&settings, &address, transport, &entry)));
        if let Some(needs) = &needs {
            probe(&client, needs).map_err(|error| match error {
                ProbeError::Engine(error) => error,
                ProbeError::Unfit { message, hint } => {
                    EngineError::new(format!("{address}: {message}")).hinted(hint)
                }
            })?;
        }
        Ok(client)
    }
}

/// The list of models of each server. A single server is asked again after transient errors.
fn models_of_all(
    settings: &EndpointSettings,
) -> Vec<(Transport, Result<serde_json::Value, SendError>)> {
    let transports = settings.addresses.iter().map(|address| transport(settings, address));
    if !settings.is_fleet() {
        return transports.map(|it| (it.clone(), it.get("models"))).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = transports
            .map(|transport| {
                let asking = transport.clone();
                (transport, scope.spawn(move || asking.get_once("models")))
            })
            .collect();
        let mut lists = Vec::new();
        for (transport, thread) in threads {
            lists.push((transport, joined(thread)));
        }
        lists
    })
}

/// The result of a thread. If it panicked, this thread does too.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn transport(settings: &EndpointSettings, address: &Address) -> Transport {
    let EndpointSettings { key, timeout, retry, .. } = settings;
    Transport::new(address.clone(), key.clone(), *timeout, *retry, settings.parallel())
}

fn client(
    settings: &EndpointSettings,
    address: &Address,
    transport: Transport,
    entry: &ModelEntry,
) -> Client {
    let dialect = Dialect::detect(address, entry.owner());
    Client {
        transport,
        key_variable: settings.key_variable,
        server: KnownServer::new(
            address.to_string(),
            settings.model.clone().unwrap_or_else(|| entry.name().to_owned()),
            dialect,
            Profile::new(dialect),
        ),
    }
}

/// The same needs, with the way of asking for choices that a server determined.
fn in_the_same_way(needs: ProbeNeeds, client: Option<&Client>) -> ProbeNeeds {
    let way = client.map(|client| client.server.profile().way.as_str().to_owned());
    let choices = needs.choices.map(|choices| ChoiceNeeds { recorded_way: way, ..choices });
    ProbeNeeds { choices, ..needs }
}

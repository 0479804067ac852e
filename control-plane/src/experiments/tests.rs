use super::{ExperimentService, Unable};
use crate::fleet::FleetService;
use crate::kernel::events::Events;
use crate::kernel::ids::Ids;
use crate::kernel::ports::Standalone;
use crate::settings::{Parts, SettingsService, store};
use control_domain::experiments::{Because, Goal, Plan, PlanRequest, Proposal, Source};
use control_domain::settings::capacity::Machine;
use optimizer_proto::v1::{ControlMessage, Hello};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

struct World {
    settings: Arc<SettingsService>,
    fleet: Arc<FleetService>,
    streams: mpsc::Sender<ControlMessage>,
    _messages: mpsc::Receiver<ControlMessage>,
}

impl World {
    fn new() -> Self {
        let fleet = FleetService::new(Arc::new(Ids::new()), Events::default(), Arc::new(Standalone));
        let fleet = Arc::new(fleet);
        let (streams, messages) = mpsc::channel(8);
        Self {
            settings: Arc::new(SettingsService::open(Parts {
                store: store::open(None, None),
                local: None,
                machine: Machine { memory_mb: None },
                fleet: Arc::clone(&fleet),
                replication: Arc::new(Standalone),
                events: Events::default(),
            })),
            fleet,
            streams,
            _messages: messages,
        }
    }

    fn connect(&self, envoy: &str, node: &str) {
        let connection = self.fleet.connection_id();
        let hello = Hello {
            instance_id: envoy.to_owned(),
            node_id: node.to_owned(),
            ..Hello::default()
        };
        self.fleet.hello(envoy, &hello, connection);
        self.fleet.attach(connection, envoy, self.streams.clone());
    }

    /// A process that begins.
    fn experiments(&self, folder: &Path) -> ExperimentService {
        let (settings, fleet) = (Arc::clone(&self.settings), Arc::clone(&self.fleet));
        ExperimentService::open(Some(folder), settings, fleet, Arc::new(Standalone), Events::default())
    }
}

fn proposal(size: u64) -> Proposal {
    Proposal {
        source: Source::Settings,
        settings: json!({ "cache_size": size }),
        goal: Goal::NoHarm,
        predicted: None,
        reason: String::new(),
    }
}

fn plan() -> Plan {
    Plan::check(&PlanRequest::default(), Goal::NoHarm, |_| None).unwrap()
}

async fn begun(experiments: &ExperimentService, size: u64) -> Result<u64, Unable> {
    let by = ("me".to_owned(), String::new());
    let begun = experiments.begin(proposal(size), plan(), by).await;
    begun.map(|one| one.revision)
}

#[tokio::test]
async fn what_became_of_an_experiment_is_known_after_a_restart() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    world.connect("a", "a");
    world.connect("b", "b");
    let experiments = world.experiments(folder.path());
    let revision = begun(&experiments, 7).await.unwrap();
    // Promoted, and gone before it was said.
    world.settings.promote(Some(revision)).await.unwrap();
    let experiments = world.experiments(folder.path());
    assert_eq!(experiments.newest()[0].because, Some(Because::Better));
    let revision = begun(&experiments, 8).await.unwrap();
    world.settings.abort(Some(revision), String::new(), "").await.unwrap();
    let experiments = world.experiments(folder.path());
    let because: Vec<_> = experiments.newest().iter().map(|one| one.because).collect();
    assert_eq!(because, [Some(Because::ControlPlaneLost), Some(Because::Better)]);
    assert_eq!(experiments.counts().0, 0);
}

#[tokio::test]
async fn without_anybody_to_compare_with_nothing_is_tried() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let experiments = world.experiments(folder.path());
    // By xDS Envoys of one node get the same.
    for (envoy, connected) in [("a", 1), ("b", 2)] {
        world.connect(envoy, "node");
        let refused = begun(&experiments, 7).await.unwrap_err();
        assert!(
            matches!(refused, Unable::NoControlGroup(count) if count == connected),
            "{refused:?}"
        );
        assert!(world.settings.published().canary().is_none());
    }
    world.connect("c", "another");
    assert!(begun(&experiments, 7).await.is_ok());
    assert!(matches!(begun(&experiments, 8).await, Err(Unable::UnderWay(_))));
}

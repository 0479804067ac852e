//! What may be done and what is kept of what came.

use super::{GUARDED, Row, bytes, count, time};
use crate::app::Config;
use crate::kernel::events;
use crate::transport::grpc;
use crate::{purges as purging, tier, xds};
use control_domain::alerts;
use control_domain::experiments;
use control_domain::fleet;
use control_domain::operations;
use control_domain::purges;
use control_domain::settings::history;
use control_domain::settings::recovery;
use control_domain::settings::reported;
use control_domain::telemetry::envoy_stats;
use std::time::Duration;

const FLEET: &str = "control-plane/domain/src/fleet/bounds.rs";
const TIER: &str = "control-plane/src/tier/tests.rs";
const PEERS: &str = "tests/stories/peers.rs";
const PROBES: &str = "control-plane/src/app/probes_tests.rs";
const MADE: &str = "control-plane/src/xds/made.rs";

pub(super) fn rows(set: &Config) -> Vec<Row> {
    vec![
        (
            "writes a second; of one caller",
            format!("{}; {}", set.writes_per_second, set.writes_per_second.get() / 2),
            "`WRITES_PER_SECOND`",
            GUARDED,
            "what_is_too_much_too_large_or_too_slow_is_turned_away",
        ),
        (
            "targets of purges: a second, at once, of one purge; the longest",
            format!(
                "{}, {}, {}; {}",
                purging::TARGETS_PER_SECOND,
                purging::TARGETS_AT_ONCE,
                purges::MAX_TARGETS,
                bytes(purges::MAX_VALUE)
            ),
            "`purges/service.rs`, `purges.rs`",
            "tests/stories/budgets.rs",
            "purges_are_taken_at_a_pace",
        ),
        (
            "purges remembered; bytes that they name",
            format!("{}; {}", count(purges::REMEMBERED), bytes(purges::MAX_BYTES)),
            "`purges.rs`",
            "control-plane/domain/src/purges/tests.rs",
            "who_was_away_for_longer_than_is_remembered_forgets_everything",
        ),
        (
            "operations: under way here, remembered, for how long",
            format!(
                "{}, {}, {}",
                operations::RUNNING,
                operations::MAX_OPERATIONS,
                time(Duration::from_millis(operations::REMEMBERED_MS))
            ),
            "`operations/register.rs`",
            "control-plane/domain/src/operations/register.rs",
            "the_newest_are_kept_and_what_runs_before_what_has_ended",
        ),
        (
            "texts of an operation; counts in its receipt",
            format!("{} characters; {}", operations::TEXT, operations::COUNTS),
            "`operations.rs`",
            "control-plane/domain/src/operations.rs",
            "texts_and_counts_are_bounded",
        ),
        (
            "experiments remembered; a text, Envoys named, the change",
            format!(
                "{}; {} characters, {}, {}",
                experiments::MAX_EXPERIMENTS,
                experiments::TEXT,
                experiments::NAMED,
                bytes(experiments::CHANGE)
            ),
            "`experiments/record.rs`",
            "control-plane/domain/src/experiments/register.rs",
            "the_newest_are_kept_and_no_more_of_each_than_so_much",
        ),
        (
            "events that wait for a listener",
            count(events::EVENTS_QUEUED),
            "`EVENTS_QUEUED`",
            "control-plane/src/kernel/events.rs",
            "so_many_events_wait_for_a_listener",
        ),
        (
            "Envoys remembered; one that never reported goes with its stream",
            count(fleet::MAX_ENVOYS),
            "`fleet.rs`",
            FLEET,
            "no_more_envoys_are_remembered_than_so_many",
        ),
        (
            "texts of a Hello: a name, a word, words",
            format!(
                "{} bytes, {} bytes, {}",
                fleet::MAX_NAME,
                fleet::MAX_WORD,
                fleet::MAX_CAPABILITIES
            ),
            "`fleet.rs`",
            FLEET,
            "texts_of_a_hello_are_as_long_as_they_may_be_and_no_longer",
        ),
        (
            "violations kept of an Envoy: how many, a path, a message",
            format!(
                "{}, {} bytes, {} bytes",
                fleet::MAX_VIOLATIONS,
                fleet::MAX_PATH,
                fleet::MAX_MESSAGE
            ),
            "`fleet.rs`",
            FLEET,
            "of_violations_the_first_are_kept_and_of_each_its_beginning",
        ),
        (
            "resources that an Envoy names of a kind; texts of its node; of a refusal",
            format!(
                "{}; {} bytes; {} characters",
                count(xds::MAX_NAMES),
                count(xds::MAX_TEXT),
                count(xds::MAX_REASON)
            ),
            "`variant.rs`, `place.rs`",
            "control-plane/src/xds/delta_tests.rs",
            "no_more_names_are_remembered_than_settings_can_have",
        ),
        (
            "snapshots of xDS kept, one for each place",
            count(xds::PLACES),
            "`made.rs`",
            MADE,
            "so_many_are_kept_and_no_more",
        ),
        (
            "their bytes",
            bytes(xds::SNAPSHOT_BYTES),
            "`made.rs`",
            MADE,
            "so_many_bytes_are_kept_and_no_more",
        ),
        (
            "a message: of a control stream, of xDS, of the shared tier, of statistics",
            [
                grpc::MAX_CONTROL,
                grpc::MAX_DISCOVERY,
                grpc::MAX_TIER,
                grpc::MAX_STATISTICS,
            ]
            .map(bytes)
            .join(", "),
            "`grpc/mod.rs`",
            "tests/stories/hostile_peers/mod.rs",
            "messages_of_empty_parts_take_up_little",
        ),
        (
            "a question of a health check, which asks for no token; of reflection",
            [grpc::MAX_PROBE, grpc::MAX_QUESTION].map(bytes).join(", "),
            "`probes.rs`, `reflection.rs`",
            PROBES,
            "without_a_token_a_check_is_answered_and_nothing_else",
        ),
        (
            "answers of a call of reflection, of those that wait to be read",
            bytes(grpc::ANSWERS),
            "`reflection.rs`",
            PROBES,
            "questions_end_with_their_token_and_so_many_are_open_at_a_time",
        ),
        (
            "parts of a message, but of statistics, which are folded as they are read",
            count(grpc::MAX_PARTS),
            "`grpc/parts.rs`",
            "control-plane/src/transport/grpc/parts_tests.rs",
            "more_parts_than_a_message_may_have_are_refused",
        ),
        (
            "statistics: Envoys, upstreams of each",
            format!("{}, {}", count(envoy_stats::MAX_NODES), envoy_stats::MAX_UPSTREAMS),
            "`envoy_stats.rs`",
            "control-plane/domain/src/telemetry/envoy_stats/tests.rs",
            "envoys_and_their_upstreams_are_bounded",
        ),
        (
            "shared tier: a value",
            bytes(tier::MAX_VALUE),
            "`tier/mod.rs`",
            TIER,
            "an_embedded_tier_is_bounded",
        ),
        (
            "shared tier: a key, fields that select",
            format!("{}, {}", bytes(tier::MAX_KEY), tier::MAX_VARY),
            "`tier/mod.rs`",
            TIER,
            "what_is_asked_of_the_tier_is_bounded",
        ),
        (
            "shared tier: leases",
            count(tier::MAX_LEASES),
            "`embedded.rs`",
            TIER,
            "leases_are_bounded",
        ),
        (
            "shared tier: subjects of a call",
            count(grpc::MAX_SUBJECTS),
            "`cache_backend.rs`",
            "control-plane/src/transport/grpc/cache_backend.rs",
            "more_subjects_than_are_looked_at_mean_everything",
        ),
        (
            "shared tier: a wait",
            time(Duration::from_millis(tier::MAX_WAIT_MS)),
            "`tier/mod.rs`",
            TIER,
            "a_wait_is_bounded",
        ),
        (
            "settings that an Envoy tells where there are none",
            bytes(reported::MAX_DOCUMENT),
            "`reported.rs`",
            "control-plane/domain/src/settings/reported.rs",
            "no_more_is_taken_than_a_document_can_be",
        ),
        (
            "revisions issued above what Envoys claim: an hour of each node, nodes, ahead",
            format!(
                "{}, {}, {}",
                recovery::RECOVERIES,
                recovery::NODES,
                count(recovery::MOST_AHEAD)
            ),
            "`recovery.rs`",
            PEERS,
            "what_a_peer_claims_is_kept_to_what_can_be",
        ),
        (
            "alerts and silences at a time",
            format!("{}, {}", count(alerts::MAX_ALERTS), alerts::MAX_SILENCES),
            "`registry.rs`",
            "control-plane/domain/src/alerts/registry/tests.rs",
            "alerts_and_silences_are_bounded",
        ),
        (
            "revisions of the settings kept",
            count(history::HISTORY),
            "`history.rs`",
            "control-plane/domain/src/settings/history/tests.rs",
            "the_history_is_bounded_and_survives_being_written_down",
        ),
    ]
}

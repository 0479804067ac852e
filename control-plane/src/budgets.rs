//! The table of budgets in SECURITY.md is made of the constants and settings that hold them: this test fails when one of both changes alone.

use crate::app::Config;
use crate::cache::snapshot_file as snapshot;
use crate::kernel::events;
use crate::net::{bodies, incoming, places, tls};
use crate::transport::{grpc, rest};
use crate::{cache, purges as purging, tier, xds};
use clap::Parser as _;
use control_domain::{alerts, book, change, envoy_stats, fleet, purges, recovery, shape};
use std::time::Duration;

fn bytes(bytes: usize) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

const STALLING: &str = "tests/stories/stalling.rs";
const BUDGETS: &str = "tests/stories/budgets.rs";
const GUARDED: &str = "tests/stories/guarded.rs";
const FLEET: &str = "control-plane/domain/src/fleet/bounds.rs";
const SNAPSHOTS: &str = "control-plane/src/cache/snapshot_file.rs";
const TIER: &str = "control-plane/src/tier/tests.rs";
const PEERS: &str = "tests/stories/peers.rs";

/// What, the bound, where it stands, and the test that holds it: file and function.
type Row = (&'static str, String, &'static str, &'static str, &'static str);

fn rows() -> Vec<Row> {
    let set = Config::try_parse_from(["control-plane"]).unwrap();
    let limits = places::Limits::within(None);
    vec![
        (
            "body of a REST request",
            bytes(rest::MAX_BODY),
            "`MAX_BODY`",
            GUARDED,
            "what_is_too_much_too_large_or_too_slow_is_turned_away",
        ),
        (
            "a module of the filter; modules kept",
            format!("{}; {}", bytes(xds::MAX_BYTES), count(xds::KEPT)),
            "`modules.rs`",
            "control-plane/src/xds/modules.rs",
            "the_oldest_that_nobody_runs_makes_room",
        ),
        (
            "a document: values, levels, blanks",
            format!(
                "{}, {}, {}",
                count(shape::MAX_VALUES),
                shape::MAX_DEPTH,
                bytes(shape::MAX_BLANKS)
            ),
            "`shape.rs`",
            "control-plane/domain/src/shape.rs",
            "bytes_are_counted_outside_of_texts",
        ),
        (
            "operations of a JSON Patch; texts of what it makes",
            format!("{}; {}", count(change::MAX_OPERATIONS), bytes(shape::MAX_TEXT)),
            "`change.rs`",
            BUDGETS,
            "patches_that_grow_are_refused_before_they_do",
        ),
        (
            "a snapshot that is restored, on disk",
            format!("{} MB", count(set.restore_max_mb)),
            "`RESTORE_MAX_MB`",
            "tests/stories/backup.rs",
            "a_restore_needs_no_folder_for_temporary_files",
        ),
        (
            "restores at a time",
            count(cache::RESTORES),
            "`RESTORES`",
            STALLING,
            "of_two_restores_the_second_is_refused",
        ),
        (
            "work of a restore whose client has left",
            "none".to_owned(),
            "`snapshots.rs`",
            STALLING,
            "a_restore_ends_with_its_client",
        ),
        (
            "of a snapshot: an entry; what stands before and behind them; entries that are none",
            format!(
                "{}; {}; {}",
                bytes(snapshot::MAX_PIECE),
                bytes(snapshot::MAX_FIELDS),
                count(snapshot::MALFORMED)
            ),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "pieces_of_a_snapshot_are_bounded",
        ),
        (
            "a snapshot unpacked, whatever came",
            bytes(usize::try_from(snapshot::AT_LEAST).unwrap()),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "no_more_is_unpacked_than_a_snapshot_can_be",
        ),
        (
            "a larger one: times what came",
            count(snapshot::RATIO),
            "`snapshot_file.rs`",
            SNAPSHOTS,
            "a_document_is_at_most_a_hundred_times_as_long_as_what_came",
        ),
        (
            "until the first bytes of a connection; of a TLS handshake; the head of a request",
            [incoming::FIRST, tls::HANDSHAKE, rest::HEAD].map(time).join("; "),
            "`incoming.rs`, `tls.rs`, `server.rs`",
            BUDGETS,
            "silent_connections_end_and_leave_the_probes_alone",
        ),
        (
            "a pause in a body; an Envoy's message until it is whole",
            time(set.body_pause),
            "`BODY_PAUSE`",
            STALLING,
            "a_body_that_pauses_is_given_up",
        ),
        (
            "a call of gRPC until it is whole",
            time(set.body_pause),
            "`BODY_PAUSE`",
            STALLING,
            "a_call_that_stalls_ends_and_its_neighbours_do_not",
        ),
        (
            "until the Hello of a control stream; the first request of xDS",
            [grpc::HELLO, xds::FIRST].map(time).join("; "),
            "`control_link.rs`, `service.rs`",
            STALLING,
            "a_call_that_stalls_ends_and_its_neighbours_do_not",
        ),
        (
            "a whole request",
            time(rest::REQUEST_TIMEOUT),
            "`REQUEST_TIMEOUT`",
            "control-plane/src/transport/rest/mod.rs",
            "what_takes_too_long_is_given_up_on_but_for_what_may_take_long",
        ),
        (
            "of a port: bodies and messages being received; of one address; not counted up to",
            [bodies::ROOM, bodies::ROOM_EACH, bodies::SMALL].map(bytes).join("; "),
            "`bodies.rs`",
            "control-plane/src/net/bodies.rs",
            "there_is_so_much_room_in_all_and_for_each_address",
        ),
        (
            "requests of a connection at a time: REST, gRPC",
            format!("{}, {}", rest::STREAMS, grpc::STREAMS),
            "`server.rs`, `grpc/mod.rs`",
            STALLING,
            "a_connection_has_so_many_requests_at_a_time",
        ),
        (
            "received of a gRPC connection, and of a call, ahead of being read",
            [grpc::WINDOW, grpc::STREAM_WINDOW]
                .map(|window| bytes(window as usize))
                .join(", "),
            "`grpc/mod.rs`",
            STALLING,
            "a_connection_has_so_many_requests_at_a_time",
        ),
        (
            "connections: REST, gRPC, descriptors for everything else",
            format!("{}, {}, {}", count(limits.rest), count(limits.grpc), places::RESERVE),
            "`places.rs`",
            "control-plane/src/net/places.rs",
            "each_port_has_descriptors_of_its_own",
        ),
        (
            "connections of an address",
            count(set.connections_per_address.get()),
            "`CONNECTIONS_PER_ADDRESS`",
            BUDGETS,
            "silent_connections_end_and_leave_the_probes_alone",
        ),
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
            "events that wait for a listener",
            count(events::EVENTS_QUEUED),
            "`EVENTS_QUEUED`",
            BUDGETS,
            "a_listener_that_does_not_read_costs_little",
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
                fleet::MAX_TOLD,
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
            "`hub.rs`",
            "tests/stories/hostile_peers/mod.rs",
            "discovery",
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
            "control-plane/domain/src/envoy_stats/tests.rs",
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
            "tests/stories/hostile_peers/mod.rs",
            "shared_tier",
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
            "`board.rs`",
            "control-plane/domain/src/alerts/board/tests.rs",
            "alerts_and_silences_are_bounded",
        ),
        (
            "revisions of the settings kept",
            count(book::HISTORY),
            "`book.rs`",
            "control-plane/domain/src/book/tests.rs",
            "the_history_is_bounded_and_survives_being_written_down",
        ),
    ]
}

const BEGIN: &str = "<!-- made of the code: cargo test -p api-optimizer-control-plane budgets -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_table_of_budgets_says_what_the_code_does() {
    let mut table = String::from("| what | bound | where | held by |\n|---|---|---|---|\n");
    for (what, bound, place, file, test) in rows() {
        let name = file.rsplit('/').next().unwrap();
        table.push_str(&format!("| {what} | {bound} | {place} | [{name}]({file}) `{test}` |\n"));
    }
    let text = include_str!("../../SECURITY.md");
    let written = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let written = written.expect("a table between its marks").0;
    assert_eq!(written, table, "SECURITY.md should say:\n{table}");
}
